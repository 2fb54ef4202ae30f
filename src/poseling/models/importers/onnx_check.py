"""An imported network beside ONNX Runtime, on the same images."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from poseling.codecs.normalize import normalise
from poseling.models.importers.onnx_file import Array, session
from poseling.models.importers.onnx_graph import BOUND, Read
from poseling.spec import PoseSpec


@torch.inference_mode()
def difference(
    found: Read,
    spec: PoseSpec,
    crops: NDArray[np.uint8],
    channels: Sequence[int] | None = None,
    bound: float = BOUND,
) -> float:
    """How far the network and ONNX Runtime are apart on `crops` (N, H, W, 3) uint8 RGB: the mean difference,
    as a part of the output's range.

    `channels` of the file's output that the network still has. ValueError that names the file and the first
    tensor that differs, if anywhere by more than `bound` of its range.
    """
    network = found.network.eval()
    images = normalise(torch.from_numpy(crops), spec)
    output = network.graph.output
    [theirs] = _outputs(found, images, [output])
    ours = network(images)[:, 0].numpy()
    apart = _apart(ours, theirs if channels is None else theirs[:, list(channels)])
    if apart.max() <= bound:
        return float(apart.mean())
    values = {
        n: v for n, v in network.values(images).items() if isinstance(v, Tensor) and v.is_floating_point()
    }
    there = {o for n in found.model.graph.node for o in n.output}
    names = [n for o in network.graph.operations for n in o.outputs if n in values and n in there]
    for name, expected in zip(names, _outputs(found, images, names), strict=True):
        value = values[name].numpy()
        if value.shape != expected.shape or _apart(value, expected).max() > bound:
            break
    raise ValueError(
        f"{found.path}: torch and ONNX Runtime differ by {apart.max():.2g} of the range of {output}, more "
        f"than {bound:g}; the first tensor that differs is "
        f"{name}. Name an earlier one with --until, and report it"
    )


def _apart(ours: Array, theirs: Array) -> Array:
    return np.abs(ours - theirs) / max(float(theirs.max() - theirs.min()), 1e-12)


def _outputs(found: Read, images: Tensor, names: Sequence[str]) -> list[Array]:
    """What ONNX Runtime gives for these tensors of the file."""
    model = onnx.ModelProto()
    model.CopyFrom(found.model)
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    run, fed = session(model).run, found.fed(images)
    step = found.batch or len(fed)
    filled = np.concatenate([fed, *[fed[-1:]] * (-len(fed) % step)])
    parts = [run(list(names), {found.input: filled[i : i + step]}) for i in range(0, len(filled), step)]
    return [np.concatenate(part)[: len(fed)] for part in zip(*parts, strict=True)]
