"""Making a set: whoever makes it and however often it was interrupted, the same images; and what is said when
it cannot be made.
"""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType

import cv2
import numpy as np
import pytest

from poseling.data import synthetic
from poseling.files import read_image
from poseling.synth import synthesize as module
from poseling.synth.synthesize import synthesize

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch):
    """Blocks of 8 images, dealt in threes: as large ones, but sooner there."""
    monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr(module, "PIECE", 3)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(HERE)  # workers have the path of whoever starts them
    import fake_studio

    return fake_studio


@pytest.fixture
def run(fake: ModuleType) -> Callable[..., module.Synthesized]:
    """Makes 20 images of 32 x 32 with a fake studio, or as told; `how` and `at` are how it goes wrong."""

    def run(out: Path, count: int = 20, how: str = "", at: int = 0, **more) -> module.Synthesized:
        return synthesize(
            out, count, size=32, make=partial(fake.Fake, how=how, at=at), **{"seed": 7, "workers": 1, **more}
        )

    return run


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a set of 20 images that was made in one go."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", 8)
        patch.syspath_prepend(HERE)
        import fake_studio

        out = tmp_path_factory.mktemp("whole") / "set"
        synthesize(out, 20, size=32, seed=7, workers=1, make=fake_studio.Fake)
        return files(out)


def files(folder: Path) -> dict[str, bytes]:
    """What is in a folder, but for hidden files: a process that was killed may leave one."""
    return {
        p.relative_to(folder).as_posix(): p.read_bytes()
        for p in folder.rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }


def stop_after(images: int) -> Callable[[int, int], None]:
    def progress(done: int, of: int) -> None:
        if done >= images:
            raise KeyboardInterrupt

    return progress


def test_what_is_made(tmp_path: Path, fake: ModuleType, run):
    told: list[tuple[int, int]] = []
    done = run(tmp_path / "new" / "set", progress=lambda *numbers: told.append(numbers))
    assert (done.folder, done.made, done.already, done.skipped) == (tmp_path / "new" / "set", 20, 0, ())
    assert done.images_per_second == pytest.approx(20 / done.seconds)
    assert told == [(n, 20) for n in (0, 3, 6, 8, 11, 14, 16, 19, 20)]
    names = (
        [f"pictures/000/{i:06d}.jpg" for i in range(20)]
        + [f"truth/{i:06d}.npz" for i in (0, 8, 16)]
        + ["synthetic.json"]
    )
    assert sorted(files(done.folder)) == sorted(names)
    dataset, studio = synthetic.synthetic(done.folder), fake.Fake(32, "train", ())
    assert len(dataset) == 20
    for i, path in enumerate(dataset.images):
        shot = studio.shoot(7, i)
        assert path.name == f"{i:06d}.jpg"
        np.testing.assert_array_equal(dataset.joints_3d[i], shot.xyz)
        np.testing.assert_array_equal(dataset.visible[i], shot.visible)
        same, other = (
            np.abs(read_image(path).astype(int) - studio.shoot(7, j).image).mean() for j in (i, i + 1)
        )
        assert same < 15 < 50 < other  # colours by lot differ by 85 on average


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_makes_the_same_bytes(tmp_path: Path, run, whole, workers: int):
    assert run(tmp_path / "set", workers=workers).made == 20
    assert files(tmp_path / "set") == whole


def test_another_seed_gives_other_people(tmp_path: Path, run, whole):
    other = files(run(tmp_path / "other", seed=8).folder)
    assert other.keys() == whole.keys()
    assert all(other[name] != data for name, data in whole.items())


@pytest.mark.parametrize(("after", "kept"), [(1, 0), (8, 8), (11, 8), (16, 16), (19, 16)])
def test_an_interrupted_run_continues(tmp_path: Path, run, whole, after: int, kept: int):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "set", progress=stop_after(after))
    assert multiprocessing.active_children() == []
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    if kept:
        assert len(synthetic.synthetic(tmp_path / "set")) == kept
    else:
        with pytest.raises(FileNotFoundError, match="poseling data synthesize"):
            synthetic.synthetic(tmp_path / "set")
    done = run(tmp_path / "set")
    assert (done.already, done.made) == (kept, 20 - kept)
    assert files(tmp_path / "set") == whole
    again = run(tmp_path / "set")
    assert (again.already, again.made, again.images_per_second) == (20, 0, 0)


