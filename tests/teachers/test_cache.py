"""The cache: it gives back what was predicted, it survives kill -9, several writers and a full disk, and it
refuses what does not fit.

The teachers here are fakes whose predictions depend on the image's colour alone, so that they can be worked
out by hand. Run as a script, this file is a writer in a process of its own.
"""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from threading import Barrier

import cv2
import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from poseling.codecs.heatmap import Heatmap
from poseling.data.dataset import PoseDataset
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.skeleton import COCO17, LSP14, MOVNECT15, MPII16, Skeleton
from poseling.teachers.base import Prediction
from poseling.teachers.cache import Labelled, PseudoLabels, digest, keys, label
from poseling.teachers.packing import quantise
from poseling.teachers.pseudo import APART, LIMBS, ODD, by_proportions, pseudo_labels_3d
from poseling.teachers.shards import deal_of_environment, shard_of_environment, share
from poseling.teachers.store import Manifest, Store

CODEC = Heatmap((32, 32), sigma=1.0)


@dataclass
class Colours:
    """A teacher whose prediction depends on the colour of a crop's middle alone: the same joints for the same
    colour in every view.
    """

    name: str = "colours"
    digest: str = "c0ffee"
    skeleton: Skeleton = COCO17
    size: tuple[int, int] = (32, 32)
    padding: float = 1.0
    map_size: tuple[int, int] | None = (8, 8)
    pixel: tuple[float, float] | None = CODEC.pixel
    sigma: float | None = CODEC.sigma
    is_3d: bool = False
    licences: dict[str, str] = field(default_factory=lambda: {"weights": "CC0"})
    log: Path | None = None
    delay: float = 0.0
    asked: list[int] = field(default_factory=list)

    def prediction_of(self, colour: int) -> tuple[np.ndarray, np.ndarray]:
        random = np.random.default_rng(colour)
        return random.uniform(2, 29, (len(self.skeleton), 2)).astype(np.float32), random.uniform(
            0.2, 1, len(self.skeleton)
        ).astype(np.float32)

    def __call__(self, crops: Tensor) -> Prediction:
        colours = crops[:, 16, 16, 0].tolist()
        self.asked += colours
        time.sleep(self.delay)
        if self.log is not None:
            with self.log.open("a") as file:
                file.write("".join(f"{c}\n" for c in colours))
        xy, score = (
            torch.from_numpy(np.stack(part)) for part in zip(*map(self.prediction_of, colours), strict=True)
        )
        maps = (
            None
            if self.map_size is None
            else CODEC.encode(xy, torch.ones_like(score))[0] * score[..., None, None]
        )
        return Prediction(
            xy,
            score,
            maps,
            torch.from_numpy(np.stack([self.places(c) for c in colours])) if self.is_3d else None,
        )

    def places(self, colour: int) -> np.ndarray:
        return np.random.default_rng(100 + colour).normal(size=(len(self.skeleton), 3)).astype(np.float32)


def points_only(**fields: object) -> Colours:
    return replace(Colours(map_size=None, pixel=None), **fields)


