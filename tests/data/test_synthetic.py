"""The layout of a synthetic set, written here by hand and read; and written and read."""

from __future__ import annotations

import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.data.synthetic import (
    SHAPES,
    claim,
    image_path,
    image_paths,
    read_truth,
    synthetic,
    truth_path,
    truth_paths,
    write_truth,
)
from poseling.skeleton import SYNTH28

ABOUT = {"version": 1, "seed": 4, "size": 64, "split": "train", "quality": 90, "backgrounds": 0}


def truth(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Of `count` people 2 to 4 metres away, before a camera of 64 pixels."""
    random = np.random.default_rng(seed)
    xyz = random.uniform([-1, -1, 2], [1, 1, 4], (count, 28, 3)).astype(np.float32)
    camera = np.tile(np.float32([60, 62, 31.5, 30]), (count, 1))
    joints = np.stack([60 * xyz[..., 0] / xyz[..., 2] + 31.5, 62 * xyz[..., 1] / xyz[..., 2] + 30], -1)
    visible = random.integers(1, 3, (count, 28)).astype(np.uint8)
    box = np.tile(np.float32([3, 4, 50, 60]), (count, 1))
    return {
        "joints": joints,
        "visible": visible,
        "xyz": xyz,
        "camera": camera,
        "box": box,
        "motion": np.array(["walk", "dance"] * count)[:count],
    }


def lay(root: Path, blocks: dict[int, dict[str, np.ndarray]], suffix: str = ".jpg", **about: object) -> Path:
    """A set as the layout has it, without the functions of the package."""
    (root / "truth").mkdir(parents=True)
    (root / "synthetic.json").write_text(json.dumps({"synthetic": ABOUT | about}))
    for first, block in blocks.items():
        np.savez(root / "truth" / f"{first:06d}.npz", **block)
        for i in range(first, first + len(block["motion"])):
            folder = root / "pictures" / f"{i // 1000:03d}"
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / f"{i:06d}{suffix}"), np.full((64, 64, 3), i % 256, np.uint8))
    return root


def rows(block: dict[str, np.ndarray]) -> list[dict[str, np.ndarray]]:
    return [{name: values[i] for name, values in block.items()} for i in range(len(block["motion"]))]


def test_people_are_read_in_the_order_of_their_images(tmp_path: Path):
    blocks = {1000: truth(2, 1), 0: truth(3, 0), 250: truth(2, 2)}
    dataset = synthetic(lay(tmp_path, blocks))
    names = ["000/000000", "000/000001", "000/000002", "000/000250", "000/000251", "001/001000", "001/001001"]
    assert dataset.images == tuple(tmp_path / "pictures" / f"{name}.jpg" for name in names)
    for name, got in (
        ("xyz", dataset.joints_3d),
        ("camera", dataset.camera),
        ("box", dataset.boxes),
        ("joints", dataset.joints),
        ("visible", dataset.visible),
    ):
        np.testing.assert_array_equal(
            got, np.concatenate([blocks[first][name] for first in (0, 250, 1000)]), err_msg=name
        )
    assert dataset.skeleton == SYNTH28
    assert dataset.name == "synthetic"
    assert dataset.left_out == ()


def test_joints_outside_the_image_are_unlabelled_but_known_in_space(tmp_path: Path):
    block = truth(2)
    block["visible"][1] = 0
    block["visible"][1, 5] = 2  # all but the left shoulder
    dataset = synthetic(lay(tmp_path, {0: block}))
    assert len(dataset) == 2
    assert np.flatnonzero(dataset.joints[1].any(-1)).tolist() == [5]
    np.testing.assert_array_equal(dataset.joints_3d, block["xyz"])
    assert dataset.boxes[1].tolist() == [3, 4, 50, 60]


def test_the_licence_names_all_sources(tmp_path: Path):
    own = synthetic(lay(tmp_path / "own", {0: truth(1)})).licence
    assert all(word in own for word in ("Anny", "Apache-2.0", "MakeHuman", "CC0-1.0", "CMU", "poseling"))
    assert "backgrounds" not in own
    assert (
        synthetic(lay(tmp_path / "other", {0: truth(1)}, backgrounds=12)).licence
        == own + "; backgrounds: as those images"
    )
    assert synthetic(lay(tmp_path / "told", {0: truth(1)}, licence="MIT")).licence == "MIT"


def test_webp_is_read_too(tmp_path: Path):
    dataset = synthetic(lay(tmp_path, {0: truth(2)}, ".webp"))
    assert [path.name for path in dataset.images] == ["000000.webp", "000001.webp"]
    assert dataset.left_out == ()


def test_foreign_files_are_not_part_of_the_set(tmp_path: Path):
    lay(tmp_path, {0: truth(1)})
    for name in (
        "pictures/000/.000001.jpg.0123",
        "pictures/000/notes.txt",
        "truth/.000250.npz.0123",
        "truth/old.npz",
    ):
        (tmp_path / name).write_bytes(b"something")
    assert len(synthetic(tmp_path)) == 1
    assert list(image_paths(tmp_path)) == list(truth_paths(tmp_path)) == [0]


def test_missing_images_are_left_out_and_reported(tmp_path: Path):
    block = truth(4)
    lay(tmp_path, {0: block})
    (tmp_path / "pictures/000/000002.jpg").unlink()
    dataset = synthetic(tmp_path)
    np.testing.assert_array_equal(dataset.joints_3d, block["xyz"][[0, 1, 3]])
    np.testing.assert_array_equal(dataset.camera, block["camera"][[0, 1, 3]])
    assert [(f.kind, f.image.name, f.person) for f in dataset.findings] == [
        ("missing image", "000002.jpg", 2)
    ]
    for path in (tmp_path / "pictures/000").iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="none of its 4 images was found"):
        synthetic(tmp_path)


def test_no_people_yet(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match=rf"poseling data synthesize --count 1000 --out {tmp_path}"):
        synthetic(tmp_path)
    claim(tmp_path, ABOUT)
    with pytest.raises(FileNotFoundError, match=r"holds no synthetic people"):
        synthetic(tmp_path)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zip",
        npz(**truth(3))[:900],
        npz(**truth(3)).replace(b"\x93NUMPY", b"\x93NUMPI"),
        npz(**{name: values for name, values in truth(3).items() if name != "xyz"}),
        npz(**(truth(3) | {"camera": truth(2)["camera"]})),
        npz(**(truth(3) | {"joints": np.zeros((3, 17, 2), np.float32)})),
        npz(**(truth(3) | {"motion": np.array(None)})),
    ],
    ids=["empty", "no zip", "cut", "bent", "no xyz", "too few", "another skeleton", "objects"],
)
def test_a_damaged_truth_is_named(tmp_path: Path, data: bytes):
    lay(tmp_path, {0: truth(3), 250: truth(3)})
    (tmp_path / "truth/000250.npz").write_bytes(data)
    with pytest.raises(
        ValueError,
        match=r"truth/000250\.npz: is damaged \(.*\); delete it, and `poseling data synthesize` makes its images again",
    ):
        synthetic(tmp_path)


@pytest.mark.parametrize("note", ["", "[]", '{"drawn": {}}', '{"synthetic": {}}', '{"synthetic": 3}'])
def test_a_damaged_note_is_named(tmp_path: Path, note: str):
    lay(tmp_path, {0: truth(1)})
    (tmp_path / "synthetic.json").write_text(note)
    with pytest.raises(ValueError, match=r"synthetic\.json: is damaged .*remove .* and make the set again"):
        synthetic(tmp_path)


@given(st.integers(1, 30), st.integers(0, 2**20))
def test_a_truth_is_read_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, count: int, seed: int):
    block, path = truth(count, seed), tmp_path_factory.mktemp("truth") / "deep" / "000000.npz"
    write_truth(path, rows(block))
    first = path.read_bytes()
    got = read_truth(path)
    assert list(got) == list(SHAPES)
    for name, values in block.items():
        np.testing.assert_array_equal(got[name], values)
    write_truth(path, rows(block))
    assert path.read_bytes() == first


@given(st.integers(0, 10**7))
def test_an_index_is_found_where_it_was_put(index: int):
    root = Path("set")
    assert int(image_path(root, index).stem) == int(truth_path(root, index).stem) == index
    assert int(image_path(root, index).parent.name) == index // 1000
    assert image_path(root, index).parent.parent == root / "pictures"


def test_a_folder_is_claimed_once(tmp_path: Path):
    claim(tmp_path / "set", ABOUT)
    claim(tmp_path / "set", ABOUT)
    claim(tmp_path / "set", ABOUT | {"seed": 5})  # there is no image yet
    (tmp_path / "set" / "pictures").mkdir()
    with pytest.raises(ValueError, match=r'"seed": 5.*wanted.*"seed": 4'):
        claim(tmp_path / "set", ABOUT)
    assert json.loads((tmp_path / "set" / "synthetic.json").read_text())["synthetic"]["seed"] == 5
