"""COCO's person keypoints and what has its format: a tiny file made here, and the real samples."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import numpy as np
import pytest

from poseling.data import coco, sets
from poseling.data.coco import read_coco
from poseling.evaluate.oks import measure
from poseling.skeleton import COCO17, CROWDPOSE14, SKELETONS, Skeleton


def person(ident: int, image: int, joints: int = 17, **more) -> dict:
    """Joint k at (10 + k, 20 + 2 k); the last four joints unlabelled, the first occluded."""
    flags = [1, *[2] * (joints - 5), *[0] * 4]
    flat = [v for k, f in enumerate(flags) for v in ((10 + k, 20 + 2 * k, f) if f else (0, 0, 0))]
    row = {
        "id": ident,
        "image_id": image,
        "category_id": 1,
        "bbox": [8.0, 18.0, 30.0, 60.0],
        "area": 900.5,
        "iscrowd": 0,
    }
    return row | {"num_keypoints": joints - 4, "keypoints": flat} | more


def dataset(*rows: dict, joints=COCO17.joints, images: int = 3) -> dict:
    return {
        "images": [
            {"id": 10 * i, "file_name": f"{i}.jpg", "width": 100, "height": 80} for i in range(1, images + 1)
        ],
        "annotations": list(rows),
        "categories": [{"id": 1, "name": "person", "keypoints": list(joints)}],
    }


@pytest.fixture
def lay(tmp_path):
    """Writes a file and its images, and gives their places."""

    def write(data, name: str = "a.json") -> tuple[Path, Path]:
        (tmp_path / "images").mkdir(exist_ok=True)
        for row in data["images"] if isinstance(data, dict) and isinstance(data.get("images"), list) else []:
            (tmp_path / "images" / str(row.get("file_name"))).write_bytes(b"here")
        (tmp_path / name).write_text(json.dumps(data))
        return tmp_path / name, tmp_path / "images"

    return write


def test_people(lay):
    crowd, nobody = person(2, 10, iscrowd=1), person(3, 20, num_keypoints=0, keypoints=[0] * 51)
    got = read_coco(*lay(dataset(person(1, 20), crowd, nobody, person(5, 30, bbox=[-5, 40, 200, 60]))))
    assert got.skeleton == COCO17
    assert [p.name for p in got.images] == ["2.jpg", "3.jpg"]
    # 30 x 60 pixels from (8, 18) end with the centres of the last ones; the other is cut off at 100 x 80.
    np.testing.assert_array_equal(got.boxes, [[8, 18, 37, 77], [0, 40, 99, 79]])
    assert got.joints[0, 3].tolist() == [13, 26]
    assert got.visible[0].tolist() == [1] + [2] * 12 + [0] * 4
    assert got.joints[0, 13:].tolist() == [[0, 0]] * 4
    assert "CC BY 4.0" in got.licence
    assert [f.kind for f in got.findings] == ["crowd", "no joints"]
    assert "1 of 4 annotations" in got.findings[0].message


def test_the_truth_keeps_all_annotations(lay):
    got = read_coco(
        *lay(
            dataset(
                person(1, 20), person(2, 10, iscrowd=1), person(3, 20, num_keypoints=0, keypoints=[0] * 51)
            )
        )
    )
    truth = got.instances.truth
    assert truth.image.tolist() == [20, 10, 20]
    assert truth.crowd.tolist() == [False, True, False]
    assert truth.count.tolist() == [13, 13, 0]
    assert truth.boxes[0].tolist() == [8, 18, 30, 60]
    assert truth.area.tolist() == [900.5] * 3
    assert truth.images[20] == ("2.jpg", 100, 80)
    assert truth.crowding is None
    assert got.instances.image.tolist() == [20]
    assert got.instances.score.tolist() == [1]
    assert got.instances.measured.tolist() == [10, 20, 30]


def test_num_keypoints_may_be_left_out_and_area_as_crowdpose_does(lay):
    row = person(1, 10)
    del row["num_keypoints"], row["area"]
    truth = read_coco(*lay(dataset(row))).instances.truth
    assert truth.count.tolist() == [13]
    assert truth.area.tolist() == [pytest.approx(0.53 * 30 * 60)]


def test_detected_boxes(lay, tmp_path):
    found = [
        {"image_id": 20, "category_id": 1, "bbox": [-3.5, 10, 20, 30], "score": 0.75},
        {"image_id": 10, "category_id": 3, "bbox": [1, 1, 5, 5], "score": 0.9},
        {"image_id": 20, "category_id": 1, "bbox": [5, 6, 7, 0], "score": 0.5},
        {"image_id": 30, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.25},
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    got = read_coco(*lay(dataset(person(1, 20), person(2, 10))), tmp_path / "found.json")
    np.testing.assert_array_equal(got.boxes, [[-3.5, 10, 16.5, 40], [1, 2, 4, 6]])  # as they come
    assert not got.labelled
    assert got.instances.image.tolist() == [20, 30]
    assert got.instances.score.tolist() == [0.75, 0.25]
    assert got.instances.measured.tolist() == [10, 20, 30]  # in 10 somebody was missed
    assert [f.kind for f in got.findings] == ["empty box"]


def test_a_missing_image_is_not_evaluated(lay):
    path, images = lay(dataset(person(1, 20), person(2, 10)))
    (images / "1.jpg").unlink()
    got = read_coco(path, images)
    assert got.instances.image.tolist() == [20]
    assert got.instances.measured.tolist() == [20, 30]
    assert [f.kind for f in got.findings] == ["missing image"]


def test_crowdpose_is_known_by_its_joints(lay):
    names = ["head" if j == "head_top" else j for j in CROWDPOSE14.joints]
    data = dataset(person(1, 10, 14), joints=names)
    for row, index in zip(data["images"], (0.1, 0.5, 0.9), strict=True):
        row["crowdIndex"] = index
    got = read_coco(*lay(data))
    assert got.skeleton == CROWDPOSE14
    assert got.instances.truth.crowding == {10: 0.1, 20: 0.5, 30: 0.9}
    assert CROWDPOSE14.joints[CROWDPOSE14.flip[0]] == "right_shoulder"
    assert SKELETONS["crowdpose14"] is CROWDPOSE14


def test_detections_are_people_by_the_name_of_their_category(lay, tmp_path):
    """A file that counts dogs as 1 and people as 18: twelve people and a dog."""
    data = dataset(person(1, 20, category_id=18), person(2, 10, category_id=18))
    data["categories"] = [{"id": 1, "name": "dog"}, data["categories"][0] | {"id": 18}]
    found = [{"image_id": 20, "category_id": 18, "bbox": [i, 10, 20, 30], "score": 0.5} for i in range(12)]
    found.append({"image_id": 20, "category_id": 1, "bbox": [50, 50, 20, 20], "score": 0.9})
    (tmp_path / "found.json").write_text(json.dumps(found))
    got = read_coco(*lay(data), tmp_path / "found.json")
    assert got.boxes[:, 0].tolist() == list(range(12))
    assert got.instances.score.max() == 0.5


@pytest.mark.parametrize("area", [0, None, float("nan"), float("inf"), -3, 1e39])
def test_an_unusable_area_is_053_of_the_box(lay, area):
    got = read_coco(*lay(dataset(person(1, 20), person(4, 30, area=area))))
    assert got.instances.truth.area.tolist() == [900.5, pytest.approx(0.53 * 30 * 60)]
    assert [p.name for p in got.images] == ["2.jpg", "3.jpg"]  # nobody vanishes
    assert [(f.kind, f.message.split(":")[0]) for f in got.findings] == [
        ("no area", "1 of 2 annotations, the first is 4")
    ]


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e39])
def test_a_joint_that_is_not_a_number_is_unlabelled_in_samples_and_truth(lay, value):
    row = person(1, 20)
    row["keypoints"][3 * 5] = value
    got = read_coco(*lay(dataset(row, person(2, 10))))
    truth = got.instances.truth
    assert got.visible[0, 5] == truth.visible[0, 5] == 0
    assert got.joints[0, 5].tolist() == truth.joints[0, 5].tolist() == [0, 0]
    assert truth.count.tolist() == [12, 13]
    assert [f.kind for f in got.findings] == ["joint is NaN"]
    # Perfect answers are perfect.
    assert measure(got, got.joints + 0.0, np.ones(got.visible.shape))["AP"] == pytest.approx(1)


@pytest.mark.parametrize("bbox", [[float("nan")] * 4, [0, 0, float("inf"), 5], [5, 5, 0, 7], [1e39, 0, 5, 5]])
def test_an_unusable_box_is_the_one_around_the_joints(lay, bbox):
    got = read_coco(*lay(dataset(person(1, 20, bbox=bbox, area=None), person(2, 10))))
    np.testing.assert_array_equal(got.boxes[0], [10, 20, 22, 44])  # joints 0 to 12 at (10 + k, 20 + 2 k)
    assert got.instances.truth.area[0] == pytest.approx(0.53 * 13 * 25)
    assert {f.kind for f in got.findings} == {"no box", "no area"}


def test_ids_of_any_size_words_and_numbers_as_words(lay, tmp_path):
    data = dataset(person(2**64, 20), person("second", 2**63 + 5), person(3, "left"), images=3)
    data["images"][0]["id"], data["images"][2]["id"] = 2**63 + 5, "left"
    got = read_coco(*lay(data))
    assert [p.name for p in got.images] == ["2.jpg", "1.jpg", "3.jpg"]
    assert got.instances.image.tolist() == [2, 1, 3]  # by their places
    found = [
        {"image_id": i, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 1} for i in (2**63 + 5, "left", "20")
    ]
    (tmp_path / "found.json").write_text(json.dumps(found))
    assert [p.name for p in read_coco(*lay(data), tmp_path / "found.json").images] == [
        "1.jpg",
        "3.jpg",
        "2.jpg",
    ]
    assert read_coco(*lay(dataset(person(1, "20"), person(2, 10.0)))).instances.image.tolist() == [20, 10]


@pytest.mark.parametrize("keypoints", ["missing", None, []])
def test_a_file_may_have_a_person_without_keypoints(lay, keypoints):
    row = person(2, 10, keypoints=keypoints)
    if keypoints == "missing":
        del row["keypoints"]
    got = read_coco(*lay(dataset(person(1, 20), row)))
    assert [p.name for p in got.images] == ["2.jpg"]
    assert got.instances.truth.count.tolist() == [13, 0]
    assert [f.kind for f in got.findings] == ["no joints"]


def test_names_with_backslashes(lay):
    path, images = lay(dataset(person(1, 10), person(2, 20)))
    (images / "deep").mkdir()
    (images / "1.jpg").rename(images / "deep" / "1.jpg")
    path.write_text(path.read_text().replace('"1.jpg"', r'"deep\\1.jpg"'))
    assert [str(p.relative_to(images)) for p in read_coco(path, images).images] == ["deep/1.jpg", "2.jpg"]


def test_another_skeleton_can_be_given(lay):
    own = Skeleton("own", tuple("abcdef"), (0,) * 6)
    path, images = lay(dataset(person(1, 10, 6), joints=own.joints))
    with pytest.raises(
        ValueError,
        match=r"its 6 joints \(a, b, c, d, ...\) are those of no known skeleton.*coco17 \(17\), crowdpose14 \(14\); read it with its own: --data coco_json --annotations .*a\.json",
    ):
        read_coco(path, images)
    assert read_coco(path, images, skeleton=own).skeleton == own
    with pytest.raises(ValueError, match="names 6 joints, but skeleton coco17 has 17"):
        read_coco(path, images, skeleton=COCO17)


def broken(change) -> dict:
    data = copy.deepcopy(dataset(person(1, 10), person(7, 20)))
    change(data)
    return data


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda d: [r.pop("keypoints") for r in d["annotations"]],
            "annotation 1 has no keypoints, nor has any other; COCO's are in person_",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[2**70] * 51),
            "annotation 7 has a visibility that is not 0, 1 or 2",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[10**400] * 51),
            "annotation 7 is not as COCO has it",
        ),
        (lambda d: d["annotations"][1].update(num_keypoints=2**70), "annotation 7 is not as COCO has it"),
        (lambda d: d["annotations"][1].update(area="large"), "annotation 7 is not as COCO has it"),
        (
            lambda d: d["annotations"][1].update(id=[1]),
            r"an annotation needs an id, a number or a string, and one has \['area'",
        ),
        (lambda d: d["annotations"].append(3), "an annotation is 3, expected fields by name"),
        (
            lambda d: d["images"].append({"file_name": "x"}),
            r"an image needs id and file_name, and one has \['file_name'\]",
        ),
        (lambda d: d["images"][0].update(file_name=7), "an image needs id and file_name"),
        (lambda d: [r.update(crowdIndex="much") for r in d["images"]], "a crowdIndex is not between 0 and 1"),
        (
            lambda d: d["annotations"][1].update(image_id=2**70),
            "annotation 7 is of image 1180591620717411303424, which is not among its images",
        ),
        (
            lambda d: d["annotations"][1].update(keypoints=[0] * 42),
            "annotation 7 .*42 numbers in keypoints, but skeleton coco17 has 17 joints",
        ),
        (lambda d: d["annotations"][1].pop("bbox"), "annotation 7 has no bbox"),
        (lambda d: d["annotations"][1].update(bbox=[1, 2, 3]), "annotation 7 is not as COCO has it"),
        (lambda d: d["annotations"][1].update(keypoints=["x"] * 51), "annotation 7 is not as COCO has it"),
        (
            lambda d: d["annotations"][1].update(keypoints=[1, 1, 9] * 17),
            "annotation 7 has a visibility that is not 0, 1 or 2",
        ),
        (
            lambda d: d["annotations"][1].update(image_id=99),
            "annotation 7 is of image 99, which is not among its images",
        ),
        (lambda d: d["annotations"][1].update(id=1), "2 annotations have the id 1; ids have to be unique"),
        (lambda d: d["images"][1].update(id=10), "2 images have the id 10"),
        (lambda d: d["images"][1].pop("file_name"), "an image needs id and file_name"),
        (
            lambda d: [r.update(num_keypoints=0, keypoints=[0] * 51) for r in d["annotations"]],
            "none of its 2 annotations has a labelled joint",
        ),
        (lambda d: d.pop("categories"), "has no categories, which name the joints"),
        (lambda d: d.update(categories=[]), "has no categories"),
        (lambda d: d["categories"][0].pop("keypoints"), "category 'person' has no keypoints"),
        (
            lambda d: d["annotations"][1].update(category_id=4),
            "annotation 7 has the category_id 4, which is none of its categories",
        ),
        (lambda d: d["annotations"][1].pop("category_id"), "annotation 7 has the category_id None"),
        (
            lambda d: d.update(categories=[{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}]),
            "none of its 2 categories is person",
        ),
        (lambda d: d.pop("images"), r"is not a COCO annotation file; expected \{images"),
        (lambda d: d.update(annotations=[]), "none of its 0 annotations has a labelled joint"),
    ],
)
def test_bad_annotations(lay, change, message):
    with pytest.raises(ValueError, match=rf"a\.json: .*{message}"):
        read_coco(*lay(broken(change)))


def test_files_that_are_others(lay, tmp_path):
    path, images = lay(dataset(person(1, 10)))
    text = path.read_text()
    path.write_text(text[: len(text) // 2])
    with pytest.raises(ValueError, match=r"a\.json: is no whole JSON file, it may be cut short"):
        read_coco(path, images)
    path.write_text("[]")
    with pytest.raises(ValueError, match="is a detector's result; expected"):
        read_coco(path, images)
    with pytest.raises(FileNotFoundError, match=r"gone\.json: not found"):
        read_coco(tmp_path / "gone.json", images)
    path, images = lay(broken(lambda d: d["categories"][0].pop("keypoints")), "instances_val2017.json")
    with pytest.raises(ValueError, match=r"has no keypoints; person_keypoints_val2017\.json has them"):
        read_coco(path, images)
    with pytest.raises(FileNotFoundError, match="none of its 1 images was found"):
        read_coco(lay(dataset(person(1, 10)))[0], tmp_path / "elsewhere")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [{"image_id": 77, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
            r"1 of its 1 images, the first 77, are not in .*a\.json; it holds detections of another",
        ),
        ([{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1, 1]}], "KeyError: 'score'"),
        (
            [{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1], "score": 1}],
            "each entry needs image_id, bbox",
        ),
        (
            [{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1, 1], "score": -1}],
            "score of entry 0 is not a number of 0 or more",
        ),
        (
            [{"image_id": 10, "category_id": 2, "bbox": [0, 0, 1, 1], "score": 1}],
            r"has no box of category_id 1, which .*a\.json annotates",
        ),
        (
            [{"image_id": 2**70, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 1}],
            "the first 1180591620717411303424, are not in",
        ),
        ([{"image_id": 10, "category_id": 1, "bbox": [0, 0, 10**400, 1], "score": 1}], "OverflowError"),
        (
            [{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1e39, 1e39], "score": 1}],
            "none of its 1 people can be used",
        ),
        (
            [{"image_id": 10, "category_id": 1, "bbox": [2147483648, 0, 1, 1], "score": 1}],
            "none of its 1 people can be used",
        ),
        (
            [{"image_id": 10, "category_id": 1, "bbox": [0, 0, 1, 1], "score": None}],
            "each entry needs|is not a number of 0 or more",
        ),
        ([3], "an entry is 3"),
        ({"images": []}, "is not a detector's result"),
    ],
)
def test_bad_detections(lay, tmp_path, rows, message):
    (tmp_path / "found.json").write_text(json.dumps(rows))
    with pytest.raises(ValueError, match=rf"found\.json: .*{message}"):
        read_coco(*lay(dataset(person(1, 10))), tmp_path / "found.json")


@pytest.fixture
def root(tmp_path):
    """COCO's folder: one training person, one to test on."""
    for part, where in (("train", "images/train2017"), ("val", "val2017")):
        (tmp_path / where).mkdir(parents=True)
        data = dataset(person(1, 10), images=2)
        for row in data["images"]:
            row["file_name"] = f"{part}-{row['file_name']}"
            (tmp_path / where / row["file_name"]).write_bytes(b"here")
        path = tmp_path / "annotations" / f"person_keypoints_{part}2017.json"
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data))
    return tmp_path