def crowd(folder: Path, count: int, first: int = 1) -> PoseDataset:
    """People alone in images of one colour each, their number."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = tuple(folder / f"{i:03d}.png" for i in range(first, first + count))
    for i, path in enumerate(paths, first):
        if not path.exists():
            cv2.imwrite(str(path), np.full((40, 50, 3), i, np.uint8))
    boxes = np.tile(np.array([5, 4, 44, 33], np.float32), (count, 1))
    return PoseDataset(
        "crowd", LSP14, paths, boxes, np.zeros((count, 14, 2), np.float32), np.zeros((count, 14), np.uint8)
    )


def same(a: PseudoLabels, b: PseudoLabels) -> bool:
    fields = ("xy", "score", "maps", "map_score", "matrix", "xyz", "scale")
    return len(a) == len(b) and all(
        np.array_equal(getattr(a[i], f), getattr(b[i], f)) for i in range(len(a)) for f in fields
    )


@pytest.fixture(params=["folder", "file://", "memory://"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    fsspec.filesystem("memory").store.clear()
    return {
        "folder": str(tmp_path / "a [b]" / "labels"),
        "file://": f"file://{tmp_path}/labels",
        "memory://": "memory://some/labels",
    }[request.param]


def test_predictions_come_back(url: str, tmp_path: Path) -> None:
    dataset, teacher, heard = crowd(tmp_path / "images", 7), Colours(), []
    done = label(teacher, dataset, url, batch=3, part=4, progress=lambda *counts: heard.append(counts))
    assert done == Labelled(done.store, predicted=7, stored=0, skipped=())
    assert done.store.startswith(f"{url}/colours-")
    assert heard == [(3, 7), (6, 7), (7, 7)]
    labels = PseudoLabels.open(url, dataset, COCO17, teacher)
    assert len(labels) == 7
    assert labels.left_out == ()
    assert labels.manifest == Manifest.of(teacher, False, (1.0,))
    for i in (0, 3, 6, -1):
        pseudo, (xy, score) = labels[i], teacher.prediction_of(range(1, 8)[i])
        np.testing.assert_array_equal(pseudo.xy, xy)
        np.testing.assert_allclose(pseudo.score, score, atol=0.5 / 255 + 1e-6)
        maps = (
            CODEC.encode(torch.from_numpy(xy)[None], torch.ones(1, 17))[0][0].numpy() * score[:, None, None]
        )
        small, scale = quantise(maps)
        np.testing.assert_array_equal(pseudo.maps, small)
        np.testing.assert_array_equal(pseudo.scale, scale)
        assert (np.abs(pseudo.heatmaps - maps).max((1, 2)) <= 1.5 * scale[:, 0] + 1e-7).all()
        np.testing.assert_array_equal(pseudo.map_score, pseudo.score)
        # 39 x 29 pixels of image about (24.5, 18.5) fill the 31 of the crop: scale 31 / 39.
        np.testing.assert_allclose(
            pseudo.matrix,
            31 / 39 * np.array([[1, 0, -24.5], [0, 1, -18.5]]) + [[0, 0, 15.5], [0, 0, 15.5]],
            atol=1e-6,
        )
        assert pseudo.pixel == (31 / 7, 31 / 7)
    assert same(pickle.loads(pickle.dumps(labels)), labels)
    with pytest.raises(IndexError):
        labels[7]


@pytest.mark.parametrize("maps", [True, False])
def test_3d_joints_come_back_in_the_students_skeleton(url: str, tmp_path: Path, maps: bool) -> None:
    teacher = Colours(is_3d=True) if maps else points_only(is_3d=True)
    dataset = crowd(tmp_path / "p", 5)
    label(teacher, dataset[:4], url, batch=3, part=3)
    labels = PseudoLabels.open(url, dataset, MOVNECT15, teacher)
    assert labels.manifest == Manifest.of(teacher, False, (1.0,))
    for i in range(4):
        xyz, got = teacher.places(i + 1), labels[i].xyz
        assert got is not None
        assert got.dtype == np.float32
        np.testing.assert_array_equal(got[MOVNECT15.index("left_wrist")], xyz[COCO17.index("left_wrist")])
        # The pelvis is the middle of the hips, and COCO has neither neck nor head top.
        np.testing.assert_allclose(
            got[MOVNECT15.index("pelvis")],
            (xyz[COCO17.index("left_hip")] + xyz[COCO17.index("right_hip")]) / 2,
            atol=1e-6,
        )
        assert not got[[MOVNECT15.index("neck"), MOVNECT15.index("head_top")]].any()
    assert labels[4].xyz is not None
    assert not labels[4].xyz.any()
    assert same(pickle.loads(pickle.dumps(labels)), labels)
    flat = replace(teacher, is_3d=False)
    label(flat, dataset, url)
    assert (
        PseudoLabels.open(f"{url}/{Manifest.of(flat, False, (1.0,)).folder}", dataset, MOVNECT15)[0].xyz
        is None
    )


def test_flip_and_zoom_of_3d_joints_by_hand(tmp_path: Path) -> None:
    dataset, teacher = crowd(tmp_path / "p", 1), points_only(is_3d=True)
    done = label(teacher, dataset, str(tmp_path / "s"), flip=True, scales=(1.0, 0.5))
    pseudo, (_, score), xyz = (
        PseudoLabels.open(done.store, dataset, COCO17)[0],
        teacher.prediction_of(1),
        teacher.places(1),
    )
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    assert pseudo.xyz is not None
    # An image of one colour looks the same in the mirror and at any zoom; of the right wrist at x in the
    # mirror it predicts that the left one is at -x.
    wanted = (score[left] * xyz[left] + score[right] * xyz[right] * [-1, 1, 1]) / (score[left] + score[right])
    np.testing.assert_allclose(pseudo.xyz[left], wanted, rtol=1e-5)


def test_pseudo_labels_3d_by_hand(tmp_path: Path) -> None:
    dataset, teacher = crowd(tmp_path / "p", 3), points_only(is_3d=True)
    label(teacher, dataset[:2], str(tmp_path / "s"))
    labels, wrist, knee = (
        PseudoLabels.open(str(tmp_path / "s"), dataset, MOVNECT15),
        LSP14.index("left_wrist"),
        LSP14.index("right_knee"),
    )
    xy, score = teacher.prediction_of(1)
    # The crop shows the image 31 / 39 as large, (24.5, 18.5) in its middle, (15.5, 15.5). The box is 39 by 29
    # pixels.
    places = (xy - 15.5) * 39 / 31 + [24.5, 18.5]
    dataset.joints[0, wrist], dataset.visible[0, wrist] = places[COCO17.index("left_wrist")] + [3.0, -4.0], 2
    dataset.joints[0, knee], dataset.visible[0, knee] = places[COCO17.index("right_knee")], 1
    found = pseudo_labels_3d(labels, dataset, tau=0.2)
    assert found.skeleton == MOVNECT15
    assert found.camera is None
    assert found.joints_3d is not None
    assert found.confidence_3d is not None
    xyz = teacher.places(1)
    hips = (xyz[COCO17.index("left_hip")] + xyz[COCO17.index("right_hip")]) / 2
    np.testing.assert_allclose(
        found.joints_3d[0, MOVNECT15.index("left_wrist")],
        xyz[COCO17.index("left_wrist")] - hips + [0, 0, 5],
        atol=1e-5,
    )
    np.testing.assert_allclose(found.joints_3d[0, MOVNECT15.index("pelvis")], [0, 0, 5], atol=1e-6)
    confidence_3d = {
        name: found.confidence_3d[0, MOVNECT15.index(name)]
        for name in ("left_wrist", "right_knee", "left_knee")
    }
    assert confidence_3d["left_wrist"] == pytest.approx(
        score[COCO17.index("left_wrist")] * np.exp(-25 / (2 * 0.04 * 39 * 29)), abs=0.003
    )
    assert confidence_3d["right_knee"] == pytest.approx(
        score[COCO17.index("right_knee")], abs=0.003
    )  # where its label is
    assert confidence_3d["left_knee"] == pytest.approx(
        score[COCO17.index("left_knee")], abs=0.003
    )  # without a label
    unknown = [MOVNECT15.index("neck"), MOVNECT15.index("head_top")]
    for nothing in (
        found.joints_3d[:, unknown],
        found.confidence_3d[:, unknown],
        found.joints_3d[2],
        found.confidence_3d[2],
    ):
        assert not nothing.any()
    assert (found.joints_3d[:2].any(-1).sum(-1) == 13).all()
    np.testing.assert_array_equal(
        found.joints[0], dataset.to(MOVNECT15).joints[0]
    )  # labelled samples keep their labels
    # The second has no label in the image: it gets the joints with a high enough score.
    said, sure = teacher.prediction_of(2)
    believed = COCO17.to(MOVNECT15).weights(np.float32(sure)) >= 0.3
    assert 0 < believed.sum() < 13
    np.testing.assert_array_equal(found.visible[1] > 0, believed)
    knees = [MOVNECT15.index("left_knee"), MOVNECT15.index("right_knee")]
    wanted = ((said - 15.5) * 39 / 31 + [24.5, 18.5])[[COCO17.index("left_knee"), COCO17.index("right_knee")]]
    np.testing.assert_allclose(found.joints[1, knees], wanted * believed[knees][:, None], atol=0.01)
    assert not found.visible[2].any()


class Second(Colours):
    """Colours' metres, turned by a quarter about y, half as large, elsewhere, and one wrist 20 cm further
    along x before that.
    """

    def places(self, colour: int) -> np.ndarray:
        xyz = super().places(colour)
        xyz[COCO17.index("left_wrist"), 0] += 0.2
        turned = np.stack([xyz[:, 2], xyz[:, 1], -xyz[:, 0]], 1)
        return (0.5 * turned + [1, 2, 3]).astype(np.float32)


def test_3d_teachers_are_averaged_after_the_best_similarity(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 2)
    first, second = (
        points_only(is_3d=True),
        Second(name="second", digest="2", map_size=None, pixel=None, is_3d=True),
    )
    stores = [label(each, dataset, str(tmp_path / each.name)).store for each in (first, second)]
    labels, other = (PseudoLabels.open(store, dataset, COCO17) for store in stores)
    alone, both = pseudo_labels_3d(labels, dataset), pseudo_labels_3d(labels, dataset, others=[other])
    assert alone.joints_3d is not None
    assert both.joints_3d is not None
    assert alone.confidence_3d is not None
    assert both.confidence_3d is not None
    wrist, hips = COCO17.index("left_wrist"), [COCO17.index("left_hip"), COCO17.index("right_hip")]
    for i in range(2):
        # An independent similarity: scipy's, whose scale is that of standardised points.
        mine, theirs = first.places(i + 1).astype(float), second.places(i + 1).astype(float)
        from_mine, from_theirs = mine - mine.mean(0), theirs - theirs.mean(0)
        rotation, value = orthogonal_procrustes(from_theirs, from_mine)
        aligned = value / (from_theirs**2).sum() * from_theirs @ rotation + mine.mean(0)
        mean = (mine + aligned) / 2
        np.testing.assert_allclose(both.joints_3d[i], mean - mean[hips].mean(0) + [0, 0, 5], atol=1e-4)
        apart = np.linalg.norm(aligned - mine, axis=1)
        assert apart.argmax() == wrist
        factor = np.exp(-(apart**2) / (2 * APART**2))
        np.testing.assert_allclose(both.confidence_3d[i], alone.confidence_3d[i] * factor, rtol=1e-4)
    np.testing.assert_array_equal(both.visible, alone.visible)


def test_an_odd_body_weighs_less(tmp_path: Path) -> None:
    dataset = crowd(tmp_path, 3).to(COCO17)
    xyz = np.zeros((3, 17, 3), np.float32)
    for joint in range(17):
        xyz[:, joint] = [0, 0.3 * joint, 5]  # limbs of one length each, whatever it is
    xyz[1] *= 2  # a tall one of the same proportions
    elbow, wrist = COCO17.index("left_elbow"), COCO17.index("left_wrist")
    xyz[2, wrist] = xyz[2, elbow] + 3 * (xyz[2, wrist] - xyz[2, elbow])  # an arm thrice as long
    known = replace(dataset, joints_3d=xyz, confidence_3d=np.full((3, 17), 0.8, np.float32))
    found = by_proportions(known).confidence_3d
    np.testing.assert_allclose(found[:2], 0.8, rtol=1e-6)
    odd = np.log(3) / len(LIMBS)  # the other seven are as they should be
    np.testing.assert_allclose(found[2], 0.8 * np.exp(-(odd**2) / (2 * ODD**2)), rtol=1e-5)
    with pytest.raises(ValueError, match="crowd: has no 3D joints"):
        by_proportions(dataset)
    face = Skeleton("face", ("nose", "left_eye", "right_eye"), (0, 0, 0))
    with pytest.raises(ValueError, match="face has no left_shoulder"):
        by_proportions(known.to(face))


def test_pseudo_labels_3d_need_a_3d_teacher_and_the_same_samples(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 2)
    flat, deep = (
        label(teacher, dataset, str(tmp_path / "s")).store
        for teacher in (points_only(), points_only(is_3d=True))
    )
    with pytest.raises(ValueError, match="the teacher colours predicts 2D joints only"):
        pseudo_labels_3d(PseudoLabels.open(flat, dataset, COCO17), dataset)
    labels = PseudoLabels.open(deep, dataset, COCO17)
    with pytest.raises(ValueError, match="opened for other samples than those of crowd"):
        pseudo_labels_3d(labels, dataset[:1])
    with pytest.raises(ValueError, match="opened in the joints of movnect15, and"):
        pseudo_labels_3d(labels, dataset, others=[PseudoLabels.open(deep, dataset, MOVNECT15)])
    with pytest.raises(ValueError, match="tau is 0"):
        pseudo_labels_3d(labels, dataset, tau=0)
    faces = Skeleton("face", ("nose", "left_eye", "right_eye"), (0, 0, 0))
    with pytest.raises(ValueError, match="face has neither a pelvis nor two hips"):
        pseudo_labels_3d(
            PseudoLabels.open(deep, dataset, faces), replace(dataset.to(COCO17), skeleton=COCO17).to(faces)
        )


def test_no_sample_is_predicted_twice(url: str, tmp_path: Path) -> None:
    teacher = Colours()
    label(teacher, crowd(tmp_path, 4), url)
    more = crowd(tmp_path, 6)
    twice = more[[0, 1, 2, 3, 4, 5, 5]]
    assert label(teacher, twice, url) == Labelled(
        f"{url}/{Manifest.of(teacher, False, (1.0,)).folder}", predicted=2, stored=5
    )
    assert sorted(teacher.asked) == [1, 2, 3, 4, 5, 6]
    np.testing.assert_array_equal(PseudoLabels.open(url, twice, COCO17)[6].xy, teacher.prediction_of(6)[0])


def test_a_sample_is_identified_by_content(tmp_path: Path) -> None:
    here, there = crowd(tmp_path / "here", 2), crowd(tmp_path / "there", 2)
    assert keys(here) == keys(there)
    assert len(set(keys(here))) == 2
    nudged, moved = (
        replace(here, boxes=here.boxes + np.float32(1e-3)),
        replace(here, boxes=here.boxes + np.float32(0.2)),
    )
    assert keys(nudged) == keys(here)
    assert not set(keys(moved)) & set(keys(here))
    with pytest.raises(ValueError, match=r"person 1 in .*002\.png is not finite"):
        keys(replace(here, boxes=np.array([[0, 0, 9, 9], [0, 0, np.nan, 9]], np.float32)))


def test_joints_are_converted_by_name(tmp_path: Path) -> None:
    dataset, teacher = crowd(tmp_path / "p", 1), Colours()
    label(teacher, dataset, str(tmp_path / "s"))
    pseudo, (xy, score) = PseudoLabels.open(str(tmp_path / "s"), dataset, MPII16)[0], teacher.prediction_of(1)
    right_ankle, left_hip, right_hip = (COCO17.index(j) for j in ("right_ankle", "left_hip", "right_hip"))
    assert pseudo.maps is not None
    np.testing.assert_array_equal(pseudo.xy[0], xy[right_ankle])
    assert pseudo.heatmaps[0].max() == pytest.approx(
        quantised_peak(xy[right_ankle], score[right_ankle]), rel=1e-5
    )
    # The pelvis is the middle of the hips: a point as sure as the less sure hip, and no map.
    np.testing.assert_allclose(pseudo.xy[6], (xy[left_hip] + xy[right_hip]) / 2, rtol=1e-6)
    assert pseudo.score[6] == pytest.approx(min(score[left_hip], score[right_hip]), abs=0.5 / 255)
    assert pseudo.map_score[6] == 0
    assert not pseudo.heatmaps[6].any()
    # COCO has no head top.
    assert pseudo.score[9] == pseudo.map_score[9] == 0
    assert not pseudo.heatmaps[9].any()


def quantised_peak(xy: np.ndarray, score: float) -> float:
    """The brightest pixel of a Gaussian of sigma 1 at xy / pixel with that height."""
    off = xy / CODEC.pixel - np.rint(xy / CODEC.pixel)
    return float(score * np.exp(-(off**2).sum() / 2))


def test_a_teacher_of_points_has_no_maps_and_its_flip_is_a_weighted_mean(tmp_path: Path) -> None:
    dataset, teacher = crowd(tmp_path / "p", 1), points_only()
    label(teacher, dataset, str(tmp_path / "s"), flip=True)
    pseudo, (xy, score) = PseudoLabels.open(str(tmp_path / "s"), dataset, COCO17)[0], teacher.prediction_of(1)
    assert pseudo.maps is None
    assert pseudo.pixel is None
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    # An image of one colour looks the same in the mirror, so what it predicts of the right wrist at x it
    # predicts again of the left one at 31 - x.
    mirrored = np.array([31 - xy[right, 0], xy[right, 1]])
    wanted = (score[left] * xy[left] + score[right] * mirrored) / (score[left] + score[right])
    np.testing.assert_allclose(pseudo.xy[left], wanted, rtol=1e-5)
    assert pseudo.score[left] == pytest.approx((score[left] + score[right]) / 2, abs=0.5 / 255 + 1e-6)


def test_the_flip_of_maps_mirrors_swaps_and_averages(tmp_path: Path) -> None:
    dataset, teacher = crowd(tmp_path / "p", 1), Colours()
    label(teacher, dataset, str(tmp_path / "s"), flip=True)
    pseudo, maps = (
        PseudoLabels.open(str(tmp_path / "s"), dataset, COCO17)[0],
        teacher(torch.full((1, 32, 32, 3), 1)).maps,
    )
    assert pseudo.maps is not None
    assert maps is not None
    left, right = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    wanted = (maps[0, left] + maps[0, right].flip(1)) / 2
    np.testing.assert_allclose(pseudo.heatmaps[left], wanted, atol=1.5 / 255 * wanted.max().item())


@dataclass
class Blob(Colours):
    """A teacher that sees: its one heatmap is the image's red, read at the heatmap's pixels."""

    name: str = "blob"
    skeleton: Skeleton = field(default_factory=lambda: Skeleton("spot", ("nose",), (0,)))
    size: tuple[int, int] = (64, 64)
    map_size: tuple[int, int] | None = (64, 64)
    pixel: tuple[float, float] | None = (1.0, 1.0)
    sigma: float | None = 2.0

    def __call__(self, crops: Tensor) -> Prediction:
        maps = crops[..., 0].float()[:, None] / 255
        xy, score = Heatmap((64, 64), stride=1).decode(maps)
        return Prediction(xy, score, maps)


@pytest.mark.parametrize(("flip", "scales"), [(False, (1.0, 0.75, 1.2)), (True, (1.0,)), (True, (0.8,))])
def test_views_are_averaged_where_the_canonical_crop_has_them(
    tmp_path: Path, flip: bool, scales: tuple[float, ...]
) -> None:
    spot = np.array([61.0, 40.0])
    ys, xs = np.mgrid[:96, :128]
    image = np.rint(255 * np.exp(-((xs - spot[0]) ** 2 + (ys - spot[1]) ** 2) / (2 * 4.0**2))).astype(
        np.uint8
    )
    cv2.imwrite(str(tmp_path / "spot.png"), cv2.merge([np.zeros_like(image)] * 2 + [image]))
    boxes = np.array([[30, 10, 100, 80]], np.float32)
    dataset = PoseDataset(
        "spot",
        LSP14,
        (tmp_path / "spot.png",),
        boxes,
        np.zeros((1, 14, 2), np.float32),
        np.zeros((1, 14), np.uint8),
    )
    done = label(Blob(), dataset, str(tmp_path / "s"), flip=flip, scales=scales)
    pseudo = PseudoLabels.open(done.store, dataset, Blob().skeleton)[0]
    wanted = Crop.from_box(boxes[0], (64, 64), 1.0).apply(spot)
    np.testing.assert_allclose(pseudo.xy[0], wanted, atol=0.05)
    assert pseudo.maps is not None
    assert np.linalg.norm(np.array(np.unravel_index(pseudo.maps[0].argmax(), (64, 64)))[::-1] - wanted) < 1
    assert pseudo.score[0] > 0.9


def test_unreadable_images_are_skipped_named_and_weigh_nothing(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 5)
    dataset.images[1].write_bytes(dataset.images[1].read_bytes()[:20])
    dataset.images[3].unlink()
    teacher = Colours()
    for asked, already in ((3, 0), (0, 3)):
        done = label(teacher, dataset, str(tmp_path / "s"), batch=2)
        assert (done.predicted, done.stored, len(done.skipped)) == (asked, already, 2)
        assert sorted(line[: line.index(".png") + 4] for line in done.skipped) == [
            str(dataset.images[1]),
            str(dataset.images[3]),
        ]
    labels = PseudoLabels.open(str(tmp_path / "s"), dataset, COCO17, teacher)
    assert labels.predicted.tolist() == [True, False, True, False, True]
    assert labels.left_out == (
        f"2 of 5 samples have no pseudo-label in {labels.url} and weigh nothing, the first is in "
        f"{dataset.images[1]}",
    )
    assert not labels[1].score.any()
    assert not labels[1].map_score.any()
    assert labels[1].maps is not None
    assert labels[1].maps.shape == (17, 8, 8)
    np.testing.assert_array_equal(labels[4].xy, teacher.prediction_of(5)[0])


def test_another_teachers_store_is_refused_with_both_names(tmp_path: Path) -> None:
    dataset, url = crowd(tmp_path / "p", 2), str(tmp_path / "s")
    done = label(Colours(), dataset, url)
    other = Colours(name="greys", digest="0ddba11")
    for place in (url, done.store):
        with pytest.raises(
            ValueError, match=r"made with the teacher colours \(c0ffee\), not with greys \(0ddba11\)"
        ):
            PseudoLabels.open(place, dataset, COCO17, other)
    label(other, dataset, url)
    with pytest.raises(ValueError, match=r"2 stores; name one of .*/colours-.*/greys-"):
        PseudoLabels.open(url, dataset, COCO17)
    assert PseudoLabels.open(url, dataset, COCO17, other).manifest.teacher == "greys"
    assert PseudoLabels.open(done.store, dataset, COCO17).manifest.teacher == "colours"


def test_other_views_and_other_crops_go_to_other_stores() -> None:
    teacher = Colours()
    stores = [
        Manifest.of(teacher, False, (1.0,)),
        Manifest.of(teacher, True, (1.0,)),
        Manifest.of(teacher, False, (1.0, 0.8)),
        Manifest.of(replace(teacher, digest="beef"), False, (1.0,)),
        Manifest.of(replace(teacher, padding=1.25), False, (1.0,)),
        Manifest.of(replace(teacher, is_3d=True), False, (1.0,)),
    ]
    assert len({m.folder for m in stores}) == len(stores)
    assert all(Manifest.from_json(m.to_json()) == m for m in stores)
    assert "/" not in Manifest.of(replace(teacher, name="usyd/vitpose base"), False, (1.0,)).folder


@pytest.mark.parametrize("is_3d", [False, True])
def test_stores_keep_their_names_and_manifests(is_3d: bool) -> None:
    """The text of a manifest of version 1, and the digest of its fields in order. A 3D store has a field
    `spatial` in addition.
    """
    manifest = Manifest.of(points_only(is_3d=is_3d), True, (1.0, 0.5))
    skeleton = {"name": "coco17", "joints": COCO17.joints, "parents": COCO17.parents, "sigmas": COCO17.sigmas}
    fields = {
        "teacher": "colours",
        "digest": "c0ffee",
        "skeleton": skeleton,
        "size": (32, 32),
        "padding": 1.0,
        "map_size": None,
        "pixel": None,
        "flip": True,
        "scales": (1.0, 0.5),
        "licences": {"weights": "CC0"},
        "version": 1,
        **({"spatial": True} if is_3d else {}),
    }
    assert manifest.to_json() == json.dumps(fields, indent=1)
    assert Manifest.from_json(json.dumps(fields)) == manifest
    del fields["teacher"], fields["licences"]
    assert manifest.folder == f"colours-{blake2b(json.dumps(fields).encode(), digest_size=6).hexdigest()}"
    plain = Manifest.of(points_only(is_3d=is_3d), False, (1.0,))
    assert plain.folder == ("colours-e14f65aac562" if is_3d else "colours-bb5af7487f77")


def test_a_teacher_that_shares_no_joint_is_refused(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 1)
    label(Colours(), dataset, str(tmp_path / "s"))
    with pytest.raises(
        ValueError,
        match=r"the teacher colours cannot teach this student: skeletons coco17 .* and hand .* no joint in common",
    ):
        PseudoLabels.open(str(tmp_path / "s"), dataset, Skeleton("hand", ("thumb", "palm"), (1, 1)))


def test_a_store_of_other_samples_or_none_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere: there is no store .* `poseling label`"):
        PseudoLabels.open(str(tmp_path / "nowhere"), crowd(tmp_path / "p", 1), COCO17)
    label(Colours(), crowd(tmp_path / "p", 1), str(tmp_path / "s"))
    with pytest.raises(
        ValueError, match="has no pseudo-label for any of the 2 samples of crowd; run `poseling label`"
    ):
        PseudoLabels.open(str(tmp_path / "s"), crowd(tmp_path / "p", 2, first=5), COCO17)


def test_foreign_and_damaged_files_are_named(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 2)
    done = label(Colours(), dataset, str(tmp_path / "s"))
    part = next(Path(done.store).glob("part-*.parquet"))
    part.write_bytes(part.read_bytes()[:-40])
    with pytest.raises(ValueError, match=rf"{part.name}: is no part of a store, or cut short"):
        PseudoLabels.open(done.store, dataset, COCO17)
    (Path(done.store) / "manifest.json").write_text('{"teacher": "colours"}')
    with pytest.raises(ValueError, match=r"manifest\.json: this is not a store's manifest"):
        PseudoLabels.open(done.store, dataset, COCO17)
    (Path(done.store) / "manifest.json").write_text(
        replace(Manifest.of(Colours(), False, (1.0,)), version=99).to_json()
    )
    with pytest.raises(ValueError, match="version 99"):
        PseudoLabels.open(done.store, dataset, COCO17)
    (Path(done.store) / "manifest.json").write_text(
        replace(Manifest.of(Colours(), False, (1.0,)), version=1).to_json()
    )
    with pytest.raises(
        ValueError,
        match=r"manifest\.json: the store is of version 1, whose heatmaps were cut below 0\.03 and above 1; delete it",
    ):
        PseudoLabels.open(done.store, dataset, COCO17)


@pytest.mark.parametrize("part", ["xy", "score", "maps", "nan", "xyz", "deep"])
def test_a_teacher_that_predicts_other_shapes_than_it_declares_is_named(tmp_path: Path, part: str) -> None:
    class Broken(Colours):
        def __call__(self, crops: Tensor) -> Prediction:
            said = super().__call__(crops)
            wrong = {
                "xy": said.xy[:, 1:],
                "score": said.score[:1],
                "maps": None,
                "nan": said.score * torch.nan,
                "xyz": None,
            }
            wrong["deep"] = torch.full((2, 17, 3), torch.inf)
            return replace(said, **{{"nan": "score", "deep": "xyz"}.get(part, part): wrong[part]})

    with pytest.raises(
        ValueError, match=r"teacher colours predicts \w+ (of shape .*, but declares|with NaN)"
    ):
        label(Broken(is_3d=part in ("xyz", "deep")), crowd(tmp_path / "p", 2), str(tmp_path / "s"))


@pytest.mark.parametrize(
    "arguments", [{"shard": (2, 2)}, {"scales": ()}, {"scales": (0.0,)}, {"batch": 0}, {"part": 0}]
)
def test_arguments_that_make_no_sense_are_refused(tmp_path: Path, arguments: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="label needs a shard"):
        label(Colours(), crowd(tmp_path / "p", 1), str(tmp_path / "s"), **arguments)


@pytest.mark.parametrize("place", ["folder", "memory://"])
def test_a_full_disk_loses_nothing_that_was_stored(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsspec.filesystem("memory").store.clear()
    url = str(tmp_path / "s") if place == "folder" else "memory://full/labels"
    dataset, teacher, writes = crowd(tmp_path / "p", 9), Colours(), []

    def third_fails(*_: object) -> None:
        writes.append(1)
        if len(writes) > 3:  # the manifest and two parts fit
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    memory = type(fsspec.filesystem("memory"))
    pipe = memory.pipe_file
    with monkeypatch.context() as full:
        full.setattr(os, "fsync", third_fails)
        full.setattr(memory, "pipe_file", lambda *arguments: (third_fails(), pipe(*arguments)))
        with pytest.raises(
            OSError,
            match=rf"{url}/colours-.* could not be written \(No space left on device\); .* are kept: make room",
        ) as failure:
            label(teacher, dataset, url, batch=3, part=3)
    assert failure.value.errno == errno.ENOSPC
    assert len(writes) == 4
    assert len(Store.under(url)[0].keys()) == 6
    if place == "folder":
        assert not [p for p in tmp_path.glob("s/*/*") if p.name.startswith(".")]
    done = label(teacher, dataset, url, batch=3, part=3)
    assert (done.predicted, done.stored) == (3, 6)
    assert np.array_equal(PseudoLabels.open(url, dataset, COCO17)[8].xy, teacher.prediction_of(9)[0])


def writer(
    url: Path, images: Path, log: Path, delay: float, count: int, shard: tuple[int, int]
) -> subprocess.Popen[bytes]:
    """Another process that labels `count` people, told by its environment which it is; it touches `ready`,
    then waits for `go`, both beside its log.
    """
    arguments = [str(a) for a in (url, images, log, delay, count)]
    told = {"OMP_NUM_THREADS": "1", "RANK": str(shard[0]), "WORLD_SIZE": str(shard[1])}
    return subprocess.Popen([sys.executable, __file__, *arguments], env={**os.environ, **told})


def wait_for(condition: object, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 120
    while not condition():  # type: ignore[operator]
        assert process.poll() is None, f"the writer ended with {process.returncode}"
        assert time.monotonic() < deadline, "the writer does nothing"
        time.sleep(0.005)


def lines(log: Path) -> list[int]:
    return [int(line) for line in log.read_text().split()] if log.exists() else []


def test_killed_and_started_again_it_goes_on(tmp_path: Path) -> None:
    images, log, url = tmp_path / "p", tmp_path / "log", tmp_path / "s"
    dataset = crowd(images, 24)
    process = writer(url, images, log, delay=0.1, count=24, shard=(0, 1))
    (tmp_path / "go").touch()
    wait_for(lambda: len(lines(log)) >= 16, process)  # in batches of 2 and parts of 6: two parts are there
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    before = lines(log)
    assert 16 <= len(before) < 24
    store = Store.under(str(url))[0]
    stored = store.keys()
    assert len(stored) >= 12
    (Path(store.url) / ".part-0123.parquet.tmp").write_bytes(
        b"PAR1 what a writer leaves when it is killed in the middle of a file"
    )
    teacher = Colours(log=log)
    done = label(teacher, dataset, str(url), batch=2, part=6)
    assert (done.predicted, done.stored) == (24 - len(stored), len(stored))
    finished = {color for color, key in enumerate(keys(dataset), 1) if key in stored}
    assert not finished & set(teacher.asked)
    asked = Counter(lines(log))
    assert set(asked) == set(range(1, 25))
    assert max(asked.values()) <= 2
    assert sum(n == 2 for n in asked.values()) <= 6  # no more than the unfinished part
    label(Colours(), dataset, str(tmp_path / "whole"))
    assert same(
        PseudoLabels.open(str(url), dataset, COCO17),
        PseudoLabels.open(str(tmp_path / "whole"), dataset, COCO17),
    )


@pytest.mark.slow
def test_several_writers_make_one_store_even_of_the_same_samples(tmp_path: Path) -> None:
    images, url, dataset = tmp_path / "p", tmp_path / "s", crowd(tmp_path / "p", 20)
    shards = [(0, 2), (1, 2), (0, 2)]
    writers = [writer(url, images, tmp_path / f"log{i}", 0.02, 20, shard) for i, shard in enumerate(shards)]
    for i, process in enumerate(writers):
        wait_for((tmp_path / f"log{i}.ready").exists, process)
    (tmp_path / "go").touch()
    assert [process.wait(120) for process in writers] == [0, 0, 0]
    first, second = ((share(dataset.images, (i, 2)) + 1).tolist() for i in range(2))
    assert sorted(first + second) == list(range(1, 21))
    assert sorted(lines(tmp_path / "log1")) == second
    assert set(lines(tmp_path / "log0")) | set(lines(tmp_path / "log2")) == set(first)
    label(Colours(), dataset, str(tmp_path / "whole"))
    assert same(
        PseudoLabels.open(str(url), dataset, COCO17),
        PseudoLabels.open(str(tmp_path / "whole"), dataset, COCO17),
    )
    teacher = Colours()
    assert label(teacher, dataset, str(url)).stored == 20
    assert not teacher.asked


@pytest.mark.slow
def test_after_a_lost_process_any_number_of_others_does_the_rest(tmp_path: Path) -> None:
    images, url, dataset = tmp_path / "p", tmp_path / "s", crowd(tmp_path / "p", 60)
    mine = [set((share(dataset.images, (i, 2)) + 1).tolist()) for i in range(2)]
    assert min(map(len, mine)) > 20
    writers = [writer(url, images, tmp_path / f"log{i}", 0.1, 60, (i, 2)) for i in range(2)]
    for i, process in enumerate(writers):
        wait_for((tmp_path / f"log{i}.ready").exists, process)
    (tmp_path / "go").touch()
    wait_for(
        lambda: len(lines(tmp_path / "log1")) >= 10, writers[1]
    )  # in batches of 2 and parts of 6: one part is there
    writers[1].send_signal(signal.SIGKILL)
    assert [process.wait(120) for process in writers] == [0, -signal.SIGKILL]
    asked = [lines(tmp_path / f"log{i}") for i in range(2)]
    assert set(asked[0]) == mine[0]  # the other one went on to its end
    assert set(asked[1]) < mine[1]
    assert not Counter(asked[0] + asked[1]).most_common(1)[0][1] > 1
    stored = Store.under(str(url))[0].keys()
    colours = {colour for colour, key in enumerate(keys(dataset), 1) if key in stored}
    assert mine[0] <= colours
    lost = set(asked[1]) - colours
    assert len(lost) <= 6 + 2  # a part, and the batch that fills it
    # Of what is left, three processes with a deal of their own take about a third each, whoever had it
    # before, and ask about no other.
    left, again = set(range(1, 61)) - colours, []
    for i in range(3):
        teacher = Colours()
        label(teacher, dataset, str(url), shard=(i, 3), deal="the next launch")
        again.append(teacher.asked)
    assert sorted(colour for part in again for colour in part) == sorted(left)
    assert min(map(len, again)) > 0
    every = [
        key
        for part in Path(Store.under(str(url))[0].url).glob("part-*")
        for key in pq.read_table(part)["key"].to_pylist()
    ]
    assert len(every) == len(set(every)) == 60
    assert label(Colours(), dataset, str(url)) == Labelled(
        Store.under(str(url))[0].url, predicted=0, stored=60
    )
    label(Colours(), dataset, str(tmp_path / "whole"))
    assert same(
        PseudoLabels.open(str(url), dataset, COCO17),
        PseudoLabels.open(str(tmp_path / "whole"), dataset, COCO17),
    )


def several_each(folder: Path, images: int, each: int) -> PoseDataset:
    """`each` people in each image, one image's people apart from one another in the list."""
    alone = crowd(folder, images)
    boxes = np.repeat(np.array([[5, 4, 44 - i, 33] for i in range(each)], np.float32), images, 0)
    count = images * each
    return PoseDataset(
        "pairs",
        LSP14,
        alone.images * each,
        boxes,
        np.zeros((count, 14, 2), np.float32),
        np.zeros((count, 14), np.uint8),
    )


