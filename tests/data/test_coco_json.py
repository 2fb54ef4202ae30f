"""Any file in COCO's format: a hand and animals made here, and skeletons of any shape."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.data import sets
from poseling.data.coco_files import CocoFiles
from poseling.data.coco_json import SIGMA, coco_json, plain_name, read_skeleton
from poseling.evaluate.evaluator import Evaluator
from poseling.pose import Pose
from poseling.skeleton import COCO17

FINGERS = ("thumb", "index", "middle", "ring", "pinky")
HAND = ("wrist", *(f"{finger}{i}" for finger in FINGERS for i in (1, 2, 3, 4)))
# From the wrist to each knuckle, and along each finger; numbers count from 1.
HAND_BONES = [
    pair for f in range(5) for pair in ([1, 4 * f + 2], *([4 * f + i, 4 * f + i + 1] for i in (2, 3, 4)))
]
DOG = ("Nose", "L_Eye", "R_Eye", "Neck", "L_F_Paw", "R_F_Paw", "Root of tail")
DOG_BONES = [[1, 2], [1, 3], [2, 3], [1, 4], [4, 5], [4, 6], [4, 7]]  # eyes and nose are a ring, as in AP-10K


def category(joints=HAND, bones=HAND_BONES, ident: int = 1, name: str = "hand", **more) -> dict:
    return {"id": ident, "name": name, "keypoints": list(joints), "skeleton": bones, **more}


def annotation(ident: int, image: int, joints: int, kind: int = 1) -> dict:
    """Joint k at (10 + k, 20 + 2 k), the first one occluded."""
    flat = [v for k in range(joints) for v in (10 + k, 20 + 2 * k, 2 if k else 1)]
    box = {"bbox": [8, 18, joints + 4, 2 * joints + 4], "area": 400.0}
    return {"id": ident, "image_id": image, "category_id": kind, "keypoints": flat, **box}


def write(root: Path, categories: list[dict], rows: list[dict], count: int = 2, name: str = "a.json") -> Path:
    """The file and its images, which are noise."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 80, "height": 80} for i in range(1, count + 1)]
    for row in images:
        noise = np.random.default_rng(row["id"]).integers(0, 255, (80, 80, 3), dtype=np.uint8)
        cv2.imwrite(str(root / row["file_name"]), noise)
    (root / name).write_text(json.dumps({"images": images, "annotations": rows, "categories": categories}))
    return root / name


def skeleton(joints=HAND, bones=HAND_BONES, sides: str = "names", **more):
    return read_skeleton(Path("a.json"), category(joints, bones, **more), sides)


def test_a_hand_has_the_files_own_joints(tmp_path):
    write(tmp_path, [category(sigmas=[0.03] * 21)], [annotation(1, 1, 21), annotation(2, 2, 21)])
    got = sets.load("coco_json", tmp_path, None, CocoFiles(annotations=(Path("a.json"),), sides="none")).train
    assert (len(got), got.name, got.skeleton.name, got.skeleton.joints) == (2, "coco_json", "hand21", HAND)
    assert got.skeleton.sigmas == (0.03,) * 21
    assert got.skeleton.flip.tolist() == list(range(21))
    assert {(HAND[child], HAND[parent]) for child, parent in got.skeleton.bones} == {
        (finger + "1", "wrist") for finger in FINGERS
    } | {(f"{finger}{i + 1}", f"{finger}{i}") for finger in FINGERS for i in (1, 2, 3)}
    assert got.joints[0, 5].tolist() == [15, 30]
    assert got.visible[0, :2].tolist() == [1, 2]
    assert got.licence == "unknown: your own annotations"
    assert got.findings == ()


def test_an_animal_has_left_and_right_by_its_names_and_no_ring():
    found, notes = skeleton(DOG, DOG_BONES, name="dog")
    assert found.joints == (
        "nose", "left_eye", "right_eye", "neck", "left_f_paw", "right_f_paw", "root_of_tail"
    )  # fmt: skip
    assert found.flip.tolist() == [0, 2, 1, 3, 5, 4, 6]
    assert found.parents == (0, 0, 0, 0, 3, 3, 3)
    assert found.sigmas == (SIGMA,) * 7
    assert notes == [
        ("closed ring", "left_eye to right_eye closes a ring of bones, left out"),
        ("no sigmas", f"the file gives none; OKS is measured with {SIGMA} for every joint"),
    ]


def test_species_with_the_same_joints_are_one_set(tmp_path):
    kinds = [category(DOG, DOG_BONES, i, name) for i, name in ((1, "dog"), (2, "cat"))]
    kinds.append({"id": 3, "name": "tree"})
    write(tmp_path, kinds, [annotation(1, 1, 7, 1), annotation(2, 2, 7, 2)])
    assert len(coco_json(tmp_path, Path("a.json"))) == 2
    assert coco_json(tmp_path, Path("a.json")).skeleton.name == "joints7"
    cats = coco_json(tmp_path, Path("a.json"), CocoFiles(category="cat"))
    assert (cats.skeleton.name, [p.name for p in cats.images]) == ("cat7", ["2.png"])


