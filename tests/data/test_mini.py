"""The set that ships with the package: what is in it, how it is unpacked, and how it was made small."""

from __future__ import annotations

import importlib.util
import io
import threading
import zipfile
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from poseling.data import mini
from poseling.data.mini import unpack
from poseling.files import read_image
from poseling.skeleton import COCO17, SYNTH28


@pytest.fixture(scope="module")
def make_mini() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "make_mini", Path(__file__).resolve().parents[2] / "scripts" / "make_mini.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def archive(path: Path, **files: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as out:
        for name, data in files.items():
            out.writestr(name.replace("__", "/"), data)
    return path


# Unpacking


def test_an_archive_is_unpacked_once(tmp_path: Path):
    packed = archive(tmp_path / "small.zip", train__a=b"one", b=b"two")
    folder = unpack(packed, tmp_path / "new" / "cache")
    assert folder.parent == tmp_path / "new" / "cache"
    assert folder.name.startswith("small-")
    assert (folder / "train" / "a").read_bytes() == b"one"
    assert (folder / "b").read_bytes() == b"two"
    (folder / "b").write_bytes(b"mine")
    assert unpack(packed, tmp_path / "new" / "cache") == folder
    assert (folder / "b").read_bytes() == b"mine"  # it was not written again


def test_another_version_goes_into_another_folder(tmp_path: Path):
    folders = []
    for i, data in enumerate((b"old", b"new")):
        (tmp_path / str(i)).mkdir()
        folders.append(unpack(archive(tmp_path / str(i) / "set.zip", a=data), tmp_path))
    assert [(folder / "a").read_bytes() for folder in folders] == [b"old", b"new"]


def test_several_at_once_leave_one_whole_folder(tmp_path: Path):
    packed = archive(tmp_path / "set.zip", **{f"f{i}": bytes([i]) * 1000 for i in range(200)})
    start, found = threading.Barrier(4), []

    def one() -> None:
        start.wait()
        found.append(unpack(packed, tmp_path / "cache"))

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert list((tmp_path / "cache").iterdir()) == [found[0]]  # nor is anything half done left beside it
    assert {path.name: path.read_bytes() for path in found[0].iterdir()} == {
        f"f{i}": bytes([i]) * 1000 for i in range(200)
    }


