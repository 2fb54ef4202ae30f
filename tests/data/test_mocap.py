"""Motion capture: BVH into MOVNECT15 in the world, and in the axes of a camera."""

from __future__ import annotations

import importlib.util
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poseling.data.mocap import Motion, motions, seen
from poseling.geometry import project
from poseling.skeleton import MOVNECT15, Skeleton

AT = MOVNECT15.index
# Offsets from the parent in centimetres, of a rig that stands in a T-pose when nothing turns.
LEG = [("Calf", (0, -45, 0)), ("Foot", (0, -45, 0))]
ARM = [("Forearm", 25), ("Hand", 25)]


def rig(left_out=""):
    """The hierarchy's text and the joints in order."""
    lines, order = ["HIERARCHY"], []

    def joint(name, offset, children=(), word="JOINT"):
        if name == left_out:
            return
        order.append(name)
        lines.append(f"{word} CC_Base_{name}\n{{\nOFFSET {' '.join(map(str, offset))}")
        lines.append(
            f"CHANNELS {'6 Xposition Yposition Zposition' if word == 'ROOT' else '3'} Zrotation Yrotation "
            f"Xrotation"
        )
        for child in children:
            child()
        if not children:
            lines.append("End Site\n{\nOFFSET 0 1 0\n}")
        lines.append("}")

    def chain(parts):
        (name, offset), *rest = parts
        return lambda: joint(name, offset, [chain(rest)] if rest else ())

    def leg(side, sign):
        return chain(
            [(f"{side}_Thigh", (sign * 10, -5, 0)), *((f"{side}_{name}", offset) for name, offset in LEG)]
        )

    def arm(side, sign):
        return chain(
            [
                (f"{side}_Upperarm", (sign * 20, -7, 0)),
                *((f"{side}_{name}", (sign * length, 0, 0)) for name, length in ARM),
            ]
        )

    eyes = [chain([("L_Eye", (3, 8, 8))]), chain([("R_Eye", (-3, 8, 8))])]
    neck = [lambda: joint("Head", (0, 8, 0), eyes)]
    # The arms hang on the neck's base: collar bones are of no interest here.
    body = [
        leg("L", 1),
        leg("R", -1),
        lambda: joint("NeckTwist01", (0, 50, 0), [*neck, arm("L", 1), arm("R", -1)]),
    ]
    joint("Hip", (0, 100, 0), body, "ROOT")
    return "\n".join(lines), order


def write(path, frames, left_out="", fps=30):
    """`frames` are dicts: the hip's place, and angles Z, Y, X in degrees by joint."""
    text, order = rig(left_out)
    rows = []
    for frame in frames:
        row = [*frame.get("place", (0, 100, 0))]
        for joint in order:
            row += frame.get(joint, (0, 0, 0))
        rows.append(" ".join(map(str, row)))
    path.write_text(
        f"{text}\nMOTION\nFrames: {len(rows)}\nFrame Time: {1 / fps:.6f}\n" + "\n".join(rows) + "\n"
    )


def test_joints_by_hand(tmp_path):
    write(tmp_path / "a.bvh", [{}, {"L_Upperarm": (90, 0, 0), "Hip": (0, 90, 0), "Head": (0, 0, 90)}])
    motion = motions(tmp_path / "a.bvh")["a"]
    assert (motion.name, motion.fps, motion.skeleton, motion.xyz.shape) == ("a", 30, MOVNECT15, (2, 15, 3))
    # The ankles are 5 + 45 + 45 cm under the hip and on the ground.
    by_hand = {
        "pelvis": (0, 0.90, 0),
        "left_hip": (0.1, 0.90, 0),
        "left_knee": (0.1, 0.45, 0),
        "right_ankle": (-0.1, 0, 0),
        "neck": (0, 1.45, 0),
        "left_shoulder": (0.2, 1.38, 0),
        "left_wrist": (0.7, 1.38, 0),
        "right_elbow": (-0.45, 1.38, 0),
        "head_top": (0, 1.45 + 0.08 + 0.08 + 0.11, 0),
    }
    for joint, place in by_hand.items():
        np.testing.assert_allclose(motion.xyz[0, AT(joint)], place, atol=1e-9, err_msg=joint)
    # Everything turns to the left, from z to x; the left arm, now behind, points up; the head bows by a right
    # angle, to where the face was.
    after = {
        "left_shoulder": (0, 1.38, -0.2),
        "left_wrist": (0, 1.88, -0.2),
        "left_hip": (0, 0.9, -0.1),
        "head_top": (0.19, 1.53, 0),
    }
    for joint, place in after.items():
        np.testing.assert_allclose(motion.xyz[1, AT(joint)], place, atol=1e-9, err_msg=joint)


