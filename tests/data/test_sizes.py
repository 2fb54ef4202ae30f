"""Images that are not as large as their annotation says."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from poseling.data.check import check
from poseling.data.coco import read_coco
from poseling.data.dataset import PoseDataset
from poseling.data.sizes import compare, differing, rescaled
from poseling.evaluate.oks import measure
from poseling.skeleton import COCO17


@pytest.mark.parametrize(
    ("actual", "how"),
    [
        ((640, 427), None),
        ((320, 214), "resized"),  # 213.5
        ((500, 334), "resized"),  # 333.6
        ((1280, 854), "resized"),
        ((427, 640), "turned"),
        ((214, 320), "turned"),
        ((640, 425), "of another shape"),
        ((640, 640), "of another shape"),
    ],
)
def test_how_an_image_differs(actual, how):
    assert compare((640, 427), actual) == how
    assert compare((np.inf, np.inf), actual) is None


def person(ident: int, image: int) -> dict:
    """Joint k at (10 + k, 20 + 2 k); the last four are unlabelled."""
    flat = [v for k in range(17) for v in ((10 + k, 20 + 2 * k, 2) if k < 13 else (0, 0, 0))]
    row = {
        "id": ident,
        "image_id": image,
        "category_id": 1,
        "bbox": [8.0, 18.0, 30.0, 60.0],
        "area": 900.5,
        "iscrowd": 0,
    }
    return row | {"num_keypoints": 13, "keypoints": flat}


def write(folder: Path, size: tuple[int, int]) -> PoseDataset:
    """Two people in two images that the annotation says are 100 x 80; the first is of `size`."""
    (folder / "images").mkdir()
    for name, (width, height) in (("1.jpg", size), ("2.jpg", (100, 80))):
        cv2.imwrite(
            str(folder / "images" / name),
            np.random.default_rng(width).integers(0, 255, (height, width, 3), np.uint8),
        )
    images = [{"id": 10 * i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in (1, 2)]
    categories = [{"id": 1, "name": "person", "keypoints": list(COCO17.joints)}]
    data = {"images": images, "annotations": [person(1, 10), person(2, 20)], "categories": categories}
    (folder / "a.json").write_text(json.dumps(data))
    return read_coco(folder / "a.json", folder / "images")


@pytest.mark.parametrize(
    ("size", "how"),
    [((50, 40), "resized"), ((80, 100), "turned"), ((100, 60), "of another shape"), ((100, 80), None)],
)
def test_check_and_evaluate_tell(tmp_path, size, how):
    everyone = write(tmp_path, size)
    for found in (differing(everyone), [f for f in check(everyone) if f.kind == "other size"]):
        assert [f.image.name for f in found] == (["1.jpg"] if how else [])
        if how:
            assert (
                f"annotated with 100 x 80 pixels, the image has {size[0]} x {size[1]}, it is {how}"
                in found[0].message
            )


def test_labels_move_with_a_resized_image(tmp_path):
    everyone = write(tmp_path, (50, 40))
    moved = rescaled(everyone)
    # Joint k of the first person is at (10 + k, 20 + 2 k): the centre of pixel 10 is at 10.5 of 100 and so at
    # 5.25 of 50, which is pixel 4.75.
    np.testing.assert_allclose(moved.joints[0, :3], [[4.75, 9.75], [5.25, 10.75], [5.75, 11.75]])
    np.testing.assert_array_equal(moved.joints[1], everyone.joints[1])
    assert moved.joints[0, 16].tolist() == [0, 0]  # unlabelled
    np.testing.assert_allclose(moved.boxes[0], [3.75, 8.75, 18.25, 38.25])
    truth = moved.instances.truth
    assert truth.area.tolist() == [900.5 / 4, 900.5]
    np.testing.assert_allclose(truth.boxes, [[3.75, 8.75, 15, 30], [8, 18, 30, 60]])
    assert truth.images[10] == ("1.jpg", 50, 40)
    assert differing(moved) == []
    assert measure(moved, moved.joints, np.ones(moved.visible.shape))["AP"] == pytest.approx(1)
    assert measure(everyone, moved.joints, np.ones(moved.visible.shape))["AP"] < 1


def test_a_camera_and_a_head_move_too(tmp_path):
    everyone = write(tmp_path, (50, 40))
    more = PoseDataset(
        *(getattr(everyone, name) for name in ("name", "skeleton", "images", "boxes", "joints", "visible")),
        head_size=np.array([8, 8], np.float32),
        camera=np.tile(np.array([120, 100, 49.5, 39.5], np.float32), (2, 1)),
        sizes=everyone.sizes,
    )
    moved = rescaled(more)
    assert moved.head_size.tolist() == [4, 8]
    assert moved.camera.tolist() == [[60, 50, 24.5, 19.5], [120, 100, 49.5, 39.5]]


def test_other_changes_than_a_resize_are_left_alone(tmp_path):
    everyone = write(tmp_path, (80, 100))
    assert rescaled(everyone) is everyone