def test_people_keep_the_skeleton_that_is_known():
    found, notes = skeleton(COCO17.joints, [[1, 2]], name="person")
    assert (found, notes) == (COCO17, [])


def test_sides_from_a_file_of_pairs(tmp_path):
    path = tmp_path / "sides.json"
    path.write_text(json.dumps([["a", "b"], ["left hoof", "right hoof"]]))
    found, _ = skeleton(("a", "b", "nose", "left hoof", "right hoof", "left_ear"), [], str(path))
    assert found.joints == ("left_a", "right_a", "nose", "left_hoof", "right_hoof", "ear_left")
    assert found.flip.tolist() == [1, 0, 2, 4, 3, 5]


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        ([["a", "tail"]], r"sides\.json: there is no joint 'tail'; there are a, b, c"),
        ([["a", "b"], ["a", "c"]], r"sides\.json: a is in two pairs; a joint has one mirror image"),
        ([["a"]], r"sides\.json: expected pairs of joints"),
        ({"a": "b"}, r"sides\.json: expected pairs of joints"),
    ],
)
def test_bad_pairs_are_refused(tmp_path, pairs, message):
    path = tmp_path / "sides.json"
    path.write_text(json.dumps(pairs))
    with pytest.raises(ValueError, match=message):
        skeleton(("a", "b", "c"), [], str(path))


@pytest.mark.parametrize(
    ("joints", "bones", "more", "message"),
    [
        (HAND, [], {}, r"no joint is named left or right \(wrist, thumb1, thumb2, thumb3, .*--sides none .*FILE"),
        (DOG, [[1, 8]], {}, r"the bone \[1, 8\] leads to joint 8, but its 7 joints have the numbers 1 to 7"),
        (DOG, [[0, 7]], {}, r"the bone \[0, 7\] leads to joint 7, but its 7 joints have the numbers 0 to 6"),
        (DOG, [[-1, 2]], {}, r"the bone \[-1, 2\] leads to joint -1, but its 7 joints have the numbers 1 to 7"),
        (DOG, [[2, 2]], {}, r"the bone \[2, 2\] leads from left_eye to itself"),
        (DOG, [[1, 2, 3]], {}, r"skeleton is \[\[1, 2, 3\]\], expected pairs of joints"),
        (DOG, [["Nose", 2]], {}, "expected pairs of joints"),
        (DOG, "1-2", {}, "skeleton is 1-2, expected pairs"),
        (DOG, [], {"sigmas": [0.1] * 6}, "has 7 joints but 6 sigmas"),
        (DOG, [], {"sigmas": [0.1] * 6 + [0]}, "sigmas is .*expected one number above 0 for each joint"),
        (DOG, [], {"sigmas": 0.1}, "sigmas is 0.1"),
        (("nose", "nose", "left_eye", "right_eye"), [], {}, "names nose more than once"),
        (("nose", "left_eye"), [], {}, "has left_eye but no right_eye"),
        ((1, 2), [], {}, r"keypoints is \[1, 2\], expected the names of the joints"),
    ],
)  # fmt: skip
def test_skeletons_that_cannot_be(joints, bones, more, message):
    with pytest.raises(ValueError, match=rf"^a\.json: .*{message}"):
        skeleton(joints, bones, **more)


@pytest.mark.parametrize(
    ("categories", "wanted", "message"),
    [
        (
            [{"id": 1, "name": "hand"}],
            None,
            r"none of its categories \('hand'\) has keypoints, the names of the joints; expected",
        ),
        (
            [category(), category(DOG, DOG_BONES, 2, "dog"), category(DOG, DOG_BONES, 3, "cat")],
            None,
            r"its categories have different keypoints \(hand; dog, cat\); pick one with --category",
        ),
        ([category()], "foot", "has no category 'foot'; --category is one of hand"),
    ],
)
def test_categories_that_cannot_be_chosen(tmp_path, categories, wanted, message):
    write(tmp_path, categories, [annotation(1, 1, 21)])
    with pytest.raises(ValueError, match=rf"a\.json: {message}"):
        coco_json(tmp_path, Path("a.json"), CocoFiles(category=wanted, sides="none"))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"--data coco_json needs --annotations: one file.* 0 are given"):
        sets.load("coco_json", tmp_path)
    with pytest.raises(ValueError, match="--sides are for --data coco_json, not for mini"):
        sets.load("mini", files=CocoFiles(annotations=(Path("a.json"),)))
    with pytest.raises(
        ValueError, match=r"--data images: --annotations, .* are for one set among them, coco_json"
    ):
        sets.load_all(("images",), (tmp_path,), files=CocoFiles(annotations=(Path("a.json"),)))
    with pytest.raises(
        FileNotFoundError, match=r"gone\.json: not found; --annotations names a COCO keypoints"
    ):
        coco_json(tmp_path, Path("gone.json"))
    path = write(tmp_path, [category(DOG, DOG_BONES)], [annotation(1, 1, 7)])
    (tmp_path / "elsewhere").mkdir()
    with pytest.raises(FileNotFoundError, match=r"none of its 1 images was found.*--root names the folder"):
        coco_json(tmp_path / "elsewhere", path)


