"""MoVNect's losses by hand, and a 3D student's targets from labels and from teachers of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from poseling.codecs import Heatmap, LocationMap, SimCC3D
from poseling.distill.objective import Objective, spatial_terms, supervised
from poseling.skeleton import MOVNECT15, Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction
from poseling.teachers.network import NetworkTeacher

ARM = Skeleton("arm", ("pelvis", "left_hand", "right_hand"), (0, 0, 0))
CODEC = LocationMap((64, 64))
SPEC = PoseSpec("movnect-tiny", ARM, CODEC.fields(), (64, 64))
JOINTS = torch.tensor(
    [[[32.0, 32.0], [20.0, 24.0], [44.0, 24.0]], [[30.0, 40.0], [24.0, 24.0], [90.0, 24.0]]]
)
XYZ = torch.tensor(
    [
        [[0.0, 0.0, 0.0], [-0.2, -0.1, 0.3], [0.2, -0.1, -0.3]],
        [[0.0, 0.0, 0.0], [-0.1, -0.3, 0.0], [0.4, 0.0, 0.1]],
    ]
)


class Constant(nn.Module):
    """The same outputs for all images."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs


def batch(**more: Tensor) -> dict[str, Tensor]:
    """Two samples; the second has no xyz."""
    known = torch.tensor([[1.0, 1, 1], [0, 0, 0]])
    return {
        "image": torch.zeros(2, 64, 64, 3, dtype=torch.uint8),
        "joints": JOINTS,
        "weight": torch.ones(2, 3),
        "color_jitter": torch.ones(2, 3),
        "broken": torch.zeros(2, dtype=torch.int64),
        "person": torch.arange(2),
        "xyz": XYZ * known[..., None],
        "xyz_weight": known,
        **more,
    }


def zeros() -> Constant:
    return Constant(torch.zeros(2, 1, 3, 7, 8, 8))


def test_movnects_alpha_of_a_half():
    terms = spatial_terms(CODEC, "mse", 0.5)
    assert {t.name: (t.weight, t.against) for t in terms} == {
        f"{against}{part}": (0.5, against)
        for against in ("labels", "teacher")
        for part in ("", "_places", "_bones")
    }
    assert {t.name: t.weight for t in spatial_terms(CODEC, "kl", 0.25, locations=10, bones=0)} == {
        "labels": 0.75,
        "teacher": 0.25,
        "labels_places": 7.5,
        "teacher_places": 2.5,
    }
    assert [t.name for t in spatial_terms(SimCC3D((64, 64)), "kl", 0.5)] == ["labels", "teacher"]
    with pytest.raises(ValueError, match="alpha is 2"):
        spatial_terms(CODEC, "mse", 2)


def test_each_sample_teaches_what_is_known():
    student = zeros()
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 0.0))(student, batch())
    loss["loss"].backward()
    grad = student.outputs.grad
    assert grad is not None
    assert (grad[0, 0, :, 1:4] != 0).any()
    assert (grad[1, 0, :, 1:] == 0).all()  # the second has no xyz
    assert (grad[1, 0, :2, 0] != 0).any()
    assert (grad[1, 0, 2] == 0).all()  # and its right hand is outside the crop
    # By hand: one sample of two with xyz; each axis off by XYZ under a Gaussian.
    maps = CODEC.heatmap.encode(JOINTS, torch.ones(2, 3))[0]
    expected = (maps[0] ** 2).sum((1, 2)).sqrt() @ (10 * XYZ[0].abs()).sum(1) / 6
    assert loss["labels_places"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss["labels_bones"].item() == pytest.approx(expected.item(), rel=1e-5)  # all parents are the root


def test_without_xyz_heatmaps_alone_are_learnt():
    flat = {name: value for name, value in batch().items() if not name.startswith("xyz")}
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "kl", 0.0))(zeros(), flat)
    assert loss["labels_places"].item() == 0
    assert loss["labels"].item() > 0


def test_stored_points_and_xyz_of_a_teacher():
    """The teacher's X is 10 cm larger, under the labels' own heatmap."""
    stored = {
        "teacher_xy": JOINTS + 3,
        "teacher_weight": torch.full((2, 3), 0.5),
        "teacher_xyz": XYZ + torch.tensor([0.1, 0, 0]),
    }
    student = Constant(
        torch.cat(
            [
                torch.zeros(2, 1, 3, 1, 8, 8),
                XYZ[:, None, :, :, None, None].expand(-1, -1, -1, -1, 8, 8),
                torch.zeros(2, 1, 3, 3, 8, 8),
            ],
            3,
        )
    )
    terms = spatial_terms(CODEC, "kl", 1.0, locations=1.0, bones=0)
    loss = Objective(SPEC, CODEC, terms)(student, batch(**stored))
    assert loss["teacher_places"].item() == pytest.approx(
        0.1 * 5 / 6, rel=1e-4
    )  # the hand outside does not count
    sure = Objective(SPEC, CODEC, terms, confidence=True)(student, batch(**stored))
    assert sure["teacher_places"].item() == pytest.approx(0.05 * 5 / 6, rel=1e-4)