def test_the_set_by_name(root):
    split = sets.load("coco", root)
    assert [p.name for p in split.train.images] == ["train-1.jpg"]
    assert split.train.instances is None
    assert [p.name for p in split.test.images] == ["val-1.jpg"]
    assert [name for name, _ in split.parts] == ["train", "test"]
    assert split.test is split.test  # read once


def test_only_what_is_asked_for_is_read(root):
    (root / "annotations" / "person_keypoints_train2017.json").unlink()
    split = sets.load("coco", root)
    assert len(split.test) == 1
    with pytest.raises(FileNotFoundError, match=r"person_keypoints_train2017\.json: not found"):
        _ = split.train


def test_people_to_test_in_their_boxes_or_a_detectors(root):
    found = [{"image_id": 20, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]
    assert sets.people_to_test("coco", root).labelled
    assert sets.people_to_test("coco", root, "ground-truth").labelled
    with pytest.raises(FileNotFoundError, match=r"COCO_val2017_detections_AP_H_56_person\.json: not found"):
        sets.people_to_test("coco", root, "detections")
    path = root / coco.DETECTIONS
    path.parent.mkdir()
    path.write_text(json.dumps(found))
    for boxes in ("detections", str(path)):
        assert [p.name for p in sets.people_to_test("coco", root, boxes).images] == ["val-2.jpg"]
    with pytest.raises(
        ValueError,
        match="--boxes detections is for --data coco, crowdpose, ochuman with --root; mini has boxes of its own",
    ):
        sets.people_to_test("mini", None, "detections")
    (root / "folder").mkdir()
    (root / "folder" / "a.png").write_bytes(b"")
    with pytest.raises(FileNotFoundError):
        sets.people_to_test("images", root / "folder")


@pytest.mark.parametrize(
    "layout", ["json/crowdpose_{}.json", "annotations/mmpose_crowdpose_{}.json", "crowdpose_{}.json"]
)
@pytest.mark.parametrize("part", ["train", "trainval"])
def test_crowdpose_by_name(tmp_path, layout, part):
    (tmp_path / "images").mkdir()
    data = dataset(person(1, 10, 14), joints=CROWDPOSE14.joints)
    for row in data["images"]:
        (tmp_path / "images" / row["file_name"]).write_bytes(b"here")
    for split in (part, "test"):
        path = tmp_path / layout.format(split)
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(data))
    split = sets.load("crowdpose", tmp_path)
    assert (len(split.train), len(split.test), split.test.name) == (1, 1, "crowdpose")
    assert split.train.instances is None


