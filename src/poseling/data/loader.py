"""From people to batches: crops in an order that a seed decides, with the pseudo-labels of each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset, Sampler

from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.files import read_image
from poseling.geometry import Crop, Size, ray_rotation

cv2.setNumThreads(
    0
)  # the loader's workers are the parallelism; OpenCV's own threads would fight with torch's


class TeacherLabels(Protocol):
    """A teacher's pseudo-labels for the samples of a data set, in the student's skeleton
    (`teachers.cache.PseudoLabels`, or those of several teachers, `teachers.ensemble.EnsembleLabels`).
    """

    @property
    def source(self) -> str:
        """Identifies the stores and how they are combined: other pseudo-labels have another source."""
        ...

    @property
    def licence(self) -> str:
        """The teacher with the licences of its code and weights, in words."""
        ...

    @property
    def behind(self) -> str:
        """All data that the teacher learned from, in words; empty if unknown."""
        ...

    @property
    def width(self) -> float:
        """How wide the Gaussians of the heatmaps are, in widths of the student's; 1 for points alone."""
        ...

    def sample(self, person: int, crop: Crop) -> dict[str, NDArray[Any]]:
        """The pseudo-label of a sample, moved into `crop`, under keys that start with `teacher_`."""
        ...


class Order:
    """The sample at each place of an endless stream of epochs: place p is the sample `order[p % N]` of epoch
    `p // N`, decided by `seed`.

    Every sample comes once an epoch, in a new order each time; or in proportion to `draws` (N,), rounded up
    or down at random in each epoch.
    """

    def __init__(self, samples: int, seed: int, draws: NDArray[np.floating] | None = None) -> None:
        self.samples, self.seed, self.draws = samples, seed, draws
        self._epoch: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def __call__(self, place: int) -> int:
        epoch, within = divmod(place, self.samples)
        if self._epoch[0] != epoch:
            self._epoch = (epoch, self._drawn(np.random.default_rng((self.seed, epoch, 0))))
        return int(self._epoch[1][within])

    def _drawn(self, random: np.random.Generator) -> NDArray[np.int64]:
        order = random.permutation(self.samples)
        if self.draws is None:
            return order
        # Systematic sampling: N evenly spaced marks along the samples' shares, laid one after the other in a
        # new order.
        ends = np.cumsum(self.draws[order].astype(np.float64))
        marks = (np.arange(self.samples) + random.random()) / self.samples * ends[-1]
        return random.permutation(
            order[np.searchsorted(ends, marks, side="right").clip(max=self.samples - 1)]
        )


class Crops(Dataset[dict[str, Any]]):
    """Samples by their place in the stream of an `Order`.

    All randomness of a sample comes from (seed, place), so it does not matter which process or worker draws
    it, or after which interruption. A sample holds image (H, W, 3) uint8; joints (K, 2) in input pixels;
    weight (K,); color_jitter (3,); person; broken: 1 for an image that cannot be read, which is then black and
    has no weight. With 3D joints also xyz (K, 3), metres from the root as the crop shows it, and
    xyz_weight (K,), 0 where unknown.
    """

    def __init__(
        self,
        dataset: PoseDataset,
        size: Size,
        padding: float,
        augment: Augment,
        seed: int,
        pseudo_labels: TeacherLabels | None = None,
        read: Callable[[Path], NDArray[np.uint8]] = read_image,
    ) -> None:
        if not len(dataset):
            raise ValueError(f"{dataset.name}: has no sample to train on")
        self.read = read
        self.dataset, self.size, self.padding, self.augment, self.seed, self.pseudo_labels = (
            dataset,
            size,
            padding,
            augment,
            seed,
            pseudo_labels,
        )
        self.person = Order(len(dataset), seed, dataset.draws)

    def __getitem__(self, place: int) -> dict[str, Any]:
        person, dataset = self.person(place), self.dataset
        random = np.random.default_rng((self.seed, place, 1))
        joints, visible = dataset.joints[person], dataset.visible[person]
        counted = (visible > 0).astype(np.float32) * (1 if dataset.weight is None else dataset.weight[person])
        crop = self.augment.crop(
            dataset.boxes[person], joints, visible, dataset.skeleton, self.size, self.padding, random
        )
        joints = crop.apply(joints).astype(np.float32)
        if crop.flipped:
            joints, visible, counted = (part[dataset.skeleton.flip] for part in (joints, visible, counted))
        try:
            image, broken = crop.warp(self.read(dataset.images[person])), 0
        except OSError:
            image, broken = np.zeros((self.size[1], self.size[0], 3), np.uint8), 1
        self.augment.occlude(image, joints, visible, random)
        sample = {
            "image": image,
            "joints": joints,
            "weight": counted * (1 - broken),
            "color_jitter": self.augment.factors(random),
            "person": person,
            "broken": broken,
        }
        if dataset.joints_3d is not None:
            sample |= places(dataset, person, crop, bool(broken))
        if self.pseudo_labels is not None:
            sample |= self.pseudo_labels.sample(person, crop)
        return sample


def places(dataset: PoseDataset, person: int, crop: Crop, broken: bool) -> dict[str, NDArray[np.float32]]:
    """The xyz and xyz_weight of a sample of a dataset with joints_3d: in the axes of a camera that looks at
    the crop's middle, where the sample's own camera is known.
    """
    assert dataset.joints_3d is not None
    xyz, known = _from_root(dataset.joints_3d[person], dataset.skeleton.root)
    if dataset.camera is not None and np.isfinite(dataset.camera[person]).all():
        middle = crop.invert((np.array(crop.size) - 1) / 2)
        xyz = (xyz @ ray_rotation(middle, dataset.camera[person])).astype(np.float32)  # by its inverse
    confidence_3d = known if dataset.confidence_3d is None else known * dataset.confidence_3d[person]
    order = dataset.skeleton.flip if crop.flipped else slice(None)
    return {
        "xyz": crop.turn(xyz)[order].astype(np.float32),
        "xyz_weight": (confidence_3d[order] * (not broken)).astype(np.float32),
    }


def _from_root(
    xyz: NDArray[np.float32], root: tuple[int, ...]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Joints (K, 3) in camera axes, 0 where unknown, as seen from the root, and which are known (K,): none
    without the root.
    """
    known = (xyz != 0).any(-1)
    known = known & known[list(root)].all()
    return np.where(known[:, None], xyz - xyz[list(root)].mean(0), 0).astype(np.float32), known.astype(
        np.float32
    )


class Stream(Sampler[int]):
    """The places `start` to `stop` of the stream, one after the other: the shuffling is the crops' own."""

    def __init__(self, start: int, stop: int) -> None:
        self.start, self.stop = start, stop

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.stop))

    def __len__(self) -> int:
        return self.stop - self.start
