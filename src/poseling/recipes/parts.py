"""The samples of an experiment: to train on, to choose by (curves), and to test on, once, at the end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from poseling.data import sets
from poseling.data.dataset import PoseDataset
from poseling.recipes.config import TrainConfig
from poseling.skeleton import Skeleton

SMOKE_SAMPLES = 32


def parts(
    config: TrainConfig, skeleton: Skeleton | None
) -> tuple[sets.Sources, PoseDataset, PoseDataset, PoseDataset]:
    """The sets of --data, and of them the samples to train on, to choose by and to test on, in `skeleton`
    where one is given; few of each with --smoke.

    Of sets without test samples every tenth image is kept apart for testing, and of sets without validation
    samples another tenth. ValueError where --root is given without --data, or for a single image.
    """
    if config.root and not config.data:
        raise ValueError(
            f"--root {config.root[0]} needs --data, which names the sets in it: {sets.names('train')}"
        )
    found = _split(sets.load_all(config.data or ("mini",), config.root, skeleton, config.files))
    train, val, test = found.train, found.val, found.test
    assert val is not None
    assert test is not None
    if config.smoke:
        train, val, test = train[:SMOKE_SAMPLES], val[: SMOKE_SAMPLES // 2], test[: SMOKE_SAMPLES // 2]
    return found, train, val, test


def _split(found: sets.Sources) -> sets.Sources:
    if found.test is not None and found.val is not None:
        return found
    place = {image: i for i, image in enumerate(dict.fromkeys(found.train.images))}
    if len(place) < 2:
        raise ValueError(
            f"{found.train.images[0]}: is the only image, but some have to be kept apart for testing; give "
            f"more"
        )
    tenth: NDArray[np.int64] = np.array([place[image] % 10 for image in found.train.images])
    test, val = (tenth == 1) & (found.test is None), (tenth == 6) & (found.val is None)
    if not val.any() and found.val is None:
        val = test if test.any() else tenth == 0  # too few images for another part
    away = test | val
    return replace(
        found,
        train=found.train[~away],
        origin=found.origin[~away],
        val=found.val if found.val is not None else found.train[val],
        test=found.test if found.test is not None else found.train[test],
    )