def test_ochuman_is_for_testing_only(tmp_path):
    (tmp_path / "images").mkdir()
    data = dataset(person(1, 10))
    for row in data["images"]:
        (tmp_path / "images" / row["file_name"]).write_bytes(b"here")
    (tmp_path / "ochuman_coco_format_test_range_0.00_1.00.json").write_text(json.dumps(data))
    split = sets.load("ochuman", tmp_path)
    assert len(split.test) == 1
    assert [name for name, _ in split.parts] == ["test"]
    with pytest.raises(ValueError, match="ochuman has no people to train on, it was made for testing"):
        _ = split.train


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "folder", "count", "skeleton"), [("coco", "coco", 12, COCO17), ("ochuman", "ochuman", 5, COCO17)]
)
def test_real_samples(shared, name, folder, count, skeleton):
    where = shared / "data" / "fixtures" / folder
    got = read_coco(where / f"test_{name}.json", where, name=name)
    assert (len(got), got.skeleton) == (count, skeleton)
    assert (got.boxes[:, 2:] > got.boxes[:, :2]).all()


@pytest.mark.shared
def test_real_crowdpose(shared):
    where = shared / "data" / "fixtures" / "crowdpose"
    got = read_coco(where / "test_crowdpose.json", where)
    assert (len(got), got.skeleton) == (4, CROWDPOSE14)  # one of five has no joint
    assert got.instances.truth.count.tolist() == [5, 0, 10, 12, 12]  # head and neck are not counted
    assert got.instances.truth.area[0] == pytest.approx(0.53 * 273.15 * 352.42)
    everyone = read_coco(where / "test_crowdpose.json", where, where / "test_crowdpose_det_AP_40.json")
    assert len(everyone) == 6
    with pytest.raises(ValueError, match="it holds detections of another set"):
        read_coco(
            where / "test_crowdpose.json",
            where,
            shared / "data" / "fixtures" / "coco" / "test_coco_det_AP_H_56.json",
        )
