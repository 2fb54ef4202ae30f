"""Location maps: what is put in comes out, read by hand; what is unknown weighs nothing."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from poseling.codecs import CODECS, LocationMap, codec, is_3d
from poseling.codecs.location_map import knee_to_neck
from poseling.skeleton import COCO17, MOVNECT15, SYNTH28, Skeleton

SIZE = (96, 128)  # maps of 12x16
inside = st.tuples(st.floats(20, 75), st.floats(20, 107))  # two cells from the border, where DARK is exact
metres = st.tuples(*[st.floats(-1.5, 1.5)] * 3)


def skeleton(parents: list[int]) -> Skeleton:
    return Skeleton("some", tuple(f"joint_{i}" for i in range(len(parents))), tuple(parents))


def encoded(codec: LocationMap, joints: Tensor, xyz: Tensor) -> tuple[Tensor, Tensor]:
    ones = torch.ones(joints.shape[:2])
    return codec.encode_3d(joints, ones, xyz, ones, skeleton([0] * joints.shape[1]))


@settings(deadline=None)
@given(st.lists(st.tuples(inside, metres), min_size=1, max_size=4), st.booleans())
def test_what_is_encoded_is_decoded(
    dataset: list[tuple[tuple[float, float], tuple[float, float, float]]], unbiased: bool
):
    own = LocationMap(SIZE, sigma=1.5, unbiased=unbiased)
    joints, xyz = torch.tensor([[p for p, _ in dataset]]), torch.tensor([[x for _, x in dataset]])
    targets, weight = encoded(own, joints, xyz)
    xy, _ = own.decode(targets[:, :, :7])
    seen = weight[..., 0] > 0
    assert torch.allclose(own.decode_3d(targets[:, :, :7])[seen], xyz[seen], atol=1e-5)
    if unbiased:
        assert (xy - joints).norm(dim=-1)[seen].max() < 0.5  # pixels, of a cell of 8.6


def test_a_map_is_read_between_its_pixels_by_hand():
    own = LocationMap((16, 16), decoding="plain", unbiased=False)  # maps of 2x2, a pixel every 8
    outputs = torch.zeros(1, 1, 7, 2, 2)
    outputs[0, 0, 0, 1, 0] = 1
    outputs[0, 0, 1] = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    assert own.decode_3d(outputs)[0, 0].tolist() == [3.0, 0.0, 0.0]

    class Between(LocationMap):
        def decode(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
            return torch.tensor([[[2.0, 4.0]]]), torch.ones(1, 1)  # a quarter to the right, half way down

    # 1/2 (3/4 1 + 1/4 2) + 1/2 (3/4 3 + 1/4 5)
    assert Between((16, 16), unbiased=False).decode_3d(outputs)[0, 0, 0].item() == pytest.approx(2.375)


def test_targets_and_weights_by_hand():
    own = LocationMap((64, 64))
    joints = torch.tensor([[[20.0, 20.0], [30.0, 30.0], [90.0, 5.0], [40.0, 40.0]]])
    xyz = torch.tensor([[[0.0, 0.0, 0.0], [0.1, -0.2, 0.3], [0.5, 0.5, 0.5], [0.3, 0.0, 0.1]]])
    known = torch.tensor([[1.0, 0.5, 1.0, 0.0]])
    targets, weight = own.encode_3d(
        joints, torch.tensor([[1.0, 1.0, 1.0, 0.0]]), xyz, known, skeleton([0, 0, 1, 1])
    )
    assert targets.shape == (1, 4, 8, 8, 8)
    assert targets[0, 1, 1:4, 3, 5].tolist() == pytest.approx([0.1, -0.2, 0.3])
    assert targets[0, 2, 4:7, 0, 0].tolist() == pytest.approx([0.4, 0.7, 0.2])  # joint minus parent
    # Heatmap, place, bone: the third lies outside the image, the fourth is not labelled in it, the second's
    # location has half the weight.
    assert weight[0].tolist() == [[1, 1, 1], [1, 0.5, 0.5], [0, 0, 0], [0, 0, 0]]
    flat, flat_weight = own.encode(joints, torch.ones(1, 4))
    assert torch.equal(flat[:, :3, 0], targets[:, :3, 0])
    assert flat_weight[0].tolist() == [[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_a_teacher_is_learnt_under_the_labels_heatmap_where_there_is_one():
    own = LocationMap((64, 64))
    ones = torch.ones(1, 2)
    teacher, sure = own.encode_3d(
        torch.tensor([[[20.0, 20.0], [30.0, 30.0]]]), ones, torch.zeros(1, 2, 3), ones, skeleton([0, 0])
    )
    labels, weight = own.encode(torch.tensor([[[50.0, 50.0], [50.0, 50.0]]]), torch.tensor([[1.0, 0.0]]))
    under = own.with_labels(teacher, sure, labels, weight)
    assert torch.equal(under[0, 0, 7], labels[0, 0, 0])
    assert torch.equal(under[0, 1, 7], teacher[0, 1, 0])
    assert torch.equal(under[:, :, :7], teacher[:, :, :7])


def test_a_networks_own_maps_are_targets():
    own = LocationMap((64, 64), softmax=True)
    outputs = torch.randn(2, 3, 7, 8, 8)
    targets, weight = own.from_outputs(own, outputs, torch.full((2, 3), 0.5))
    assert torch.equal(targets[:, :, 1:7], outputs[:, :, 1:7])
    assert (
        targets[:, :, 0].sum((-2, -1)).allclose(torch.tensor(2 * torch.pi))
    )  # a distribution, in Gaussians of sigma 1
    assert weight.shape == (2, 3, 3)
    assert set(weight.unique().tolist()) == {0.5}


def test_nan_is_no_crash():
    outputs = torch.full((1, 2, 7, 8, 8), torch.nan)
    own = LocationMap((64, 64))
    assert own.decode_3d(outputs).shape == (1, 2, 3)
    assert own.decode(outputs)[1].isnan().all()


def test_the_spec_gives_it_back():
    own = LocationMap((64, 96), height=0.92, softmax=True)
    assert codec(own.fields()) == own
    assert is_3d(own)
    assert not is_3d(CODECS["heatmap"]((64, 64)))
    for wrong in (0, 92):
        with pytest.raises(ValueError, match=rf"height is {wrong}; .* such as VNect's 0\.92"):
            LocationMap((64, 64), height=wrong)
    with pytest.raises(ValueError, match="multiple"):
        LocationMap((60, 64))


def test_knee_to_neck_by_hand():
    xyz = torch.zeros(2, 15, 3)
    place = {
        "left_hip": (0.1, 0, 0),
        "right_hip": (-0.1, 0, 0),
        "left_knee": (0.1, 0.4, 0),
        "right_knee": (-0.1, 0.3, 0.4),
        "neck": (0, 0.3, 0.4),
    }
    for joint, at in place.items():
        xyz[:, MOVNECT15.index(joint)] = torch.tensor(at)
    known = torch.ones(2, 15)
    known[1, MOVNECT15.index("neck")] = 0
    height = knee_to_neck(xyz, known, MOVNECT15)
    assert height[0].item() == pytest.approx((0.4 + 0.5) / 2 + 0.5)
    assert height[1].isnan()
    assert knee_to_neck(torch.zeros(1, 28, 3), torch.ones(1, 28), SYNTH28).item() == 0
    with pytest.raises(ValueError, match="coco17 has no neck"):
        knee_to_neck(torch.zeros(1, 17, 3), torch.ones(1, 17), COCO17)
