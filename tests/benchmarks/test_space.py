"""The comparison of 3D networks: what it calibrates away, what it does not, and over which joints."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from poseling.data.dataset import PoseDataset, from_joints
from poseling.geometry import rotation_matrix
from poseling.skeleton import MOVNECT15


@pytest.fixture(scope="module")
def space() -> ModuleType:
    folder = Path(__file__).resolve().parents[2] / "benchmarks"
    spec = importlib.util.spec_from_file_location("benchmark_space", folder / "space.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
    return module


def people(folder: Path, count: int, seed: int) -> PoseDataset:
    """Bodies of one shape, turned at random; the images are empty files."""
    random = np.random.default_rng(seed)
    rest = np.zeros((15, 3))
    for joint, place in {
        "neck": (0, 0.5, 0), "head_top": (0, 0.75, 0), "shoulder": (0.2, 0.5, 0), "elbow": (0.45, 0.4, 0.1), "wrist": (0.5, 0.3, 0.4),
        "hip": (0.1, 0, 0), "knee": (0.12, -0.4, 0.1), "ankle": (0.15, -0.8, 0),
    }.items():  # fmt: skip
        for side, sign in (("left_", 1), ("right_", -1)):
            name = joint if joint in MOVNECT15.joints else side + joint
            rest[MOVNECT15.index(name)] = np.array(place) * [sign if name != joint else 1, 1, 1]
    turns = rotation_matrix(random.normal(0, 1, (count, 3)))
    xyz = np.einsum("nij,kj->nki", turns, rest) + [0, 0, 4]
    images = [folder / f"{i}.jpg" for i in range(count)]
    for image in images:
        image.touch()
    ones = np.ones((count, 15))
    boxes = np.tile([0.0, 0, 9, 9], (count, 1))
    return from_joints("people", MOVNECT15, images, ones[..., None] * [1.0, 2], ones.astype(int), boxes=boxes, joints_3d=xyz)  # fmt: skip


def test_another_definition_scale_and_place_of_joints_are_no_error(space: ModuleType, tmp_path: Path):
    fitting, judged = people(tmp_path, 30, 1), people(tmp_path, 20, 2)

    def ask(part: PoseDataset) -> np.ndarray:
        # Shoulders 3 cm lower along the torso, half the size, from another origin.
        xyz = part.joints_3d.astype(np.float64)
        torso = xyz[:, MOVNECT15.index("neck")] - xyz[:, MOVNECT15.index("pelvis")]
        for side in ("left", "right"):
            xyz[:, MOVNECT15.index(f"{side}_shoulder")] -= 0.06 * torso
        return 0.5 * xyz + 1

    assert space.against_truth(ask, fitting, judged)[:, space.SHARED] == pytest.approx(0, abs=0.2)


def test_an_error_that_differs_between_people_stays(space: ModuleType, tmp_path: Path):
    fitting, judged = people(tmp_path, 40, 1), people(tmp_path, 40, 2)
    wrist = MOVNECT15.index("left_wrist")

    def ask(part: PoseDataset) -> np.ndarray:
        # Every other left wrist is 20 cm off in depth, towards and away in turn, as cameras see it.
        xyz = part.joints_3d.astype(np.float64)
        xyz[0::4, wrist, 2] += 0.2
        xyz[2::4, wrist, 2] -= 0.2
        return xyz

    mm = space.against_truth(ask, fitting, judged)
    assert mm[0::2, wrist].mean() > 120
    assert mm[1::2].max(initial=0, where=~np.isnan(mm[1::2])) < 60  # the calibration's own noise


def test_only_what_blazepose_has_counts(space: ModuleType, tmp_path: Path):
    mm = space.against_truth(lambda part: part.joints_3d, people(tmp_path, 5, 1), people(tmp_path, 5, 2))
    there = {
        joint for joint, column in zip(MOVNECT15.joints, mm.T, strict=True) if not np.isnan(column).any()
    }
    assert there == set(MOVNECT15.joints) - {"neck", "head_top"}


def test_agreement_is_over_heavys_joints_after_the_best_similarity(space: ModuleType, tmp_path: Path):
    heavy = people(tmp_path, 3, 4).joints_3d.astype(np.float64)
    predicted = 2 * heavy - 7
    heavy[:, MOVNECT15.index("neck")] = np.nan
    mm = space.agreement(predicted, heavy)
    assert np.nanmax(mm) < 1e-6
    assert np.isnan(mm[:, MOVNECT15.index("neck")]).all()
    assert (~np.isnan(mm)).sum() == 3 * 14


def test_the_mean_pools_joints_and_its_spread_is_over_people(space: ModuleType):
    mm = np.array([[10.0, np.nan], [20.0, 30.0]])
    assert space._mean(mm)["value"] == pytest.approx(20)
    assert space._mean(np.full((50, 3), 7.0)) == {"value": 7.0, "spread": 0.0}