@pytest.mark.parametrize("batch", [1, 2, 4, 100])
def test_an_image_is_decoded_once_for_all_its_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    dataset, read = several_each(tmp_path / "p", 5, 3), []
    monkeypatch.setattr(
        "poseling.teachers.cache.read_image", lambda path: (read.append(path), read_image(path))[1]
    )
    dataset.images[3].write_bytes(b"no image")
    done, heard = [], []
    for i in range(2):
        done.append(
            label(
                Colours(),
                dataset,
                str(tmp_path / "s"),
                batch=batch,
                shard=(i, 2),
                progress=lambda *counts: heard.append(counts),
            )
        )
    assert sorted(read) == sorted(set(dataset.images))
    assert sum(d.predicted for d in done) == 12
    assert sum(len(d.skipped) for d in done) == 3
    assert all(d.stored == 0 for d in done)
    assert all(done <= of for done, of in heard)
    labels = PseudoLabels.open(str(tmp_path / "s"), dataset, COCO17)
    assert labels.predicted.tolist() == [True, True, True, False, True] * 3
    for i in np.flatnonzero(labels.predicted):
        np.testing.assert_array_equal(labels[i].xy, Colours().prediction_of(i % 5 + 1)[0])


def test_known_digests_spare_reading_the_images(tmp_path: Path) -> None:
    dataset = several_each(tmp_path / "p", 6, 2)
    dataset.images[2].unlink()
    # Two processes read every other file each, and give the other what they found.
    parts: list[list[tuple[int, bytes | None]]] = []
    for i in range(2):
        digest(dataset.images, (i, 2), lambda mine: (parts.append(mine), mine)[1])
    assert [[i for i, _ in part] for part in parts] == [[0, 2, 4], [1, 3, 5]]
    known = digest(dataset.images, (1, 2), lambda mine: parts[0] + parts[1])
    assert known == digest(dataset.images)
    assert keys(dataset, known) == keys(dataset)
    label(Colours(), dataset, str(tmp_path / "s"))
    for path in set(dataset.images) - {dataset.images[2]}:
        path.unlink()
    assert PseudoLabels.open(str(tmp_path / "s"), dataset, COCO17, digests=known).predicted.sum() == 10
    assert label(Colours(), dataset, str(tmp_path / "s"), shard=(0, 1), digests=known).stored == 10
    assert (
        sum(
            label(Colours(), dataset, str(tmp_path / "s"), shard=(i, 3), digests=known).stored
            for i in range(3)
        )
        == 10
    )


