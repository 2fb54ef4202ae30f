"""A teacher that is asked about people upright."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from poseling.skeleton import BLAZEPOSE33, Skeleton
from poseling.teachers.base import Prediction
from poseling.teachers.upright import Upright

SIZE = (65, 65)
FOUR = Skeleton("four", ("left_shoulder", "right_shoulder", "left_hip", "right_hip"), (2, 3, 2, 3))


class Dots:
    """Finds four dots, red, green, blue and white, and says what the crops looked like. Its xyz are 1 m apart along
    the person.
    """

    name, digest, skeleton, size, padding = "dots", "d", FOUR, SIZE, 1.25
    map_size, pixel, sigma, is_3d, licences = None, None, None, True, {}

    def __init__(self):
        self.seen = []

    def __call__(self, crops):
        self.seen.append(crops)
        white = crops.min(-1, keepdim=True).values
        weight = torch.cat([crops - white, white], -1).float()  # (B, H, W, 4): of each dot
        total = weight.sum((1, 2))
        places = torch.arange(65.0)
        x, y = (weight.sum(axis) * places[:, None] for axis in (1, 2))
        xy = torch.stack([x.sum(1) / total, y.sum(1) / total], -1)
        down = xy - xy.mean(1, keepdim=True)
        return Prediction(xy, torch.ones(len(crops), 4), None, torch.cat([down, down[..., :1] * 0 + 5], -1))


def person(angle, middle=(32, 32)):
    """A crop with the four dots, leaning to the right by `angle` degrees, and their places (4, 2)."""
    image = np.zeros((65, 65, 3), np.uint8)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    points = np.array([[5, -12], [-5, -12], [5, 12], [-5, 12]]) @ np.array([[cos, sin], [-sin, cos]])
    points = np.round(points + middle).astype(int)
    for (x, y), colour in zip(points, (*np.eye(3), np.ones(3)), strict=True):
        image[y - 2 : y + 3, x - 2 : x + 3] = 200 * colour
    return torch.from_numpy(image), torch.from_numpy(points).float()


@pytest.mark.parametrize("angle", [-120, -30, 40, 90, 180])
def test_the_person_is_turned_upright_and_the_prediction_back(angle):
    crop, points = person(angle, (36, 30))
    inner = Dots()
    found = Upright(inner)(crop[None])
    shown = inner.seen[1][0]
    upright = Dots()(shown[None]).xy[0]
    lean = upright[:2].mean(0) - upright[2:].mean(0)  # from the hips to the shoulders: straight up
    assert abs(lean[0]) < 0.5
    assert lean[1] < -22
    assert (found.xy[0] - points).abs().max() < 0.3
    # What the teacher says of space is turned back too: along the image's axes it lies where the joints do.
    away = points - points.mean(0)
    assert (found.xyz[0, :, :2] - away).abs().max() < 0.3
    assert found.xyz[0, :, 2].tolist() == [5, 5, 5, 5]
    assert found.maps is None


def test_people_who_hardly_lean_are_asked_once():
    inner = Dots()
    straight, leaning = person(10)[0], person(60)[0]
    Upright(inner)(torch.stack([straight, leaning, straight]))
    assert [len(seen) for seen in inner.seen] == [3, 1]
    Upright(inner)(straight[None])
    assert len(inner.seen) == 3


def test_its_stored_predictions_are_its_own():
    teacher = Upright(Dots())
    assert (teacher.name, teacher.digest) == ("dots-upright", "d-upright15")
    assert Upright(Dots(), 30).digest != teacher.digest


def test_a_teacher_without_hips_cannot_be_turned():
    inner = Dots()
    inner.skeleton = Skeleton("no hips", BLAZEPOSE33.joints[:23], tuple(range(23)))
    with pytest.raises(ValueError, match="dots: predicts no left_hip"):
        Upright(inner)
