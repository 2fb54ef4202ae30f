"""Batches of a set that stays on the device: the samples of `Crops`, and random only by seed and step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.data.resident import Images, Resident, _nth, sampled
from poseling.geometry import Crop
from poseling.skeleton import Skeleton

BODY = Skeleton("body", ("pelvis", "left_hand", "right_hand"), (0, 0, 0))
SIZE = (64, 48)
STILL = Augment().none()


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> PoseDataset:
    """Five people in soft images that differ in colour."""
    folder, random = tmp_path_factory.mktemp("people"), np.random.default_rng(3)
    paths = tuple(folder / f"{i}.png" for i in range(5))
    for path in paths:
        soft = cv2.resize(
            random.integers(30, 226, (4, 5, 3), np.uint8), (160, 120), interpolation=cv2.INTER_CUBIC
        )
        cv2.imwrite(str(path), cv2.GaussianBlur(soft, (0, 0), 6))
    joints = random.uniform((60, 40), (100, 80), (5, 3, 2)).astype(np.float32)
    boxes = np.tile(np.float32([45, 30, 115, 90]), (5, 1)) + random.uniform(-5, 5, (5, 4)).astype(np.float32)
    visible = np.full((5, 3), 2, np.uint8)
    visible[1, 2] = visible[4] = 0
    return PoseDataset("five", BODY, paths, boxes, joints, visible)


def resident(dataset: PoseDataset, augment: Augment, seed: int = 0, pseudo_labels: object = None) -> Resident:
    return Resident(dataset, Images(dataset), SIZE, 1.25, augment, seed, pseudo_labels)  # type: ignore[arg-type]


def batch(dataset: PoseDataset, augment: Augment, rows: list[int], seed: int = 0) -> dict[str, torch.Tensor]:
    return resident(dataset, augment).batch(np.array(rows), np.random.default_rng(seed))


def samples(dataset: PoseDataset, augment: Augment) -> dict[int, dict[str, np.ndarray]]:
    """What `Crops` gives for each."""
    crops = Crops(dataset, SIZE, 1.25, augment, 0)
    return {crops.person(place): crops[place] for place in range(len(dataset))}


@pytest.mark.parametrize("flip", [0.0, 1.0])
def test_without_chance_a_batch_is_what_crops_gives(dataset: PoseDataset, flip: float):
    augment = replace(STILL, flip=flip)
    weighed = replace(dataset, weight=np.linspace(0.1, 1, 15, dtype=np.float32).reshape(5, 3))
    found, expected = batch(weighed, augment, [3, 1, 1, 4]), samples(weighed, augment)
    assert found["image"].shape == (4, 48, 64, 3)
    assert found["person"].tolist() == [3, 1, 1, 4]
    assert found["broken"].tolist() == [0, 0, 0, 0]
    for i, person in enumerate([3, 1, 1, 4]):
        np.testing.assert_allclose(found["joints"][i], expected[person]["joints"], atol=1e-4)
        np.testing.assert_array_equal(found["weight"][i], expected[person]["weight"])
        assert np.abs(found["image"][i].numpy() - expected[person]["image"]).max() < 4
        assert found["color_jitter"][i].tolist() == [1, 1, 1]


def test_left_and_right_change_places(dataset: PoseDataset):
    """Mirrored by hand: x to 63 - x, and the left hand is where the right one was; of person 1 the right hand
    has no label.
    """
    plain, mirrored = batch(dataset, STILL, [1]), batch(dataset, replace(STILL, flip=1.0), [1])
    joints = plain["joints"][0] * torch.tensor([-1.0, 1.0]) + torch.tensor([63.0, 0.0])
    torch.testing.assert_close(mirrored["joints"][0], joints[[0, 2, 1]], atol=1e-4, rtol=0)
    assert plain["weight"][0].tolist() == [1, 1, 0]
    assert mirrored["weight"][0].tolist() == [1, 0, 1]
    torch.testing.assert_close(mirrored["image"][0], plain["image"][0].flip(1), atol=0.05, rtol=0)


def test_images_move_with_their_joints(dataset: PoseDataset, tmp_path: Path):
    """A white spot at the pelvis is found where the pelvis is said to be, however the crop turns."""
    paths = []
    for i, (x, y) in enumerate(dataset.joints[:, 0]):
        image = np.zeros((120, 160, 3), np.uint8)
        cv2.circle(
            image, (round(float(x) * 16), round(float(y) * 16)), 3 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4
        )
        paths.append(tmp_path / f"{i}.png")
        cv2.imwrite(str(paths[-1]), image)
    spots = replace(dataset, images=tuple(paths))
    found = batch(spots, Augment(flip=0.5, shift=0.1), [0, 1, 2, 3, 4, 0, 1, 2], seed=4)
    for image, joints in zip(found["image"].numpy(), found["joints"].numpy(), strict=True):
        y, x = np.indices(image.shape[:2])
        mass = image[..., 0]
        assert [(x * mass).sum() / mass.sum(), (y * mass).sum() / mass.sum()] == pytest.approx(
            joints[0].tolist(), abs=0.3
        )


def test_occlusion_covers_a_labelled_joint(dataset: PoseDataset):
    """Of person 2 only the left hand has a label: a rectangle of one colour lies around it, at least 0.04 of
    the sides to each side. Person 4 has none.
    """
    visible = dataset.visible.copy()
    visible[2] = [0, 2, 0]
    some = replace(dataset, visible=visible)
    plain = batch(some, STILL, [2, 4])
    for seed in range(5):
        hidden = batch(some, replace(STILL, occlusion=1.0), [2, 4], seed)
        x, y = plain["joints"][0, 1].tolist()
        part = hidden["image"][
            0,
            round(y - 0.04 * 48 + 1) : round(y + 0.04 * 48 - 1) + 1,
            round(x - 0.04 * 64 + 1) : round(x + 0.04 * 64 - 1) + 1,
        ]
        assert (part == part[0, 0]).all()
        changed = (hidden["image"][0] != plain["image"][0]).any(-1)
        ys, xs = torch.nonzero(changed).T
        assert ys.max() - ys.min() <= 2 * 0.12 * 48 + 1
        assert xs.max() - xs.min() <= 2 * 0.12 * 64 + 1
        assert torch.equal(hidden["image"][1], plain["image"][1])


def test_the_chosen_joint_by_hand():
    labelled = torch.tensor(
        [[False, True, True], [True, False, True], [False, False, False], [True, True, True]]
    )
    assert _nth(labelled, torch.tensor([0.49, 0.5, 0.9, 0.99])).tolist() == [1, 2, 0, 2]


def test_a_batch_is_decided_by_seed_and_step(dataset: PoseDataset):
    augment = Augment(occlusion=0.5, color_jitter=0.3, shift=0.1)
    first = list(resident(dataset, augment, 3).batches(0, 4, 3))
    for again in (
        list(resident(dataset, augment, 3).batches(0, 4, 3)),
        [*first[:2], *resident(dataset, augment, 3).batches(2, 4, 3)],
    ):
        assert len(again) == 4
        for a, b in zip(first, again, strict=True):
            assert a.keys() == b.keys()
            assert all(torch.equal(a[name], b[name]) for name in a)
    (other,) = resident(dataset, augment, 4).batches(0, 1, 3)
    assert not torch.equal(other["image"], first[0]["image"])
    assert not torch.equal(first[0]["color_jitter"], first[1]["color_jitter"])
    order = Crops(dataset, SIZE, 1.25, augment, 3).person
    assert [row for one in first for row in one["person"].tolist()] == [
        order(place) for place in range(12)
    ]  # that of `Crops`


def test_parts_of_a_batch_make_it_up(dataset: PoseDataset):
    whole = [one["person"].tolist() for one in resident(dataset, STILL).batches(0, 3, 4)]
    parts = [
        [one["person"].tolist() for one in resident(dataset, STILL).batches(0, 3, 4, (i, 2))]
        for i in range(2)
    ]
    assert [sorted(a + b) for a, b in zip(*parts, strict=True)] == [sorted(one) for one in whole]
    assert all(len(a) == len(b) == 2 for a, b in zip(*parts, strict=True))


def test_draws_decide_who_comes(dataset: PoseDataset):
    drawn = replace(dataset, draws=np.array([1, 0, 0, 0, 0], np.float32))
    assert {row for one in resident(drawn, STILL).batches(0, 3, 5) for row in one["person"].tolist()} == {0}


def test_an_unreadable_image_is_black_and_has_no_weight(dataset: PoseDataset, tmp_path: Path):
    (tmp_path / "cut.png").write_bytes(b"no image")
    some = replace(dataset, images=(*dataset.images[:2], tmp_path / "cut.png", *dataset.images[3:]))
    found = batch(some, STILL, [2, 0])
    assert found["broken"].tolist() == [1, 0]
    assert found["weight"].tolist() == [[0, 0, 0], [1, 1, 1]]
    assert not found["image"][0].any()


def test_places_and_answers_come_as_with_crops(dataset: PoseDataset):
    class Said:
        source, licence, width = "said", "none", 1.0

        def sample(self, person: int, crop: Crop) -> dict[str, np.ndarray]:
            return {
                "teacher_xy": crop.apply(dataset.joints[person])[BODY.flip if crop.flipped else slice(None)]
            }

    random = np.random.default_rng(0)
    is_3d = replace(
        dataset,
        joints_3d=random.normal(size=(5, 3, 3)).astype(np.float32),
        confidence_3d=random.random((5, 3)).astype(np.float32),
    )
    found = resident(is_3d, replace(STILL, flip=1.0), pseudo_labels=Said()).batch(np.arange(5), random)
    expected = samples(is_3d, replace(STILL, flip=1.0))
    for person in range(5):
        np.testing.assert_allclose(found["xyz"][person], expected[person]["xyz"], atol=1e-6)
        np.testing.assert_allclose(found["xyz_weight"][person], expected[person]["xyz_weight"])
    # The crop of the image and that of the answers are one: also where chance decides.
    wild = resident(is_3d, Augment(shift=0.1), pseudo_labels=Said()).batch(np.arange(5), random)
    np.testing.assert_allclose(wild["teacher_xy"], wild["joints"], atol=1e-3)


def test_what_does_not_go(dataset: PoseDataset):
    with pytest.raises(ValueError, match="five: has no sample to train on"):
        Resident(dataset[:0], Images(dataset[:0]), SIZE, 1.25, STILL, 0)
    with pytest.raises(ValueError, match=r"--half-body .* does not go with --resident"):
        resident(dataset, Augment(half_body=0.5))


def test_sampled_is_opencvs_warp():
    """Any affine, also beyond the border, where both fade to black within a pixel; OpenCV rounds places to
    1/32 pixel.
    """
    random = np.random.default_rng(1)
    soft = cv2.GaussianBlur(
        random.integers(0, 256, (3, 40, 50, 3), np.uint8).reshape(-1, 50, 3), (0, 0), 3
    ).reshape(3, 40, 50, 3)
    crops = [
        Crop.from_box((10, 5, 40, 35), SIZE, p, r, s, (0.1, 0), f)
        for p, r, s, f in ((1.0, 0, 1, False), (1.4, 30, 0.8, False), (1.2, -100, 1.1, True))
    ]
    found = sampled(
        torch.from_numpy(soft), torch.from_numpy(np.stack([crop.inverse for crop in crops])).float(), SIZE
    ).numpy()
    for image, crop, one in zip(soft, crops, found, strict=True):
        expected = cv2.warpAffine(
            image, crop.inverse, SIZE, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        ).astype(float)
        difference = np.abs(one - expected)
        assert np.median(difference) < 0.6
        assert np.quantile(difference, 0.97) < 2
        assert difference.max() < 256 / 16  # on the border itself