def test_on_object_storage_parts_are_large_and_reading_the_keys_costs_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = fsspec.filesystem("memory")
    memory.store.clear()
    manifest = Manifest.of(Colours(), False, (1.0,))
    far, near = Store.create("memory://b/labels", manifest), Store.create(str(tmp_path), manifest)
    assert (far.remote, near.remote) == (True, False)
    random = np.random.default_rng(0)
    for store in (far, near):
        for part in range(3):
            names = [bytes([part]) + random.bytes(15) for _ in range(1000)]
            noise = random.uniform(size=(1000, 17, 8, 8)).astype(np.float32)
            said = Prediction(torch.zeros(1000, 17, 2), torch.zeros(1000, 17), torch.from_numpy(noise))
            store.write([store.rows(names, said)])
    got: list[int] = []
    file = type(memory.open(f"{memory.ls('/b/labels')[0]['name']}/manifest.json"))
    whole = file.read
    monkeypatch.setattr(
        file, "read", lambda self, *size: (data := whole(self, *size), got.append(len(data)))[0]
    )
    assert len(far.keys()) == len(near.keys()) == 3000
    assert 3000 * 16 < sum(got) < far.size() / 10  # the footers and the keys


if __name__ == "__main__":
    torch.set_num_threads(1)
    url_, images_, log_, delay_, count_ = sys.argv[1:]
    Path(f"{log_}.ready").touch()
    while not (Path(log_).parent / "go").exists():
        time.sleep(0.002)
    slow = Colours(log=Path(log_), delay=float(delay_))
    label(
        slow,
        crowd(Path(images_), int(count_)),
        url_,
        batch=2,
        part=6,
        shard=shard_of_environment(),
        deal=deal_of_environment(),
    )