def test_folders_zip_files_and_units(tmp_path):
    for name in ("b", "a"):
        write(tmp_path / f"{name}.bvh", [{}, {"place": (10, 100, 0)}])
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("a", "b"):
            archive.write(tmp_path / f"{name}.bvh", f"inside/{name}.bvh")
    folder, packed, inches = motions(tmp_path), motions(tmp_path / "all.zip"), motions(tmp_path, unit=0.0254)
    assert list(folder) == list(packed) == ["a", "b"]
    np.testing.assert_array_equal(folder["a"].xyz, packed["a"].xyz)
    np.testing.assert_allclose(inches["a"].xyz[:, 1:], 2.54 * folder["a"].xyz[:, 1:])
    np.testing.assert_allclose(
        folder["a"].xyz[1] - folder["a"].xyz[0], np.broadcast_to([0.1, 0, 0], (15, 3)), atol=1e-12
    )


def test_a_first_frame_elsewhere_is_left_out(tmp_path):
    # A frame is 1/30 s: 30 cm are 9 m/s, which is kept, 40 cm are 12 m/s.
    write(tmp_path / "kept.bvh", [{}, {"place": (30, 100, 0)}, {"place": (30, 100, 0)}])
    write(tmp_path / "cut.bvh", [{"place": (0, 40, 0)}, {"place": (40, 100, 0)}, {"place": (80, 100, 0)}])
    clips = motions(tmp_path)
    assert {name: len(clip.xyz) for name, clip in clips.items()} == {"kept": 3, "cut": 2}
    assert clips["cut"].xyz[0, AT("right_ankle"), 1] == pytest.approx(
        0
    )  # the ground is that of the frames that are left


def test_errors_name_the_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"there is no \.bvh in it"):
        motions(tmp_path)
    write(tmp_path / "a.bvh", [{}], left_out="L_Hand")
    with pytest.raises(
        ValueError, match=r"a\.bvh: the rig has no CC_Base_L_Hand; clips have to be of the CC_Base rig"
    ):
        motions(tmp_path)
    (tmp_path / "a.bvh").write_text("HIERARCHY\nROOT")
    with pytest.raises(ValueError, match=r"a\.bvh: is not a readable BVH file"):
        motions(tmp_path / "a.bvh")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.write(tmp_path / "a.bvh", "inside/a.bvh")
    with pytest.raises(ValueError, match=r"all\.zip, a\.bvh: is not a readable BVH file"):
        motions(tmp_path / "all.zip")


FOUR = Skeleton("four", ("pelvis", "head", "to_the_left", "to_the_front"), (0, 0, 0, 0))
STILL = Motion(
    "still", 30.0, np.array([[[0.0, 1.0, 0.0], [0.0, 1.5, 0.0], [0.2, 1.5, 0.0], [0.0, 1.5, 0.1]]]), FOUR
)


@pytest.mark.parametrize(
    ("heading", "pitch", "expected"),
    [
        # The head is up; whose left is at the image's right faces the camera.
        (0, 0, [[0, 0, 3], [0, -0.5, 3], [0.2, -0.5, 3], [0, -0.5, 2.9]]),
        (90, 0, [[0, 0, 3], [0, -0.5, 3], [0, -0.5, 3.2], [0.1, -0.5, 3]]),
        (180, 0, [[0, 0, 3], [0, -0.5, 3], [-0.2, -0.5, 3], [0, -0.5, 3.1]]),
        # From straight above the head is nearest, and the face's side is down in the image.
        (0, 90, [[0, 0, 3], [0, 0, 2.5], [0.2, 0, 2.5], [0, 0.1, 2.5]]),
    ],
)
def test_seen_by_hand(heading, pitch, expected):
    np.testing.assert_allclose(seen(STILL, heading, pitch, 3)[0], expected, atol=1e-9)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.floats(-180, 180), st.floats(-90, 90), st.floats(8, 20))
def test_what_is_seen_is_the_same_body(seed, heading, pitch, distance):
    xyz = np.random.default_rng(seed).uniform(-1, 1, (4, 15, 3))
    points = seen(Motion("random", 30.0, xyz), heading, pitch, distance)
    np.testing.assert_allclose(
        np.linalg.norm(points[:, :, None] - points[:, None], axis=-1),
        np.linalg.norm(xyz[:, :, None] - xyz[:, None], axis=-1),
        atol=1e-9,
    )
    np.testing.assert_allclose(points[:, AT("pelvis")].mean(0), [0, 0, distance], atol=1e-9)
    # No mirror: a body's three directions keep their handedness in axes that point right, down and away.
    turn, *_ = np.linalg.lstsq(
        (xyz - xyz[:, AT("pelvis")].mean(0)).reshape(-1, 3),
        (points - [0, 0, distance]).reshape(-1, 3),
        rcond=None,
    )
    assert np.linalg.det(turn) == pytest.approx(1)


def test_people_too_near_the_camera_are_an_error():
    with pytest.raises(
        ValueError, match=r"still: from 0\.15 metres a joint is 0\.05 metres before the camera"
    ):
        seen(STILL, distance=0.15)


@pytest.fixture(scope="module")
def clips(shared, tmp_path_factory):
    """Five of the 61 clips: of each rig's root, with and without a T-pose at the start."""
    folder = tmp_path_factory.mktemp("clips")
    with zipfile.ZipFile(shared / "data/motions/cmu_bvh_30fps.zip") as archive:
        for name in archive.namelist():
            if Path(name).stem in ("002_01", "003_02", "005_10", "006_09", "007_03"):
                (folder / Path(name).name).write_bytes(archive.read(name))
    return folder


