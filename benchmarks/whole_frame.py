"""How best to crop an image without a box, by how much of it the person fills: LSP's validation samples, in
their images and in larger blurred images around them.

    python benchmarks/whole_frame.py --root ../shared/data --model ../shared/peers/movenet-lightning.onnx

PCK@0.2 of the torso, over the joints that network and labels share. Four ways: the image as a box with the
padding of 1.25, as training once had it; the image itself; that and closer crops; and `runtime.Network`,
which also searches parts of the image if the score is low.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from poseling.data import lsp
from poseling.evaluate.pck import distances, torso_length
from poseling.files import read_image
from poseling.geometry import whole_box
from poseling.pose import Pose
from poseling.runtime import Network
from poseling.runtime import network as runtime
from results import write

PARTS = (1, 2, 3)  # the person fills this fraction of the width and of the height
RESAMPLES = 1000
Look = Callable[[Network, NDArray[np.uint8]], Pose]


def padded(network: Network, image: NDArray[np.uint8]) -> Pose:
    """One run on a crop larger than the image."""
    factor = 1.25 / network.spec.padding
    return network(image, [_scaled(image, factor)], "rgb")


def once(network: Network, image: NDArray[np.uint8]) -> Pose:
    """One run on the image."""
    return network(image, [_scaled(image, 1 / network.spec.padding)], "rgb")


def nearer(network: Network, image: NDArray[np.uint8]) -> Pose:
    """The image, and then closer crops."""
    return network._nearer(image, once(network, image), "rgb")


def at_work(network: Network, image: NDArray[np.uint8]) -> Pose:
    """`Network()` itself."""
    return network(image, colour="rgb")


WAYS: dict[str, Look] = {"padded": padded, "once": once, "nearer": nearer, "network": at_work}


def _scaled(image: NDArray[np.uint8], factor: float) -> NDArray[np.float64]:
    x0, y0, x1, y1 = whole_box((image.shape[1], image.shape[0]), 1.0)
    middle, half = np.array([x0 + x1, y0 + y1]) / 2, factor * np.array([x1 - x0, y1 - y0]) / 2
    return np.concatenate([middle - half, middle + half])


def placed(
    image: NDArray[np.uint8], parts: int, random: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The image placed in one that is `parts` times as large, and its position there."""
    height, width = image.shape[:2]
    around = (
        np.asarray(cv2.blur(cv2.resize(image, (parts * width, parts * height)), (31, 31)), np.uint8)
        if parts > 1
        else image.copy()
    )
    x, y = (int(random.integers(0, (parts - 1) * side + 1)) for side in (width, height))
    around[y : y + height, x : x + width] = image
    return around, np.array([x, y])


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="the folder that holds lsp/")
    parser.add_argument("--model", required=True)
    parser.add_argument("--dry", action="store_true", help="print the numbers and keep none")
    flags = parser.parse_args()
    network, dataset = Network(flags.model, threads=1), lsp.val(flags.root)
    how = network.spec.skeleton.to(dataset.skeleton)
    seen = (dataset.visible > 0) & how.known
    torso = torso_length(dataset.joints, dataset.visible, dataset.skeleton)
    random, rows = np.random.default_rng(0), list[dict[str, Any]]()
    for parts in PARTS:
        found = {way: np.zeros_like(dataset.joints) for way in WAYS}
        for i in range(len(dataset)):
            image, corner = placed(read_image(dataset.images[i]), parts, random)
            for way, look in WAYS.items():
                found[way][i] = how.joints(look(network, image).xy[0]) - corner
        for way in WAYS:
            near = distances(found[way], dataset.joints, seen, torso)
            right, counted = np.nansum(near <= 0.2, 1), np.isfinite(near).sum(1)
            drawn = random.integers(0, len(dataset), (RESAMPLES, len(dataset)))
            spread = 1.96 * float(np.std(right[drawn].sum(1) / counted[drawn].sum(1)))
            row = {
                "name": f"{way}.1_of_{parts}",
                "value": float(right.sum() / counted.sum()),
                "unit": "PCK@0.2",
                "spread": spread,
            }
            print(f"{row['name']}: {row['value']:.3f} +- {spread:.3f}", flush=True)
            rows.append(row)
    if not flags.dry:
        notes = f"{len(dataset)} people of LSP's validation split; {network.name}; a spread is 1.96 standard deviations over people drawn anew; sure from {runtime.SMALL}."
        write("whole_frame", rows, notes=notes)


if __name__ == "__main__":
    main()