def test_a_single_flipped_bit_is_refused_or_changes_nothing(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 6)
    done = label(Colours(), dataset, str(tmp_path / "s"))
    whole, part = (
        PseudoLabels.open(done.store, dataset, COCO17),
        next(Path(done.store).glob("part-*.parquet")),
    )
    data, refused = part.read_bytes(), 0
    for bit in np.random.default_rng(0).choice(8 * len(data), 150, replace=False).tolist():
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        part.write_bytes(damaged)
        try:
            assert same(PseudoLabels.open(done.store, dataset, COCO17), whole), bit
        except ValueError as error:
            assert part.name in str(error)  # noqa: PT017
            refused += 1
    assert refused > 100


def test_stores_from_before_there_were_checksums_are_read(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 3)
    done = label(Colours(), dataset, str(tmp_path / "s"))
    whole, part = (
        PseudoLabels.open(done.store, dataset, COCO17),
        next(Path(done.store).glob("part-*.parquet")),
    )
    pq.write_table(
        pq.read_table(part), part, compression="zstd", use_dictionary=False, write_statistics=False
    )
    assert same(PseudoLabels.open(done.store, dataset, COCO17), whole)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": [{}, 32]}, r"size\[0\] is \{\}, expected a whole number"),
        ({"size": [32, 32, 32]}, r"size is \[32, 32, 32\], expected a list of 2"),
        ({"map_size": [1 << 40, 8]}, "map_size is"),
        ({"map_size": [16384, 8]}, "1 to 4096"),
        ({"map_size": None}, "there are both or neither"),
        ({"padding": "wide"}, "padding is 'wide', expected a finite number"),
        ({"scales": []}, "are above 0"),
        ({"flip": 3}, "flip is 3, expected true or false"),
        ({"skeleton": {"name": "a"}}, "skeleton: it lacks 'joints', 'parents'"),
        ({"taste": 1}, "there is no field 'taste'"),
    ],
)
def test_a_damaged_manifest_is_named(tmp_path: Path, change: dict[str, object], message: str) -> None:
    store = Store.create(str(tmp_path), Manifest.of(Colours(), False, (1.0,)))
    path = Path(store.url) / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"manifest\.json: this is not a store's manifest: .*{message}"):
        Store.open(store.url)