def started(out: Path, how: str, at: int, workers: int) -> subprocess.Popen[str]:
    """The same in a process of its own, which says how many images there are."""
    code = f"""
import sys; sys.path.insert(0, {str(HERE)!r})
from functools import partial
from pathlib import Path
import fake_studio
from poseling.synth import synthesize as module
module.BLOCK, module.PIECE = 8, 3
make = partial(fake_studio.Fake, how={how!r}, at={at})
try:
    module.synthesize(Path({str(out)!r}), 20, size=32, seed=7, workers={workers}, make=make, progress=lambda done, of: print(done, flush=True))
except KeyboardInterrupt:
    print("stopped")
"""
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_a_killed_run_continues(tmp_path: Path, run, whole):
    with started(tmp_path / "set", "orphan", at=11, workers=1) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 11:
            pass
        process.kill()
        process.communicate()  # ends when the workers do, whose output it is too
    assert list(synthetic.truth_paths(tmp_path / "set")) == [0]
    assert 12 not in synthetic.image_paths(
        tmp_path / "set"
    )  # the worker ended after the image that it was at, not after the piece
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


def test_ctrl_c_reaches_the_workers_through_their_parent(tmp_path: Path, run, whole):
    with started(tmp_path / "set", "Ctrl-C", at=10, workers=2) as process:
        out, err = process.communicate()
    assert out.endswith("\nstopped\n")
    assert err == ""  # no traceback of a worker's
    assert not any(p.name.startswith(".") for p in (tmp_path / "set").rglob("*"))
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


def test_workers_have_one_thread_each(tmp_path: Path, run, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    monkeypatch.delenv("LP_NUM_THREADS", raising=False)
    run(tmp_path / "set", count=2, how="tell")
    assert synthetic.read_truth(tmp_path / "set" / "truth" / "000000.npz")["motion"].tolist() == [
        "1 1",
        "1 1",
    ]
    assert os.environ["OMP_NUM_THREADS"] == "5"
    assert "LP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize("first", [3, 8, 13])
def test_a_larger_count_continues_and_a_smaller_one_changes_nothing(tmp_path: Path, run, whole, first: int):
    run(tmp_path / "set", count=first)
    done = run(tmp_path / "set")
    assert (done.already, done.made) == (first, 20 - first)
    assert files(tmp_path / "set") == whole
    fewer = run(tmp_path / "set", count=5)
    assert (fewer.already, fewer.made) == (20, 0)
    assert files(tmp_path / "set") == whole


@pytest.mark.parametrize("count", [20, 5])
def test_images_that_are_missing_are_made_again(tmp_path: Path, run, whole, count: int):
    run(tmp_path / "set")
    for i in (2, 6, 17):
        (tmp_path / "set" / "pictures" / "000" / f"{i:06d}.jpg").unlink()
    done = run(tmp_path / "set", count=count)
    made = {20: 3, 5: 2}[count]  # of the blocks that hold what is asked for
    assert (done.already, done.made) == (17, made)
    assert {name for name in whole if name not in files(tmp_path / "set")} == (
        {"pictures/000/000017.jpg"} if count == 5 else set()
    )
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


@pytest.mark.parametrize(
    ("other", "was", "wanted"),
    [
        ({"seed": 8}, '"seed": 7', '"seed": 8'),
        ({"split": "test"}, '"train"', '"test"'),
        ({"quality": 80}, '"quality": 90', '"quality": 80'),
    ],
)
def test_other_settings_are_refused(
    tmp_path: Path, run, whole, other: dict[str, object], was: str, wanted: str
):
    run(tmp_path / "set")
    with pytest.raises(ValueError, match=rf"set: holds .*{was}.*, wanted .*{wanted}.*name another folder"):
        run(tmp_path / "set", **other)
    assert files(tmp_path / "set") == whole


def test_a_folder_with_other_things_is_refused(tmp_path: Path, run):
    (tmp_path / "photo.jpg").write_bytes(b"mine")
    with pytest.raises(ValueError, match="holds other things than synthetic people; name a new folder"):
        run(tmp_path)
    assert files(tmp_path) == {"photo.jpg": b"mine"}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"count": 0}, "count is 0; it must be 1 or more"),
        ({"workers": 0}, "workers is 0; it must be 1 or more"),
        ({"seed": -1}, "seed is -1; it must be 0 or more"),
        ({"quality": 0}, "quality is 0"),
        ({"split": "dev"}, "no split 'dev'; there are train, val, test"),
    ],
)
def test_wrong_numbers_leave_nothing(tmp_path: Path, run, wrong: dict[str, object], why: str):
    with pytest.raises(ValueError, match=why):
        run(tmp_path / "set", **wrong)
    assert not (tmp_path / "set").exists()


def test_a_full_disk(tmp_path: Path, run, whole):
    with pytest.raises(
        OSError, match=r"set: the disk is full; whole blocks \(1 so far\) stay.*the same command continues"
    ) as caught:
        run(tmp_path / "set", how="full", at=10)
    assert caught.value.errno == errno.ENOSPC
    assert len(synthetic.synthetic(tmp_path / "set")) == 8
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


