"""MoVNect's losses by hand, and what a student in space learns from labels and from teachers of every kind."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from poseling.codecs import Heatmap, LocationMap, SimCC3D
from poseling.codecs.location_losses import bones_of, location, location_l1, location_maps, norm, on_heatmaps
from poseling.codecs.losses import LOSSES
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


class Says(nn.Module):
    """The same of everyone."""

    def __init__(self, outputs: Tensor) -> None:
        super().__init__()
        self.outputs = nn.Parameter(outputs)

    def forward(self, images: Tensor) -> Tensor:
        return self.outputs


def batch(**more: Tensor) -> dict[str, Tensor]:
    """Two people; the second has no known place in space."""
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


def zeros() -> Says:
    return Says(torch.zeros(2, 1, 3, 7, 8, 8))


def test_the_papers_loss_by_hand():
    """Of one joint: H of 1 and 3/4 in two of four pixels, whose norm is 5/4; X off by 2 m, Y by 0, Z by 4
    everywhere: 10 (2 + 4) 5/4.
    """
    outputs, targets = torch.zeros(1, 1, 1, 7, 2, 2), torch.zeros(1, 1, 8, 2, 2)
    targets[0, 0, 1], targets[0, 0, 3] = 2, -4
    targets[0, 0, 7] = torch.tensor([[1.0, 0.75], [0, 0]])
    assert location(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(75)
    assert location(outputs, targets, torch.tensor([[[1.0, 0.5, 1.0]]])).item() == pytest.approx(
        37.5
    )  # the place's weight alone counts
    assert location_l1(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(6.0)
    targets[0, 0, 5] = 1  # dY
    assert bones_of(location)(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(12.5)
    assert bones_of(location_l1)(outputs, targets, torch.tensor([[[1.0, 1.0, 0.0]]])).item() == 0
    targets[0, 0, 0, 0, 0] = 1
    assert on_heatmaps(LOSSES["mse"])(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(0.5 / 4)
    assert on_heatmaps(norm)(outputs, targets, torch.ones(1, 1, 3)).item() == 1
    assert location_maps("mse")(outputs, targets, torch.ones(1, 1, 3)).item() == pytest.approx(75 + 12.5 + 1)
    assert location_maps("kl")(outputs, targets, torch.tensor([[[0.0, 1.0, 1.0]]])).item() == pytest.approx(
        6 + 1
    )


def test_ten_centimetres_count_as_an_empty_heatmap():
    """Decimetres, as in VNect: under a Gaussian H, |H| for no heatmap at all, |H| for a place 1 dm off along
    one axis, and twice that for 2 dm: no squares.
    """
    known, nowhere = torch.ones(1, 3), torch.zeros(1, 3, 3)
    targets, weight = CODEC.encode_3d(JOINTS[:1], known, nowhere, known, ARM)
    away = targets[:, None, :, :7].clone()
    away[:, :, :, 0] = 0
    empty = on_heatmaps(norm)(away, targets, weight).item()
    for metres in (0.1, 0.2):
        away[:, :, :, 3] = metres
        assert location(away, targets, weight).item() == pytest.approx(10 * metres * empty, rel=1e-5)
    # Without an error there is no slope, and no NaN either.
    same = targets[:, None, :, :7].clone().requires_grad_()
    location_maps("mse")(same, targets, weight).backward()
    assert same.grad is not None
    assert not same.grad.any()


def test_movnects_alpha_of_a_half():
    terms = spatial_terms(CODEC, "mse", 0.5)
    assert {t.name: (t.weight, t.against) for t in terms} == {
        f"{who}{part}": (0.5, who) for who in ("labels", "teacher") for part in ("", "_places", "_bones")
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


def test_each_sample_teaches_what_is_known_of_it():
    student = zeros()
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 0.0))(student, batch())
    loss["loss"].backward()
    grad = student.outputs.grad
    assert grad is not None
    assert (grad[0, 0, :, 1:4] != 0).any()
    assert (grad[1, 0, :, 1:] == 0).all()  # nobody knows where the second is in space
    assert (grad[1, 0, :2, 0] != 0).any()
    assert (grad[1, 0, 2] == 0).all()  # and its right hand is outside the crop
    # By hand: one person of two with places; each axis off by XYZ under a Gaussian.
    maps = CODEC.heatmap.encode(JOINTS, torch.ones(2, 3))[0]
    expected = (maps[0] ** 2).sum((1, 2)).sqrt() @ (10 * XYZ[0].abs()).sum(1) / 6
    assert loss["labels_places"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert loss["labels_bones"].item() == pytest.approx(expected.item(), rel=1e-5)  # all parents are the root


def test_without_places_the_second_dimension_is_all():
    flat = {name: value for name, value in batch().items() if not name.startswith("xyz")}
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "kl", 0.0))(zeros(), flat)
    assert loss["labels_places"].item() == 0
    assert loss["labels"].item() > 0


def test_stored_points_and_places_of_a_teacher():
    """The teacher says 10 cm more of X, under the labels' own heatmap."""
    stored = {
        "teacher_xy": JOINTS + 3,
        "teacher_weight": torch.full((2, 3), 0.5),
        "teacher_xyz": XYZ + torch.tensor([0.1, 0, 0]),
    }
    student = Says(
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
    surer = Objective(SPEC, CODEC, terms, confidence=True)(student, batch(**stored))
    assert surer["teacher_places"].item() == pytest.approx(0.05 * 5 / 6, rel=1e-4)


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
    assert loss["teacher_places"].item() == 0  # it said nothing of space


def test_a_live_teacher_of_the_same_kind_teaches_whole_maps():
    outputs = torch.rand(2, 1, 3, 7, 8, 8, generator=torch.Generator().manual_seed(1))
    teacher = NetworkTeacher(Says(outputs), SPEC)
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


def test_a_live_guest_teaches_by_its_points():
    class Guest:
        name, digest, size, padding, map_size, pixel, sigma, is_3d, skeleton, licences = (
            "guest",
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
    student = Says(exact[:, None, :, :7])
    loss = Objective(SPEC, CODEC, spatial_terms(CODEC, "mse", 1.0), teacher=Guest())(student, batch())
    assert loss["loss"].item() == pytest.approx(0, abs=1e-9)


def test_people_of_one_stature():
    """A person half as large is the same person to VNect."""
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
    student = Says(torch.zeros(1, 1, 15, 7, 8, 8))
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
    objective, student = Objective(spec, flat, supervised(flat, "mse")), Says(torch.zeros(2, 1, 3, 16, 16))
    without = {name: value for name, value in batch().items() if not name.startswith("xyz")}
    losses = [objective(student, some)["loss"].item() for some in (batch(), without)]
    assert losses[0] == losses[1]
    assert losses[0] > 0