@pytest.mark.parametrize("name", ["../outside", "train/../../outside", "/outside"])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str):
    packed = archive(tmp_path / "evil.zip", a=b"fine", **{name.replace("/", "__"): b"bad"})
    with pytest.raises(ValueError, match=r"evil\.zip: holds .*outside, which would be written outside of"):
        unpack(packed, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []
    assert not (tmp_path / "outside").exists()


def test_a_damaged_archive_leaves_nothing(tmp_path: Path):
    packed = archive(tmp_path / "set.zip", a=b"first", b=b"second")
    whole = packed.read_bytes()
    cut, bent = tmp_path / "cut.zip", tmp_path / "bent.zip"
    cut.write_bytes(whole[: len(whole) // 2])
    bent.write_bytes(whole.replace(b"second", b"sEcond"))
    for broken in (cut, bent):
        with pytest.raises(ValueError, match=rf"{broken.name}: is damaged .*; install poseling again"):
            unpack(broken, tmp_path / "cache")
    assert not (tmp_path / "cache").exists() or not list((tmp_path / "cache").iterdir())


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(mini, "ZIP", tmp_path / "mini.zip")
    monkeypatch.setattr(mini, "TEACHER", tmp_path / "mini-teacher.safetensors")
    with pytest.raises(FileNotFoundError, match=r"mini\.zip: is missing from the package; .*name other data"):
        mini.mini("train", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"mini-teacher\.safetensors: is missing"):
        mini.teacher()


def test_a_folder_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot be written to .*; choose another folder"):
        unpack(archive(tmp_path / "set.zip", a=b""), tmp_path / "file")


def test_the_cache_is_where_others_have_theirs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert mini.cache_folder() == tmp_path / "x" / "poseling"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert mini.cache_folder() == tmp_path / "home" / ".cache" / "poseling"


# What is in the package


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("mini")


@pytest.mark.parametrize(("split", "least"), [("train", 1000), ("val", 100), ("test", 250)])
def test_the_truth_in_2d_is_the_truth_in_3d_projected(folder: Path, split: mini.Part, least: int):
    dataset = mini.mini(split, folder)
    assert dataset.skeleton == SYNTH28
    assert len(dataset) >= least
    assert dataset.joints_3d is not None
    assert dataset.camera is not None
    focal, centre = dataset.camera[:, None, :2], dataset.camera[:, None, 2:]
    projected = focal * dataset.joints_3d[..., :2] / dataset.joints_3d[..., 2:] + centre
    known = dataset.visible > 0
    assert known.mean() > 0.8
    assert np.abs(projected - dataset.joints)[known].max() < 0.01
    for image, joints, seen in zip(dataset.images, dataset.joints, known, strict=True):
        assert (joints[seen] >= -0.5).all()
        assert (joints[seen] <= np.array(read_image(image).shape[1::-1]) - 0.5).all()


def test_it_is_as_large_as_promised(folder: Path):
    assert sum(len(mini.mini(split, folder)) for split in ("train", "val", "test")) >= 1500
    assert mini.ZIP.stat().st_size <= 8_000_000
    assert mini.teacher().stat().st_size <= 6_000_000


def test_no_image_is_in_two_splits(folder: Path):
    seen = [
        path.read_bytes() for split in ("train", "val", "test") for path in mini.mini(split, folder).images
    ]
    assert len(set(seen)) == len(seen)


def test_the_images_are_all_readable(folder: Path):
    dataset = mini.mini("test", folder)
    assert max(max(read_image(path).shape) for path in dataset.images) <= 192


def test_the_teacher_knows_the_joints_of_newcomers():
    from poseling.teachers.load import load

    teacher = load(str(mini.teacher()))
    assert teacher.skeleton.to(COCO17).known.all()
    assert next(teacher.network.parameters()).dtype.is_floating_point
    assert (
        next(teacher.network.parameters()).element_size() == 4
    )  # stored as half, computed in single precision


# How it was made


def person(joints: list[list[float]], box: tuple[float, ...] = (0, 0, 255, 255)) -> dict[str, np.ndarray]:
    """One person's truth in an image of 256 x 256."""
    xyz = np.array([[(u - 127.5) / 300 * 2, (v - 120) / 310 * 2, 2] for u, v in joints])  # two metres away
    camera = np.array([300, 310, 127.5, 120], np.float32)
    return {
        "joints": np.array(joints, np.float32),
        "visible": np.full(len(joints), 2, np.uint8),
        "xyz": xyz,
        "camera": camera,
        "box": np.array(box),
    }


@given(
    u=st.integers(0, 255),
    v=st.integers(0, 255),
    left=st.integers(0, 100),
    top=st.integers(0, 100),
    width=st.integers(20, 156),
    side=st.integers(16, 156),
)
def test_the_truth_moves_as_opencv_moves_the_image(
    make_mini: ModuleType, u: int, v: int, left: int, top: int, width: int, side: int
):
    """The area of a pixel, from u - 0.5 to u + 0.5, goes where a resampling puts it that maps a window's
    edges on those of the small image.
    """
    got = make_mini.moved(person([[u, v]]), left, top, side / width, side)
    for place, pixel, start in ((got["joints"][0, 0], u, left), (got["joints"][0, 1], v, top)):
        low, high = ((edge - (start - 0.5)) / width * side - 0.5 for edge in (pixel - 0.5, pixel + 0.5))
        assert place == pytest.approx((low + high) / 2, abs=1e-3)
    inside = left <= u < left + width and top <= v < top + width
    assert got["visible"].tolist() == [2 if inside else 0]


def test_what_is_bright_stays_where_its_joint_is(make_mini: ModuleType):
    image = np.zeros((256, 256), np.float32)
    image[100:108, 60:76] = 1  # its middle is at 67.5, 103.5
    left, top, width = make_mini.window(np.array([50.0, 80.0, 110.0, 130.0]), 256)
    small = cv2.resize(image[top : top + width, left : left + width], (60, 60), interpolation=cv2.INTER_AREA)
    rows, columns = np.indices(small.shape)
    middle = [(columns * small).sum() / small.sum(), (rows * small).sum() / small.sum()]
    assert make_mini.moved(person([[67.5, 103.5]]), left, top, 60 / width, 60)["joints"][0] == pytest.approx(
        middle, abs=0.01
    )


def test_the_window_is_around_the_person_and_in_the_image(make_mini: ModuleType):
    assert make_mini.window(np.array([100.0, 100.0, 150.0, 140.0]), 256) == (
        85,
        80,
        80,
    )  # 1.6 x 50, around 125, 120
    assert make_mini.window(np.array([0.0, 200.0, 50.0, 255.0]), 256) == (0, 168, 88)
    assert make_mini.window(np.array([0.0, 0.0, 255.0, 255.0]), 256) == (0, 0, 256)


def test_moving_keeps_the_projection(make_mini: ModuleType):
    got = make_mini.moved(person([[30.0, 40.0], [200.0, 111.0]], (20, 30, 210, 120)), 10, 0, 0.55, 130)
    projected = got["camera"][:2] * got["xyz"][:, :2] / got["xyz"][:, 2:] + got["camera"][2:]
    assert np.abs(projected - got["joints"]).max() < 1e-3
    assert got["box"] == pytest.approx(
        [(20 - 10 + 0.5) * 0.55 - 0.5, 30.5 * 0.55 - 0.5, 200.5 * 0.55 - 0.5, 120.5 * 0.55 - 0.5], abs=1e-4
    )


def test_the_same_files_make_the_same_bytes(make_mini: ModuleType):
    files = {"train/a": b"one", "b": b"two"}
    packed = make_mini.pack(files)
    assert packed == make_mini.pack(dict(files))
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == files
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
