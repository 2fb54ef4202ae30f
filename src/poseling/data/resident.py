"""A training set that stays on the device: every sample's surroundings are decoded once, and whole batches
are cropped, turned and mirrored there.

A GPU then waits for no decoder, and a CPU decodes each image once. For sets that fit: an image of 256 x 256
pixels takes 0.2 MB.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import default_collate

from poseling.codecs.warp import warp_maps
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Order, TeacherLabels, places
from poseling.data.packed import REACH
from poseling.files import read_image
from poseling.geometry import Crop, Size


class Images:
    """The surroundings of N people as one tensor (N, S, S, 3) uint8 RGB on a device; `matrices` (N, 2, 3)
    lead there from the pixels of the images.

    broken (N,) are images that cannot be read: they are black.
    """

    def __init__(self, dataset: PoseDataset, device: torch.device | str = "cpu", pixels: int = 256) -> None:
        count, size = len(dataset), (pixels, pixels)
        self.matrices = np.empty((count, 2, 3))
        self.broken = np.zeros(count, bool)
        self.pixels = torch.zeros((count, pixels, pixels, 3), dtype=torch.uint8, device=device)

        def read(i: int) -> None:
            crop = Crop.from_box(dataset.boxes[i], size, REACH)
            self.matrices[i] = crop.matrix
            try:
                self.pixels[i] = torch.from_numpy(crop.warp(read_image(dataset.images[i]))).to(device)
            except OSError:
                self.broken[i] = True

        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for _ in pool.map(read, range(count)):
                pass


class Resident:
    """Batches of a set on a device, as `data.loader.Crops` gives them. All randomness of a batch comes from
    (seed, step, process).

    ValueError if `augment` wants half bodies, which need each person's joints one by one.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        images: Images,
        size: Size,
        padding: float,
        augment: Augment,
        seed: int,
        pseudo_labels: TeacherLabels | None = None,
    ) -> None:
        if not len(dataset):
            raise ValueError(f"{dataset.name}: has no sample to train on")
        if augment.half_body:
            raise ValueError(
                "--half-body looks at each person by itself and does not go with --resident; leave one of "
                "them out"
            )
        self.dataset, self.images, self.size, self.padding = dataset, images, size, padding
        self.augment, self.seed, self.pseudo_labels = augment, seed, pseudo_labels
        device = images.pixels.device
        counted = (dataset.visible > 0).astype(np.float32) * (1 if dataset.weight is None else dataset.weight)
        self._weight = torch.from_numpy(counted * ~images.broken[:, None]).to(device)
        self._labelled = torch.from_numpy(dataset.visible > 0).to(device)
        self._joints = torch.from_numpy(dataset.joints).to(device)
        self._flip = torch.from_numpy(dataset.skeleton.flip).to(device)
        self._person = Order(len(dataset), seed, dataset.draws)

    def batches(
        self, start: int, steps: int, batch: int, shard: tuple[int, int] = (0, 1)
    ) -> Iterator[dict[str, Tensor]]:
        """The batches of the steps from `start` on; of each the part i of n for `shard` (i, n)."""
        which, of = shard
        for step in range(start, steps):
            rows = np.array([self._person(place) for place in range(step * batch, (step + 1) * batch)])
            yield self.batch(rows[which::of], np.random.default_rng((self.seed, step, which, 2)))

    @torch.no_grad()
    def batch(self, rows: NDArray[np.int64], random: np.random.Generator) -> dict[str, Tensor]:
        """The people `rows` (B,), each cropped at random."""
        dataset, device = self.dataset, self.images.pixels.device
        matrices, flipped = self.augment.matrices(dataset.boxes[rows], self.size, self.padding, random)
        color_jitter = random.uniform(
            1 - self.augment.color_jitter, 1 + self.augment.color_jitter, (len(rows), 3)
        ).astype(np.float32)
        hidden, where = random.random(len(rows)) < self.augment.occlusion, random.random(len(rows))
        reach, colour = random.uniform(0.04, 0.12, (len(rows), 2)), random.integers(0, 256, (len(rows), 3))
        # From the input's pixels to the stored image's.
        linear = np.linalg.inv(matrices[:, :, :2])
        stored = self.images.matrices[rows]
        back = np.concatenate(
            [stored[:, :, :2] @ linear, stored[:, :, 2:] - stored[:, :, :2] @ linear @ matrices[:, :, 2:]], 2
        )

        index, there = torch.from_numpy(rows).to(device), torch.from_numpy(flipped).to(device)
        images = sampled(
            self.images.pixels[index], torch.from_numpy(back).to(device, torch.float32), self.size
        )
        matrix = torch.from_numpy(matrices).to(device, torch.float32)
        joints = self._joints[index] @ matrix[:, :, :2].transpose(1, 2) + matrix[:, None, :, 2]
        weight, labelled = self._weight[index], self._labelled[index]
        joints = torch.where(there[:, None, None], joints[:, self._flip], joints)
        weight = torch.where(there[:, None], weight[:, self._flip], weight)
        labelled = torch.where(there[:, None], labelled[:, self._flip], labelled)
        if self.augment.occlusion:
            part = torch.from_numpy(reach * np.array(self.size)).to(device, torch.float32)
            chosen = _nth(labelled, torch.from_numpy(where).to(device))
            middle = joints[torch.arange(len(rows), device=device), chosen]
            covered = (
                _rectangles(middle - part, middle + part, self.size)
                & (torch.from_numpy(hidden).to(device) & labelled.any(1))[:, None, None]
            )
            images = torch.where(
                covered[..., None], torch.from_numpy(colour).to(images)[:, None, None], images
            )
        batch = {
            "image": images,
            "joints": joints,
            "weight": weight,
            "color_jitter": torch.from_numpy(color_jitter).to(device),
            "person": index,
            "broken": torch.from_numpy(self.images.broken[rows].astype(np.int64)).to(device),
        }
        if (
            dataset.joints_3d is not None or self.pseudo_labels is not None
        ):  # small and on the CPU, one by one, as `Crops` does it
            more = []
            for row, affine, mirrored in zip(rows.tolist(), matrices, flipped.tolist(), strict=True):
                crop = Crop(affine, self.size, mirrored)
                sample = (
                    {}
                    if dataset.joints_3d is None
                    else places(dataset, row, crop, bool(self.images.broken[row]))
                )
                more.append(
                    sample if self.pseudo_labels is None else sample | self.pseudo_labels.sample(row, crop)
                )
            batch |= {name: value.to(device) for name, value in default_collate(more).items()}
        return batch


def sampled(images: Tensor, matrix: Tensor, size: Size) -> Tensor:
    """Images (B, h, w, 3) uint8 seen through affines (B, 2, 3) from the pixels of an input of `size` (W, H)
    to theirs: (B, H, W, 3) floats of 0..255, bilinear, black where they end.
    """
    return warp_maps(images.permute(0, 3, 1, 2).float(), matrix, size).permute(0, 2, 3, 1)


def _nth(labelled: Tensor, where: Tensor) -> Tensor:
    """(B,) the joint at the part `where` (B,) of 0..1 of each person's labelled joints (B, K); joint 0 where
    there is none.
    """
    wanted = (where * labelled.sum(1)).long()
    return ((labelled.cumsum(1) - 1) == wanted[:, None]).logical_and(labelled).int().argmax(1)


def _rectangles(low: Tensor, high: Tensor, size: Size) -> Tensor:
    """(B, H, W) which pixels lie between the corners (B, 2)."""
    x, y = torch.arange(size[0], device=low.device), torch.arange(size[1], device=low.device)
    across = (x >= low[:, :1]) & (x < high[:, :1])
    down = (y >= low[:, 1:]) & (y < high[:, 1:])
    return down[:, :, None] & across[:, None, :]
