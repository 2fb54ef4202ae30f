"""What all codecs have in common: shapes, losses, and targets from a teacher."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from poseling.codecs import (
    CODECS,
    Coordinates,
    Heatmap,
    HeatmapXYZ,
    LocationMap,
    SimCC,
    SimCC3D,
    codec,
    is_3d,
)
from poseling.codecs.losses import LOSSES
from poseling.skeleton import MOVNECT15, Skeleton

SIZE = (192, 256)
PAIR = Skeleton("pair", ("pelvis", "head"), (0, 0))


@pytest.mark.parametrize("name", CODECS)
def test_all_have_the_same_shape(name):
    one = codec({"name": name, "size": list(SIZE)})
    assert one.size == SIZE
    assert codec(json.loads(json.dumps(one.fields()))) == one
    targets, weight = one.encode(torch.tensor([[[100.0, 50.0]] * 3] * 2), torch.ones(2, 3))
    assert targets.shape[:2] == weight.shape[:2] == (2, 3)
    assert weight.ndim == (3 if is_3d(one) else 2)
    taught = one.from_maps(torch.zeros(2, 3, *one.heatmap.map_size[::-1]))
    assert taught.shape == ((2, 3, 64, 48) if one.name == "coordinates" else targets.shape)
    outputs = torch.zeros(2, 3, 5) if one.name == "coordinates" else torch.zeros_like(targets)
    assert (one.maps(outputs) is None) == (not one.has_maps)
    xy, score = one.decode(outputs)
    assert (xy.shape, score.shape) == ((2, 3, 2), (2, 3))
    if is_3d(one):
        assert one.decode_3d(outputs).shape == (2, 3, 3)


# Losses

NAMES = {  # of the losses against labels and against a teacher, by codec and by the names that are asked for
    ("heatmap", "mse", None): ("mse", "mse"),
    ("heatmap", "kl", None): ("kl", "kl"),
    ("heatmap", "kl", "coordinate"): ("kl", "coordinate"),
    ("simcc", "mse", None): ("simcc_kl", "simcc_kl"),
    ("simcc3d", "kl", None): ("simcc_space", "simcc_space"),
    ("coordinates", "kl", None): ("smooth_l1", "simulated_heatmap"),
    ("location_map", "mse", None): ("location_maps_mse", "location_maps_mse"),
    ("location_map", "kl", None): ("location_maps_kl", "location_maps_kl"),
    ("heatmap_xyz", "kl", None): ("heatmap_xyz_kl", "heatmap_xyz_kl"),
}


@pytest.mark.parametrize(("name", "loss", "teacher_loss"), NAMES)
def test_losses_of_each_codec(name, loss, teacher_loss):
    found = CODECS[name].configured(SIZE, loss=loss).losses(loss, teacher_loss)
    assert tuple(one.__name__ for one in found) == NAMES[name, loss, teacher_loss]


@pytest.mark.parametrize("name", sorted(set(CODECS) - {"heatmap"}))
def test_a_teacher_loss_is_for_heatmaps(name):
    one = codec({"name": name, "size": list(SIZE)})
    assert one.teacher_losses == ()
    with pytest.raises(
        ValueError,
        match=rf"--teacher-loss kl compares heatmaps, and the student's outputs are {name}, which have a "
        "loss of their own; leave it out, or take a student with heatmaps such as hourglass-1x64",
    ):
        one.losses("kl", "kl")


@pytest.mark.parametrize(("loss", "teacher_loss"), [("mse", "kl"), ("kl", "mse"), ("mse", "coordinate")])
def test_gaussians_and_logits_do_not_mix(loss, teacher_loss):
    assert Heatmap(SIZE).teacher_losses == tuple(LOSSES)
    with pytest.raises(
        ValueError, match=f"labels' loss {loss} and the teacher's {teacher_loss} read the network's outputs"
    ):
        Heatmap(SIZE).losses(loss, teacher_loss)


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("heatmap", {"loss": "kl", "sigma": 1.5, "stride": 8}, Heatmap(SIZE, 8, 1.5, softmax=True)),
        ("heatmap", {"loss": "mse", "decoding": "plain"}, Heatmap(SIZE, decoding="plain")),
        ("location_map", {"loss": "kl", "height": 0.92}, LocationMap(SIZE, softmax=True, height=0.92)),
        ("location_map", {"sigma": 1.5, "stride": 4}, LocationMap(SIZE, sigma=1.5)),
        ("simcc", {"loss": "kl", "sigma": 1.0, "decoding": "plain"}, SimCC(SIZE)),
        ("simcc3d", {"height": 0.92}, SimCC3D(SIZE)),
        ("coordinates", {"stride": 8}, Coordinates(SIZE)),
        ("heatmap_xyz", {"loss": "kl", "sigma": 1.5, "stride": 8}, HeatmapXYZ(SIZE, 8, 1.5, softmax=True)),
    ],
)
def test_a_recipes_flags_make_the_codec(name, given, expected):
    assert CODECS[name].configured(SIZE, **given) == expected


def test_simcc_weighs_both_axes_by_hand():
    """64 bins of x and 128 of y: a certain target against uniform outputs, and against half of each."""
    labels, teacher = SimCC((32, 64)).losses("mse")
    assert labels is teacher
    target = torch.zeros(1, 1, 192)
    target[..., 10] = target[..., 100] = 1
    outputs = torch.zeros(1, 1, 1, 192)
    assert labels(outputs, target, torch.ones(1, 1)).item() == pytest.approx(
        np.log(64) + np.log(128), rel=1e-5
    )
    # Times the codec's beta of 10: half of each.
    outputs[..., 10], outputs[..., 100] = np.log(63) / 10, np.log(127) / 10
    assert labels(outputs, target, torch.ones(1, 1)).item() == pytest.approx(2 * np.log(2), rel=1e-5)


@pytest.mark.parametrize("beta", [1.0, 10.0])
def test_dwpose_weighs_logits_and_labels_by_one_beta(beta):
    """Of a teacher with the label's distribution, the loss and its gradient are the label's, so that
    `--logits 0.1` is a tenth of it.
    """
    codec = SimCC((2, 2), split=1, sigma=1.0, beta=beta)
    labels, logits = codec.losses()[0], codec.logits_loss()
    assert logits.__name__ == "simcc_logits"
    outputs = torch.zeros(1, 1, 1, 4, requires_grad=True)
    target = torch.tensor([[[0.75, 0.25, 0.75, 0.25]]])
    theirs = target.log() / beta  # whose softmax, at this beta, is 3/4 and 1/4
    # By hand, along each axis: 3/4 ln 3/2 + 1/4 ln 1/2; its gradient is beta (1/2 - 3/4).
    for loss, given in ((labels, target), (logits, theirs)):
        outputs.grad = None
        value = loss(outputs, given, torch.ones(1, 1))
        value.backward()
        assert value.item() == pytest.approx(2 * (0.75 * np.log(1.5) - 0.25 * np.log(2)), rel=1e-5)
        assert outputs.grad.flatten().tolist() == pytest.approx([-beta / 4, beta / 4] * 2, rel=1e-5)


def test_logits_are_compared_by_simcc_alone():
    assert {name for name in CODECS if codec({"name": name, "size": list(SIZE)}).logits_loss()} == {"simcc"}


@pytest.mark.parametrize("name", ["location_map", "simcc3d", "heatmap_xyz"])
def test_parts_add_up_to_the_loss(name):
    one = codec({"name": name, "size": [64, 64]})
    assert is_3d(one)
    joints, known = torch.tensor([[[20.0, 30.0], [40.0, 22.0]]]), torch.ones(1, 2)
    targets, weight = one.encode_3d(joints, known, torch.rand(1, 2, 3) - 0.5, known, PAIR)
    outputs = torch.rand(1, 2, *(targets[:, :, :7] if name == "location_map" else targets).shape[1:])
    parts = one.parts("mse", locations=1.0, bones=1.0).values()
    whole = one.losses("mse")[0](outputs, targets, weight).item()
    assert sum(factor * part(outputs, targets, weight).item() for part, factor in parts) == pytest.approx(
        whole
    )


# From a teacher


@pytest.mark.parametrize("name", CODECS)
def test_a_teachers_points_are_encoded(name):
    """As labels are; for coordinates as the heatmap that the loss against a teacher takes."""
    one = codec({"name": name, "size": list(SIZE)})
    joints, weight = torch.tensor([[[100.0, 50.0], [-9.0, 5.0]]]), torch.tensor([[0.5, 1.0]])
    drawn = one.heatmap if name == "coordinates" else one
    for found, expected in zip(one.from_points(joints, weight), drawn.encode(joints, weight), strict=True):
        assert torch.equal(found, expected)


def test_a_3d_teachers_maps_replace_gaussians_at_its_joints():
    one, known = LocationMap((64, 64)), torch.ones(1, 2)
    joints, xyz = torch.tensor([[[20.0, 30.0], [40.0, 22.0]]]), torch.tensor([[[0.0, 0, 0], [0.1, 0.2, 0.3]]])
    maps, sure = torch.rand(1, 2, 8, 8) * 1.2 - 0.1, torch.tensor([[1.0, 0.0]])
    plain, _ = one.from_teacher(joints, known, xyz, known, PAIR)
    targets, weight = one.from_teacher(joints, known, xyz, known, PAIR, (maps, sure))
    assert torch.equal(targets[:, :, 0], maps)
    assert torch.equal(targets[:, :, 1:7], plain[:, :, 1:7])
    assert torch.equal(targets[:, :, 7], maps.clamp(0, 1))
    assert weight.tolist() == [[[1, 1, 1], [0, 0, 0]]]
    # The bins of SimCC-3D come from its joints, which weigh as much as they did.
    bins = SimCC3D((64, 64))
    for found, expected in zip(
        bins.from_teacher(joints, known, xyz, known, PAIR, (maps, sure)),
        bins.encode_3d(joints, known, xyz, known, PAIR),
        strict=True,
    ):
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        (LocationMap((64, 64), decoding="plain"), True),
        (LocationMap((64, 64), softmax=True), True),
        (LocationMap((64, 64), sigma=2.0), False),
        (LocationMap((64, 64), height=0.92), False),
        (SimCC3D((64, 64)), False),
    ],
)
def test_whole_maps_are_learnt_where_both_are_laid_out_alike(theirs, same):
    """The teacher's heatmaps are read as its own codec reads them: as logits where they are."""
    outputs, weight = torch.randn(1, 2, 7, 8, 8), torch.ones(1, 2)
    found = LocationMap((64, 64)).from_outputs(theirs, outputs, weight)
    assert (found is not None) == same
    if found is not None:
        assert torch.equal(found[0][:, :, 0], theirs.maps(outputs))
    assert SimCC3D((64, 64)).from_outputs(theirs, outputs, weight) is None


def test_people_of_one_height_are_scaled_to_their_own():
    """Scaled to 0.92 m from knee to neck and back at half a person's size; SimCC-3D's metres are its own."""
    xyz = torch.randn(1, 15, 3, generator=torch.Generator().manual_seed(0))
    known = torch.ones(1, 15)
    one = LocationMap((64, 64), height=0.92)
    targets, _ = one.encode_3d(torch.full((1, 15, 2), 30.0), known, xyz, known, MOVNECT15)
    scaled = targets[:, :, 1:4, 0, 0]
    torch.testing.assert_close(one.true_size(scaled, xyz, known, MOVNECT15), xyz)
    torch.testing.assert_close(one.true_size(scaled, xyz / 2, known, MOVNECT15), xyz / 2)
    known[0, MOVNECT15.index("neck")] = 0
    assert one.true_size(scaled, xyz, known, MOVNECT15).isnan().all()
    for other in (LocationMap((64, 64)), SimCC3D((64, 64))):
        assert other.true_size(scaled, xyz, known, MOVNECT15) is scaled
