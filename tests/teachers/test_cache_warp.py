"""Warping a pseudo-label equals predicting again: the prediction of an equivariant teacher for the augmented
crop is compared with its warped pseudo-label.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.codecs.warp import warp_maps
from poseling.geometry import Crop
from poseling.skeleton import LSP14
from poseling.teachers.cache import PseudoLabel
from poseling.teachers.packing import pack, unpack

BOX, PADDING = (40.0, 30.0, 200.0, 290.0), 1.25
TEACHER = Heatmap((256, 256))
COUNT = 14


def joints(seed: int) -> np.ndarray:
    """(14, 2) in pixels of the image, in the middle of the box so that no augmentation here moves them out of
    sight.
    """
    return np.random.default_rng(seed).uniform((70, 80), (170, 240), (COUNT, 2))


def predict(codec: Heatmap, crop: Crop, image_joints: np.ndarray) -> tuple[Tensor, Tensor]:
    """The perfect teacher: maps (1, K, h, w) and joints (1, K, 2) of what it sees in `crop`, sides as seen
    there.
    """
    seen = crop.apply(image_joints)
    seen = torch.from_numpy(seen[LSP14.flip] if crop.flipped else seen).float()[None]
    return codec.encode(seen, torch.ones(1, COUNT))[0], seen


def stored(image_joints: np.ndarray) -> PseudoLabel:
    """Its prediction for the canonical crop, through the store's own packing."""
    crop = Crop.from_box(BOX, TEACHER.size, PADDING)
    maps, seen = predict(TEACHER, crop, image_joints)
    ones = np.ones(COUNT, np.float32)
    small, scale = unpack(pack(maps[0].numpy()), (COUNT, 64, 64))
    return PseudoLabel(seen[0].numpy(), ones, small, ones, crop.matrix, TEACHER.pixel, scale=scale)


def warped(pseudo: PseudoLabel, crop: Crop, codec: Heatmap, width: float | None = None) -> Tensor:
    """As training does it."""
    assert pseudo.heatmaps is not None
    order = LSP14.flip if crop.flipped else np.arange(COUNT)
    matrix = torch.from_numpy(pseudo.map_matrix(crop, codec.pixel)).float()[None]
    return warp_maps(torch.from_numpy(pseudo.heatmaps[order])[None], matrix, codec.map_size, width)


def crops(size: tuple[int, int], scales: tuple[float, float]) -> list[Crop]:
    random = np.random.default_rng(0)
    return [
        Crop.from_box(
            BOX,
            size,
            PADDING,
            rotation=random.uniform(-60, 60),
            scale=random.uniform(*scales),
            shift=tuple(random.uniform(-0.1, 0.1, 2)),
            flip=bool(i % 2),
        )
        for i in range(24)
    ]


def errors(
    codec: Heatmap, scales: tuple[float, float], width: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Over crops, joints and seeds: how far the decoded joints are apart, in pixels of the codec's map; and
    the maps' differences.
    """
    apart, differences = [], []
    for seed, crop in enumerate(crops(codec.size, scales)):
        direct, seen = predict(codec, crop, joints(seed))
        assert ((seen > 16) & (seen < codec.size[0] - 17)).all()
        moved = warped(stored(joints(seed)), crop, codec, width)
        apart.append(
            ((codec.decode(moved)[0] - codec.decode(direct)[0]).norm(dim=-1) / codec.pixel[0]).numpy()
        )
        differences.append((moved - direct).numpy())
    return np.concatenate(apart), np.stack(differences)


def test_turned_shifted_and_mirrored_it_equals_predicting_again() -> None:
    """The stated error: decoded joints within 0.03 of a heatmap pixel and 0.01 on average; maps within 0.07,
    0.0025 root mean square.

    The maps' largest difference is at the very top of a hill of sigma 2, where bilinear sampling between four
    pixels gives exp(-1/16) = 0.939 for 1.
    """
    apart, difference = errors(TEACHER, (1.0, 1.0))
    assert apart.max() < 0.03
    assert apart.mean() < 0.01
    assert np.abs(difference).max() < 0.07
    assert np.sqrt((difference**2).mean()) < 0.0025


@pytest.mark.parametrize(
    "codec",
    [TEACHER, Heatmap((192, 192)), Heatmap((256, 256), stride=8, sigma=2.0)],
    ids=["same", "smaller", "coarser"],
)
def test_zoomed_too_the_joints_agree_for_any_student(codec: Heatmap) -> None:
    apart, _ = errors(codec, (0.75, 1.25))
    assert apart.max() < 0.05
    assert apart.mean() < 0.01


def test_zoom_changes_the_width_of_a_peak_unless_it_is_corrected() -> None:
    _, plain = errors(TEACHER, (0.75, 1.25))
    _, righted = errors(TEACHER, (0.75, 1.25), width=1.0)
    plain_error, error = (float(np.sqrt((d**2).mean())) for d in (plain, righted))
    assert error < 0.004
    assert plain_error > 2 * error


def test_points_move_with_the_crop() -> None:
    for seed, crop in enumerate(crops((192, 256), (0.75, 1.25))):
        np.testing.assert_allclose(stored(joints(seed)).joints_in(crop), crop.apply(joints(seed)), atol=1e-3)


def test_a_pixel_goes_the_whole_way_by_hand() -> None:
    # Teacher: crop of 100 x 100 at 2 x the image from (10, 20), maps of 4 input pixels. Student: 1 x from
    # (30, 40), maps of 8 input pixels.
    ones = np.ones(COUNT, np.float32)
    pseudo = PseudoLabel(
        np.zeros((COUNT, 2), np.float32), ones, None, ones, np.array([[2.0, 0, -20], [0, 2, -40]]), (4.0, 4.0)
    )
    crop = Crop(np.array([[1.0, 0, -30], [0, 1, -40]]), (64, 64))
    matrix = pseudo.map_matrix(crop, (8.0, 8.0))
    # Student's map (1, 2) -> input (8, 16) -> image (38, 56) -> teacher's input (56, 72) -> its map (14, 18).
    assert (matrix @ [1, 2, 1]).tolist() == pytest.approx([14, 18])


def test_points_alone_cannot_be_warped() -> None:
    ones = np.ones(COUNT, np.float32)
    pseudo = PseudoLabel(np.zeros((COUNT, 2), np.float32), ones, None, ones, np.eye(3)[:2], None)
    with pytest.raises(ValueError, match="predicts points only, so there is no map to warp; use joints_in"):
        pseudo.map_matrix(Crop(np.eye(3)[:2], (64, 64)), (4.0, 4.0))