def test_stored_heatmaps_are_the_teachers_own():
    maps = CODEC.heatmap.encode(JOINTS, torch.ones(2, 3))[0]
    stored = {
        "teacher_xy": JOINTS,
        "teacher_weight": torch.ones(2, 3),
        "teacher_maps": (maps * 127).to(torch.uint8),
        "teacher_scale": torch.tensor([1 / 255, 0.0]).expand(2, 3, 2),
        "teacher_matrix": torch.eye(3)[:2].expand(2, 2, 3),
    }
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 1.0))(zeros(), batch(**stored))
    half = ((maps * 127).to(torch.uint8).float() / 255).square().sum((-2, -1)).sqrt().sum() / 6
    assert loss["teacher"].item() == pytest.approx(half.item(), rel=1e-4)
    assert loss["teacher_places"].item() == 0  # it has no xyz


def test_a_live_teacher_with_the_same_codec_teaches_whole_maps():
    outputs = torch.rand(2, 1, 3, 7, 8, 8, generator=torch.Generator().manual_seed(1))
    teacher = NetworkTeacher(Constant(outputs), SPEC)
    student = zeros()
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 1.0), teacher=teacher)(student, batch())
    labels = CODEC.heatmap.encode(JOINTS, torch.ones(2, 3))[0]
    under = labels.where(
        (CODEC.encode(JOINTS, torch.ones(2, 3))[1][..., :1] > 0)[..., None], outputs[:, 0, :, 0]
    )
    expected = 10 * ((under[:, :, None] * outputs[:, 0, :, 1:4]) ** 2).sum((-2, -1)).sqrt().sum() / 6
    assert loss["teacher_places"].item() == pytest.approx(expected.item(), rel=1e-4)
    assert loss["teacher"].item() == pytest.approx(
        (outputs[:, 0, :, 0] ** 2).sum((-2, -1)).sqrt().sum().item() / 6, rel=1e-4
    )


def test_a_live_teacher_with_points_teaches_by_them():
    class Points:
        name, digest, size, padding, map_size, pixel, sigma, is_3d, skeleton, licences = (
            "points",
            "1",
            (64, 64),
            1.25,
            None,
            None,
            None,
            True,
            ARM,
            None,
        )

        def __call__(self, crops: Tensor) -> Prediction:
            return Prediction(JOINTS, torch.ones(2, 3), xyz=XYZ)

    exact = CODEC.encode_3d(JOINTS, torch.ones(2, 3), XYZ, torch.ones(2, 3), ARM)[0]
    student = Constant(exact[:, None, :, :7])
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 1.0), teacher=Points())(student, batch())
    assert loss["loss"].item() == pytest.approx(0, abs=1e-9)


def test_people_are_scaled_to_one_height():
    """A person half as large has the same targets."""
    tall = LocationMap((64, 64), height=0.92)
    spec = PoseSpec("movnect-tiny", MOVNECT15, tall.fields(), (64, 64))
    xyz = torch.randn(1, 15, 3, generator=torch.Generator().manual_seed(0)) * 0.3
    xyz[:, MOVNECT15.index("pelvis")] = 0
    xyz[:, MOVNECT15.index("left_hip")] = -xyz[:, MOVNECT15.index("right_hip")]
    place = {
        "joints": torch.full((1, 15, 2), 30.0),
        "weight": torch.ones(1, 15),
        "xyz_weight": torch.ones(1, 15),
    }
    common = {
        "image": torch.zeros(1, 64, 64, 3, dtype=torch.uint8),
        "color_jitter": torch.ones(1, 3),
        "broken": torch.zeros(1),
        "person": torch.zeros(1),
    }
    objective = Objective(spec, tall, spatial_terms(tall, "mse", 0.0))
    student = Constant(torch.zeros(1, 1, 15, 7, 8, 8))
    losses = [
        objective(student, {**common, **place, "xyz": factor * xyz})["labels_places"].item()
        for factor in (1.0, 0.5)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert losses[0] > 0
    unknown = {
        **common,
        **place,
        "xyz": xyz,
        "xyz_weight": torch.ones(1, 15).index_fill(1, torch.tensor([MOVNECT15.index("neck")]), 0),
    }
    assert objective(student, unknown)["labels_places"].item() == 0


def test_another_codec_is_unmoved():
    flat = Heatmap((64, 64))
    spec = PoseSpec("hourglass-1x8", ARM, flat.fields(), (64, 64))
    objective, student = (
        Objective(spec, flat, supervised(flat, "mse")),
        Constant(torch.zeros(2, 1, 3, 16, 16)),
    )
    without = {name: value for name, value in batch().items() if not name.startswith("xyz")}
    losses = [objective(student, some)["loss"].item() for some in (batch(), without)]
    assert losses[0] == losses[1]
    assert losses[0] > 0


@pytest.mark.parametrize("confidence", [False, True])
def test_a_joint_that_is_a_middle_has_no_map(confidence: bool):
    """A live 3D teacher with hips and no pelvis: of the pelvis it has a point, but no heatmap to learn."""
    hips = Skeleton("hips", ("left_hand", "right_hand", "left_hip", "right_hip"), (2, 3, 2, 2))
    theirs = LocationMap((64, 64), sigma=2.0)
    outputs = torch.rand(2, 1, 4, 7, 8, 8, generator=torch.Generator().manual_seed(1))
    spec = PoseSpec("movnect-tiny", hips, theirs.fields(), (64, 64))
    teacher = NetworkTeacher(Constant(outputs), spec)
    objective = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 1.0), confidence, teacher)
    student = zeros()
    loss = objective(student, batch())
    loss["loss"].backward()
    grad = student.outputs.grad
    assert grad is not None
    assert not grad[:, :, ARM.index("pelvis")].any()
    assert (grad[:, :, ARM.index("left_hand"), 0] != 0).any()