def test_one_two_or_three_files_and_what_is_measured(tmp_path):
    for count, name in enumerate(("train.json", "val.json", "test.json"), 1):
        rows = [annotation(i, i, 7) for i in range(1, count + 1)]
        write(tmp_path, [category(DOG, DOG_BONES)], rows, 3, name)
    train, val, test = (Path(f"{name}.json") for name in ("train", "val", "test"))

    def sizes(*files: Path) -> list[tuple[str, int]]:
        parts = sets.load("coco_json", tmp_path, None, CocoFiles(annotations=files)).parts
        return [(name, len(dataset)) for name, dataset in parts]

    assert sizes(train) == [("train", 1)]
    assert sizes(train, test) == [("train", 1), ("test", 3)]
    assert sizes(train, val, test) == [("train", 1), ("val", 2), ("test", 3)]
    for files in ((test,), (train, test)):
        dataset = sets.people_to_test("coco_json", tmp_path, files=CocoFiles(annotations=files))
        evaluator = Evaluator.of(dataset)
        assert (evaluator.name, len(dataset)) == ("OKS AP", 3)
        labels = Pose(dataset.joints, np.ones(dataset.visible.shape), dataset.skeleton)
        assert evaluator.score(labels).mean == 1
    found = [{"image_id": 2, "category_id": 1, "bbox": [1, 2, 30, 40], "score": 0.5}]
    (tmp_path / "found.json").write_text(json.dumps(found))
    boxed = sets.people_to_test(
        "coco_json", tmp_path, str(tmp_path / "found.json"), None, CocoFiles(annotations=(test,))
    )
    assert [p.name for p in boxed.images] == ["2.png"]


@st.composite
def graphs(draw):
    """Joints and unique bones between them, in any order and direction."""
    count = draw(st.integers(1, 12))
    ends = st.integers(0, count - 1)
    bones = draw(st.lists(st.tuples(ends, ends).filter(lambda b: b[0] != b[1]), unique_by=frozenset))
    return count, bones


@given(graphs(), st.sampled_from([0, 1]))
def test_bones_are_a_tree_of_the_files_bones_and_the_rest_is_reported(graph, first):
    count, bones = graph
    if first == 0 and not any(0 in bone for bone in bones):  # else it counts from 1
        first = 1
    given_bones = [[a + first, b + first] for a, b in bones]
    found, notes = skeleton([f"joint{i}" for i in range(count)], given_bones, "none")
    asked = {frozenset(bone) for bone in bones}
    kept = {frozenset(bone) for bone in found.bones}
    assert kept <= asked
    assert sum(kind == "closed ring" for kind, _ in notes) == len(asked) - len(kept)
    # A forest: from every joint its parents lead to a root, one a component.
    parts = list(range(count))
    for a, b in bones:
        old, new = parts[a], parts[b]
        parts = [new if part == old else part for part in parts]
    assert len(kept) == count - len(set(parts))
    for joint in range(count):
        for _ in range(count):
            joint = found.parents[joint]
        assert found.parents[joint] == joint


WORDS = st.lists(st.sampled_from(["eye", "front", "paw", "hip", "toe"]), min_size=1, max_size=3)
STYLES = {
    "left_a": lambda side, words: "_".join([side, *words]),
    "LeftA": lambda side, words: "".join(word.title() for word in [side, *words]),
    "L_A": lambda side, words: "_".join([side[0].upper(), *(word.title() for word in words)]),
    "a left": lambda side, words: " ".join([*words, side]),
    "a.L": lambda side, words: ".".join([*words, side[0].upper()]),
}


@given(st.sampled_from(list(STYLES)), WORDS, st.sampled_from(["left", "right"]))
def test_names_of_all_styles_have_their_side(style, words, side):
    assert plain_name(STYLES[style](side, words)) == "_".join([side, *words])


@given(st.lists(WORDS, unique_by=tuple, min_size=1, max_size=4), st.sampled_from(list(STYLES)))
def test_the_mirror_of_the_mirror_is_the_joint(stems, style):
    joints = [STYLES[style](side, words) for words in stems for side in ("left", "right")]
    found, _ = skeleton(joints, [])
    assert found.flip[found.flip].tolist() == list(range(len(found)))
    assert (found.flip != np.arange(len(found))).all()