@pytest.mark.shared
def test_real_clips_are_people(clips):
    read = motions(clips)
    assert {name: len(clip.xyz) for name, clip in read.items()} == {
        "002_01": 86,
        "003_02": 92,
        "005_10": 205,
        "006_09": 76,
        "007_03": 104,
    }
    for clip in read.values():
        assert clip.fps == 30
        for joint, length in {
            "elbow": 0.252,
            "wrist": 0.257,
            "knee": 0.477,
            "ankle": 0.498,
            "hip": 0.097,
        }.items():
            for child, parent in ((c, p) for c, p in MOVNECT15.bones if MOVNECT15.joints[c].endswith(joint)):
                np.testing.assert_allclose(
                    np.linalg.norm(clip.xyz[:, child] - clip.xyz[:, parent], axis=-1), length, atol=1e-3
                )
        for joint, (least, most) in {
            "head_top": (0.22, 0.28),
            "neck": (0.45, 0.57),
            "left_shoulder": (0.12, 0.2),
        }.items():
            bone = np.linalg.norm(clip.xyz[:, AT(joint)] - clip.xyz[:, MOVNECT15.parents[AT(joint)]], axis=-1)
            assert least < bone.min() < bone.max() < most
        points = seen(clip, 30, 20, 6)
        assert (np.ptp(project(points, np.array([1000.0, 1000, 500, 500]))[..., 1], axis=1) > 50).all()
    # Who walks upright is as tall as the rig: from the ankle, 9 cm above the sole, to the head top.
    walk = read["007_03"].xyz
    stature = 0.09 + walk[:, AT("head_top"), 1] - walk[..., 1].min(1)
    assert (stature > 1.7).all()
    assert (stature < 1.95).all()
    assert (walk[:, AT("head_top"), 1] > walk[:, AT("neck"), 1] + 0.15).all()


@pytest.mark.shared
def test_another_reader_has_the_joints_at_the_same_places(clips):
    """scripts/fit_pose_prior.py reads BVH by itself; it leaves the root's place out."""
    spec = importlib.util.spec_from_file_location(
        "fit_pose_prior", Path(__file__).resolve().parents[2] / "scripts/fit_pose_prior.py"
    )
    prior = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(prior)
    for name, motion in ((name, motions(clips / f"{name}.bvh")[name]) for name in ("002_01", "007_03")):
        names, parents, offsets, local = prior.read_bvh((clips / f"{name}.bvh").read_text())
        whole, places = local.copy(), np.zeros((len(local), len(names), 3))
        for bone, parent in enumerate(parents):
            if parent >= 0:
                whole[:, bone] = whole[:, parent] @ local[:, bone]
                places[:, bone] = places[:, parent] + whole[:, parent] @ offsets[bone]
        bones = {
            "neck": "NeckTwist01",
            "left_wrist": "L_Hand",
            "right_ankle": "R_Foot",
            "left_knee": "L_Calf",
            "right_shoulder": "R_Upperarm",
        }
        other = (
            np.stack([places[:, names.index(f"CC_Base_{bone}")] for bone in bones.values()], 1)[
                -len(motion.xyz) :
            ]
            / 100
        )
        own = motion.xyz[:, [AT(joint) for joint in bones]]
        np.testing.assert_allclose(own - own[:, :1], other - other[:, :1], atol=1e-9)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Frame Time: 0.033333", "Frame Time: 0"),
        ("Frame Time: 0.033333", "Frame Time: nan"),
        ("Frame Time: 0.033333", "Frame Time: -1"),
        ("0 100 0", "nan 100 0"),
        ("0 100 0", "1e300 100 0"),
    ],
)
def test_a_rate_or_a_frame_that_is_not_a_number(tmp_path, old, new):
    write(tmp_path / "a.bvh", [{}, {}])
    text = (tmp_path / "a.bvh").read_text()
    head, motion = text.split("MOTION")
    (tmp_path / "a.bvh").write_text(f"{head}MOTION{motion.replace(old, new)}")
    with pytest.raises(
        ValueError,
        match=r"a\.bvh: (has a frame or a rate of frames that is not a number|is not a readable BVH file)",
    ):
        motions(tmp_path / "a.bvh")


def test_zip_files_that_cannot_be_unpacked(tmp_path, monkeypatch):
    (tmp_path / "a.zip").write_bytes(b"")
    with pytest.raises(ValueError, match=r"a\.zip: is not a complete zip file \(File is not a zip file\)"):
        motions(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.bvh", bytes(3 << 20))
    data = bytearray((tmp_path / "a.zip").read_bytes())
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    with pytest.raises(ValueError, match=r"a\.zip: .*it claims 3 MB and may have 2; set POSELING_LIMIT_MB"):
        motions(tmp_path / "a.zip")
    monkeypatch.delenv("POSELING_LIMIT_MB")
    for marker, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(marker) + at] |= 1  # says that it is locked
    (tmp_path / "a.zip").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.zip: is not a complete zip file .*password"):
        motions(tmp_path / "a.zip")