def test_a_disk_that_is_full_when_the_truth_is_written(tmp_path: Path, run, whole, monkeypatch):
    def full(path: Path, rows: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(synthetic, "write_truth", full)
        with pytest.raises(OSError, match=r"set: the disk is full; whole blocks \(0 so far\)"):
            run(tmp_path / "set")
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


def test_a_file_is_no_folder(tmp_path: Path, run):
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(
        ValueError, match=r"file: holds other things than synthetic people; name a new folder"
    ):
        run(tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"mine"


def test_a_damaged_truth_is_named_and_made_again(tmp_path: Path, run, whole):
    run(tmp_path / "set")
    path = tmp_path / "set" / "truth" / "000008.npz"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(
        ValueError,
        match=r"truth/000008\.npz: is damaged .*; delete it, and `poseling data synthesize` makes its images again",
    ):
        run(tmp_path / "set")
    path.unlink()
    assert run(tmp_path / "set").made == 8
    assert files(tmp_path / "set") == whole


def test_the_studio_s_error_is_raised_unchanged(tmp_path: Path, run):
    with pytest.raises(OSError) as no_egl:
        run(tmp_path / "set", how="no OpenGL", workers=2)
    assert str(no_egl.value) == "OpenGL without a window (EGL) cannot be started: apt-get install libegl1"
    with pytest.raises(ModuleNotFoundError, match="No module named 'anny'") as caught:
        run(tmp_path / "set", how="no anny")
    assert caught.value.name == "anny"
    # Nothing was made, so the folder may still become another set.
    assert run(tmp_path / "set", count=1, seed=3).made == 1


def test_a_worker_that_is_killed(tmp_path: Path, run, whole):
    with pytest.raises(
        ChildProcessError,
        match=r"set: a worker was killed by SIGKILL; if memory ran out, use fewer --workers.*continues",
    ):
        run(tmp_path / "set", how="killed", at=9, workers=2)
    run(tmp_path / "set")
    assert files(tmp_path / "set") == whole


def test_a_worker_that_cannot_be_started(tmp_path: Path, run, monkeypatch):
    def full(_: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", full)
    with pytest.raises(BlockingIOError, match="Resource temporarily unavailable"):
        run(tmp_path / "set")


def test_an_error_of_ours_keeps_its_traceback(tmp_path: Path, run):
    with pytest.raises(RuntimeError, match=r"(?s)fake_studio\.py.*in _go_wrong.*OddError: odd"):
        run(tmp_path / "set", how="odd")


def image(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((40, 50, 3), value, np.uint8))


def test_backgrounds(tmp_path: Path, run):
    places = tmp_path / "places"
    image(places / "deep" / "grey.png", 100)
    image(places / ".hidden" / "white.png", 255)
    (places / "broken.JPG").write_bytes(b"\xff\xd8 cut short")
    (places / "notes.txt").write_text("no image")
    done = run(tmp_path / "set", backgrounds=places, workers=2)
    assert done.skipped == (places / "broken.JPG",)
    dataset = synthetic.synthetic(tmp_path / "set")
    assert all(np.abs(read_image(path).astype(int) - 100).max() <= 2 for path in dataset.images)
    assert dataset.licence.endswith("; backgrounds: as those images")
    image(places / "more.png", 0)
    with pytest.raises(ValueError, match=r'"backgrounds": 2}, wanted .*"backgrounds": 3}'):
        run(tmp_path / "set", count=30, backgrounds=places)


@pytest.mark.parametrize("backgrounds", ["none", "empty", "broken"])
def test_no_background_at_all(tmp_path: Path, run, backgrounds: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"")
    why = (
        r"broken: none of its 1 images can be read"
        if backgrounds == "broken"
        else rf"{backgrounds}: holds no image .*--backgrounds names a folder"
    )
    with pytest.raises(OSError, match=why):
        run(tmp_path / "set", backgrounds=tmp_path / backgrounds)


@pytest.mark.slow
def test_the_real_studio(tmp_path: Path):
    studio = pytest.importorskip("poseling.synth.studio")
    done = synthesize(tmp_path / "set", 3, size=64, seed=2, split="test", workers=2)
    assert (done.made, done.skipped) == (3, ())
    dataset, shot = synthetic.synthetic(tmp_path / "set"), studio.Studio(64, "test").shoot(2, 1)
    np.testing.assert_array_equal(dataset.joints_3d[1], shot.xyz)
    np.testing.assert_array_equal(dataset.visible[1], shot.visible)
    data = cv2.imencode(".jpg", shot.image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
    assert dataset.images[1].read_bytes() == data
