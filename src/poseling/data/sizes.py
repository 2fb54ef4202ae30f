"""Images whose size is not the annotated one: resized or rotated after they were labelled, so that no label
is where its joint is.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from poseling.data.dataset import Finding, Instances, PoseDataset
from poseling.data.images import image_size
from poseling.geometry import Size

KIND = "other size"
How = Literal["resized", "turned", "of another shape"]


def compare(annotated: tuple[float, float], actual: Size) -> How | None:
    """How an image (W, H) differs from its annotated size, None if it does not, or no size is annotated.

    >>> [compare((640, 480), actual) for actual in ((320, 240), (480, 640), (640, 360), (640, 480))]
    ['resized', 'turned', 'of another shape', None]
    """
    if not np.isfinite(annotated).all() or tuple(annotated) == tuple(actual):
        return None
    if _one_factor(annotated, actual):
        return "resized"
    return "turned" if _one_factor((annotated[1], annotated[0]), actual) else "of another shape"


def describe(how: How, annotated: tuple[float, float], actual: Size) -> str:
    """One line: the sizes, and what to do."""
    advice = {
        "resized": "labels can be scaled: poseling evaluate --rescale",
        "turned": "rotate it back, or remove its EXIF orientation if the labels ignore that",
        "of another shape": "take the image that was labelled",
    }
    return (
        f"annotated with {annotated[0]:g} x {annotated[1]:g} pixels, the image has {actual[0]} x {actual[1]}, "
        f"it is {how}; {advice[how]}"
    )


def differing(dataset: PoseDataset) -> list[Finding]:
    """A finding for each image that can be read and does not have the annotated size."""
    found = []
    for path, (annotated, actual) in _sizes(dataset).items():
        if how := compare(annotated, actual):
            found.append(Finding(KIND, path, None, describe(how, annotated, actual)))
    return found


def rescaled(dataset: PoseDataset) -> PoseDataset:
    """The same people where the images that were resized show them: boxes, joints, head sizes and
    cameras, and of the truth boxes, joints and areas as well. A pixel's centre stays a centre: x becomes
    (x + 0.5) s - 0.5. Images that differ in another way are left as they are.
    """
    actual = {
        path: size
        for path, (annotated, size) in _sizes(dataset).items()
        if compare(annotated, size) == "resized"
    }
    if not actual or dataset.sizes is None:
        return dataset
    factor = np.ones((len(dataset), 2))
    for i, path in enumerate(dataset.images):
        if path in actual:
            factor[i] = np.array(actual[path]) / dataset.sizes[i]
    boxes = _moved(dataset.boxes.reshape(-1, 2, 2), factor).reshape(-1, 4)
    joints = np.where(dataset.visible[..., None] > 0, _moved(dataset.joints, factor), 0)
    head = (
        None
        if dataset.head_size is None
        else (dataset.head_size * np.sqrt(factor.prod(1))).astype(np.float32)
    )
    camera = dataset.camera
    if camera is not None:
        camera = np.concatenate(
            [camera[:, :2] * factor, _moved(camera[:, None, 2:], factor)[:, 0]], 1
        ).astype(np.float32)
    sizes = (dataset.sizes * factor).astype(np.float32)
    moved = replace(
        dataset,
        boxes=boxes.astype(np.float32),
        joints=joints.astype(np.float32),
        head_size=head,
        camera=camera,
        sizes=sizes,
    )
    return replace(moved, instances=_truth_rescaled(dataset, factor))


def _truth_rescaled(dataset: PoseDataset, factor: NDArray[np.float64]) -> Instances | None:
    """The instances of the people, whose images were scaled by factor (N, 2)."""
    instances = dataset.instances
    if instances is None:
        return None
    truth, by_image = instances.truth, dict(zip(instances.image.tolist(), factor, strict=True))
    scale = np.array([by_image.get(i, np.ones(2)) for i in truth.image.tolist()]).reshape(-1, 2)
    corner = _moved(truth.boxes[:, None, :2], scale)[:, 0]
    joints = np.where(truth.visible[..., None] > 0, _moved(truth.joints, scale), 0)
    images = dict(truth.images)
    for i, (x, y) in by_image.items():
        name, width, height = images[i]
        images[i] = name, width * x, height * y
    boxes = np.concatenate([corner, truth.boxes[:, 2:] * scale], 1)
    truth = replace(truth, boxes=boxes, joints=joints, area=truth.area * scale.prod(1), images=images)
    return replace(instances, truth=truth)


def _moved(points: NDArray[np.floating], factor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points (N, K, 2) where they are after each one's image was scaled by factor (N, 2)."""
    return np.asarray((points + 0.5) * factor[:, None] - 0.5, np.float64)


def _one_factor(annotated: tuple[float, float], actual: Size) -> bool:
    """Whether both sides were multiplied by one number, to the pixel that rounding may take."""
    (width, height), (w, h) = annotated, actual
    return abs(height * w / width - h) <= 1 or abs(width * h / height - w) <= 1


def _sizes(dataset: PoseDataset) -> Mapping[Path, tuple[tuple[float, float], Size]]:
    """The annotated and the actual size by image; without those that have no annotated size or
    that cannot be read.
    """
    found: dict[Path, tuple[tuple[float, float], Size]] = {}
    if dataset.sizes is None:
        return found
    for path, size in zip(dataset.images, dataset.sizes.tolist(), strict=True):
        if path in found or not np.isfinite(size).all():
            continue
        try:
            found[path] = (size[0], size[1]), image_size(path)
        except OSError:  # reported by the code that reads it
            continue
    return found
