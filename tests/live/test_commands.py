"""`poseling track --bvh --csv` and `poseling live` as a user meets them."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pybvh
import pytest

from poseling.cli import main
from poseling.live import open as opening
from poseling.live.server import Site


@pytest.mark.shared
def test_track_writes_motion_and_a_table(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    video, motion, table = shared / "data/videos/pose_squats.mp4", tmp_path / "a.bvh", tmp_path / "a.csv"
    main(["track", str(video), "--bvh", str(motion), "--csv", str(table), "--height", "1.6"])
    said = capsys.readouterr().out
    assert "65 frames" in said
    assert "estimated from 2D joints" in said
    clip = pybvh.read_bvh_file(motion, world_up="+y")
    places = np.asarray(clip.joint_positions())
    assert places.shape == (65, 13, 3)
    # Squats: the pelvis of who is 1.6 metres tall goes down by more than 20 cm, and the feet stay on the
    # floor.
    assert np.ptp(places[:, 0, 1]) > 20
    # a thigh
    assert np.linalg.norm(places[:, 10] - places[:, 9], axis=-1) == pytest.approx(100 * 1.6 * 0.245, abs=0.01)
    rows = list(csv.DictReader(table.open()))
    assert len(rows) == 65
    assert float(rows[1]["seconds"]) == pytest.approx(0.2)


@pytest.mark.shared
def test_a_height_needs_something_that_uses_it(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    with pytest.raises(SystemExit):
        main(
            [
                "track",
                str(shared / "data/videos/pose_squats.mp4"),
                "--csv",
                str(tmp_path / "a.csv"),
                "--height",
                "1.6",
            ]
        )
    assert "--height needs a 3D network" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_outputs_do_not_overwrite_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(SystemExit):
        main(["track", str(tmp_path / "a.mp4"), "--bvh", str(tmp_path / "a"), "--csv", str(tmp_path / "a")])
    assert "--bvh" in capsys.readouterr().err


def test_live_without_its_page_says_make_web(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(opening, "Site", lambda *arguments: Site(*arguments, page=tmp_path))
    with pytest.raises(SystemExit):
        main(["live", "--port", "0", "--no-browser"])
    assert "make web" in capsys.readouterr().err


def test_live_says_where_it_is_and_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "index.html").write_text("page")
    monkeypatch.setattr(opening, "Site", lambda *arguments: Site(*arguments, page=tmp_path))

    def interrupted(self: object, poll: float = 0.5) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("poseling.live.server.Server.serve_forever", interrupted)
    main(["live", "--port", "0", "--no-browser", "--vmc", "39541"])
    said = capsys.readouterr().out
    assert "http://127.0.0.1:" in said
    assert "for research only" in said
    assert "Only programs on this machine reach it" in said
    assert "127.0.0.1:39541" in said
    assert "Ended" in said


@pytest.mark.shared
def test_a_foreign_network_with_a_contract_is_no_file_for_the_page(
    shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    file = str(tmp_path / "lightning.onnx")
    main(["export", str(shared / "peers/movenet-lightning.onnx"), "--out", file])
    with pytest.raises(SystemExit):
        main(["live", "--model", file, "--port", "0"])
    assert (
        "lightning.onnx: has no contract that the page can read; take a file that `poseling export`"
        in " ".join(capsys.readouterr().err.split())
    )