def test_a_part_of_other_columns_is_named(tmp_path: Path) -> None:
    dataset = crowd(tmp_path / "p", 3)
    done = label(Colours(), dataset, str(tmp_path / "s"))
    part = next(Path(done.store).glob("part-*.parquet"))
    table = pq.read_table(part)
    for column, other in (
        ("maps", table["maps"].cast("binary").to_pylist()),
        ("xy", [[1.0]] * 3),
        ("key", ["a"] * 3),
        ("score", [None] * 3),
    ):
        at = table.column_names.index(column)
        pq.write_table(table.set_column(at, column, [other]), part)
        with pytest.raises(
            ValueError, match=rf"{part.name}: is no part of a store, or cut short \(its column {column} is"
        ):
            PseudoLabels.open(done.store, dataset, COCO17)
        with pytest.raises(ValueError, match=rf"{part.name}: is no part of a store"):
            label(Colours(), dataset, str(tmp_path / "s")) if column == "key" else Store.open(
                done.store
            ).keys() and PseudoLabels.open(done.store, dataset, COCO17)


def test_two_processes_at_once_predict_no_sample_twice(tmp_path: Path) -> None:
    dataset, url = crowd(tmp_path / "p", 60), str(tmp_path / "s")
    teachers = [Colours(delay=0.02), Colours(delay=0.02)]
    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda teacher: label(teacher, dataset, url, batch=4, part=8), teachers))
    assert sorted(teachers[0].asked + teachers[1].asked) == list(range(1, 61))
    assert [d.predicted + d.stored for d in done] == [60, 60]
    assert min(d.predicted for d in done) > 0  # both have worked
    assert PseudoLabels.open(url, dataset, COCO17).predicted.all()


def test_processes_that_share_the_work_do_not_wait_for_each_other(tmp_path: Path) -> None:
    dataset, url = crowd(tmp_path / "p", 12), str(tmp_path / "s")
    second = Barrier(2, timeout=30)  # each asks only once the other does

    class Meets(Colours):
        def __call__(self, crops: Tensor) -> Prediction:
            if not self.asked:
                second.wait()
            return super().__call__(crops)

    with ThreadPoolExecutor(2) as pool:
        done = list(pool.map(lambda i: label(Meets(), dataset, url, batch=64, shard=(i, 2)), range(2)))
    assert sum(d.predicted for d in done) == 12
    assert PseudoLabels.open(url, dataset, COCO17).predicted.all()


def test_a_process_that_failed_claims_nothing_any_more(tmp_path: Path) -> None:
    class Fails(Colours):
        def __call__(self, crops: Tensor) -> Prediction:
            raise RuntimeError("no memory")

    dataset, url = crowd(tmp_path / "p", 6), str(tmp_path / "s")
    with pytest.raises(RuntimeError, match="no memory"):
        label(Fails(), dataset, url)
    assert label(Colours(), dataset, url).predicted == 6
