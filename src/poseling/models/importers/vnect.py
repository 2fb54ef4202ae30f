"""The weights that VNect's authors trained, into our VNect: from files that others' scripts make of their
Caffe model.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from poseling.models.backbones.resnet import BLOCKS
from poseling.models.vnect import VNect
from poseling.pickled import read_pickle

# How many joints the authors' network knows, and its unit in metres.
JOINTS, UNIT = 21, 0.1


def load_vnect(path: Path) -> VNect:
    """`vnect-50` with 21 joints and the weights of VNect's authors, in eval mode: its output is that of
    theirs in Caffe does, but in metres.

    `path` is a .pkl or .npz file of arrays by name, as caffe2pkl.py of XinArkh/VNect or
    caffe_weights_to_pickle.py of timctho/VNect-tensorflow makes it of the Caffe model that the authors give
    on request. It was trained on 368x368 images in BGR of which, scaled to 0..1, 0.4 is taken away; its
    metres are those of a person with 0.92 m from knee to neck. Batch norm is inside of its convolutions, but
    in block 5c: it can teach, and not be trained further.

    FileNotFoundError; ValueError that names the file if it is cut, holds more than arrays, or does not fit.
    """
    arrays, names = _arrays(path), _public_names()
    missing, strange = (
        [name for name in names.values() if name not in arrays],
        sorted(set(arrays) - set(names.values())),
    )
    if missing or strange:
        what = f"it lacks {missing[0]}" if missing else f"{strange[0]} is none of its weights"
        raise ValueError(
            f"{path} does not hold VNect's weights: {what}; make it again with caffe2pkl.py of XinArkh/VNect"
        )
    network = VNect(JOINTS)
    state = network.state_dict()
    for name, public in names.items():
        tensor = torch.from_numpy(arrays[public].astype(np.float32))
        if tensor.ndim == 4:
            tensor = tensor.permute(
                3, 2, 0, 1
            )  # TensorFlow's (h, w, in, out), and (h, w, out, in) of what goes up
        if tensor.shape != state[name].shape:
            raise ValueError(
                f"{path} does not hold VNect's weights: {public} is {tuple(arrays[public].shape)}, which "
                f"does not fit {tuple(state[name].shape)}"
            )
        state[name] = tensor.contiguous()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and f"{name}.weight" not in names:
            state[f"{name}.weight"].fill_(
                math.sqrt(1 + module.eps)
            )  # so that with mean 0 and variance 1 it only adds
    state["head.maps.weight"][JOINTS:] *= UNIT
    state["head.vectors.weight"] *= UNIT
    state["head.res5c.0.weight"][:, -4 * JOINTS :] /= UNIT
    network.load_state_dict(state)
    return network.eval()


def _arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a .npz or .pkl file by name."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there; name a .pkl or .npz file with VNect's weights")
    if path.suffix == ".npz":
        try:
            with np.load(path, allow_pickle=False) as file:
                found: Any = dict(file)
        except Exception as error:  # zipfile and NumPy raise many kinds
            raise ValueError(
                f"{path} is cut short or holds more than arrays ({error}); make it again"
            ) from error
    elif path.suffix == ".pkl":
        found = read_pickle(path)
    else:
        raise ValueError(
            f"{path}: VNect's weights come from .pkl or .npz files; caffe2pkl.py of XinArkh/VNect makes one "
            f"of a .caffemodel"
        )
    if not isinstance(found, dict) or not all(
        isinstance(a, np.ndarray) and a.dtype.kind == "f" for a in found.values()
    ):
        raise ValueError(
            f"{path} holds something else than arrays of numbers by name; make it again with caffe2pkl.py of "
            f"XinArkh/VNect"
        )
    return found


def _public_names() -> dict[str, str]:
    """Our name of each weight, to that in the files made of the authors' Caffe model."""
    layers = {"backbone.conv1": ("backbone.bn1", "conv1"), "head.res5c.0": ("head.res5c.1", "res5c_branch2b")}
    for stage, blocks in enumerate(BLOCKS[50][:3], 1):
        for block in range(blocks):
            ours, theirs = f"backbone.layer{stage}.{block}", f"res{stage + 1}{'abcdef'[block]}_branch"
            for i, letter in enumerate("abc", 1):
                layers[f"{ours}.conv{i}"] = (f"{ours}.bn{i}", f"{theirs}2{letter}")
            if block == 0:
                layers[f"{ours}.downsample.0"] = (f"{ours}.downsample.1", f"{theirs}1")
    for name in ("res5a", "res5b"):
        for i, letter in enumerate("abc"):
            layers[f"head.{name}.{i}.0"] = (f"head.{name}.{i}.1", f"{name}_branch2{letter}_new")
    layers["head.shortcut.0"] = ("head.shortcut.1", "res5a_branch1_new")
    names = {
        "head.vectors.weight": "res5c_branch1a/kernel",
        "head.up.weight": "res5c_branch2a/kernel",
        "head.maps.weight": "res5c_branch2c/kernel",
    }
    for conv, (norm, theirs) in layers.items():
        names |= {f"{conv}.weight": f"{theirs}/weights", f"{norm}.bias": f"{theirs}/biases"}
    for ours, theirs in (
        ("weight", "gamma"),
        ("bias", "beta"),
        ("running_mean", "moving_mean"),
        ("running_var", "moving_variance"),
    ):
        names[f"head.norm.{ours}"] = f"bn5c_branch2a/{theirs}"
    return names
