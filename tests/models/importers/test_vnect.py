"""The weights of VNect's authors: random ones in the layout that the scripts of others write, against the
network layer by layer.
"""

import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from poseling.cli import main
from poseling.models import checkpoint
from poseling.models.importers import vnect
from poseling.skeleton import VNECT21

BLOCKS = {2: "abc", 3: "abcd", 4: "abcdef"}


@pytest.fixture(scope="module")
def arrays():
    """Numbers in the shapes (h, w, in, out), and (h, w, out, in) of what goes up, under the names of the
    public weights.
    """
    draw, made = np.random.default_rng(0), OrderedDict()

    def kernel(name, *shape):
        made[name] = (
            draw.standard_normal(shape, np.float32) * np.sqrt(1 / (shape[0] * shape[1] * shape[2]))
        ).astype(np.float32)

    def layer(name, *shape):
        kernel(f"{name}/weights", *shape)
        made[f"{name}/biases"] = (draw.standard_normal(shape[3], np.float32) * 0.1).astype(np.float32)

    layer("conv1", 7, 7, 3, 64)
    before = 64
    for stage, blocks in BLOCKS.items():
        width = 16 * 2**stage
        for block in blocks:
            if block == "a":
                layer(f"res{stage}a_branch1", 1, 1, before, 4 * width)
            layer(f"res{stage}{block}_branch2a", 1, 1, before, width)
            layer(f"res{stage}{block}_branch2b", 3, 3, width, width)
            layer(f"res{stage}{block}_branch2c", 1, 1, width, 4 * width)
            before = 4 * width
    layer("res5a_branch2a_new", 1, 1, 1024, 512)
    layer("res5a_branch2b_new", 3, 3, 512, 512)
    layer("res5a_branch2c_new", 1, 1, 512, 1024)
    layer("res5a_branch1_new", 1, 1, 1024, 1024)
    layer("res5b_branch2a_new", 1, 1, 1024, 256)
    layer("res5b_branch2b_new", 3, 3, 256, 128)
    layer("res5b_branch2c_new", 1, 1, 128, 256)
    kernel("res5c_branch1a/kernel", 4, 4, 63, 256)
    kernel("res5c_branch2a/kernel", 4, 4, 128, 256)
    for name, low in (("gamma", 0.5), ("beta", -0.5), ("moving_mean", -0.5), ("moving_variance", 0.5)):
        made[f"bn5c_branch2a/{name}"] = draw.uniform(low, low + 1, 128).astype(np.float32)
    layer("res5c_branch2b", 3, 3, 128 + 84, 128)
    kernel("res5c_branch2c/kernel", 1, 1, 128, 84)
    return made


def answer(arrays, images, least):
    """H, X, Y, Z, dX, dY, dZ (B, 21, 7, h, w) as the authors' Caffe network gives them, layer by layer,
    without batch norm but one. `least` is the length of a bone without any, 0 with them.
    """

    def conv(name, x, stride=1, relu=True):
        kernel = torch.from_numpy(arrays[f"{name}/weights"]).permute(3, 2, 0, 1)
        y = F.conv2d(x, kernel, torch.from_numpy(arrays[f"{name}/biases"]), stride, kernel.shape[-1] // 2)
        return y.relu() if relu else y

    def block(name, shortcut, x, stride=1, new=""):
        y = conv(f"{name}_branch2a{new}", x, stride)
        y = conv(f"{name}_branch2c{new}", conv(f"{name}_branch2b{new}", y), relu=False)
        return (y + (conv(f"{name}_branch1{new}", x, stride, relu=False) if shortcut else x)).relu()

    x = conv("conv1", images, 2)
    x = F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 3, 2)  # Caffe's rounds up: the last window reaches over the edge
    for stage, blocks in BLOCKS.items():
        for letter in blocks:
            x = block(f"res{stage}{letter}", letter == "a", x, 2 if letter == "a" and stage > 2 else 1)
    x = block("res5a", True, x, new="_new")
    for part in "abc":
        x = conv(f"res5b_branch2{part}_new", x)
    up = [
        F.conv_transpose2d(
            x, torch.from_numpy(arrays[f"res5c_branch{b}a/kernel"]).permute(3, 2, 0, 1), stride=2, padding=1
        )
        for b in "12"
    ]
    mean, variance, gamma, beta = (
        torch.from_numpy(arrays[f"bn5c_branch2a/{p}"])
        for p in ("moving_mean", "moving_variance", "gamma", "beta")
    )
    features = F.batch_norm(up[1], mean, variance, gamma, beta).relu()
    vectors = torch.stack(up[0].chunk(3, 1))
    x = conv("res5c_branch2b", torch.cat((features, up[0], (vectors.square().sum(0) + least**2).sqrt()), 1))
    maps = torch.einsum("io,bihw->bohw", torch.from_numpy(arrays["res5c_branch2c/kernel"][0, 0]), x)
    return torch.stack((*maps.chunk(4, 1), *vectors), 2)


def python2(arrays):
    """A pickle of arrays as Python 2 wrote it, protocol 2: bytes are strings there, and the class of dicts is
    OrderedDict.
    """

    def text(string):
        return b"T" + struct.pack("<i", len(string)) + string

    def whole(number):
        return b"J" + struct.pack("<i", number)

    dtype = (
        b"cnumpy\ndtype\n("
        + text(b"f4")
        + whole(0)
        + whole(1)
        + b"tR("
        + whole(3)
        + text(b"<")
        + b"NNN"
        + whole(-1) * 2
        + whole(0)
        + b"tb"
    )
    out = b"\x80\x02ccollections\nOrderedDict\n)R"
    for name, array in arrays.items():
        shape = b"(" + b"".join(whole(n) for n in array.shape) + b"t"
        empty = (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n("
            + whole(0)
            + b"t"
            + text(b"b")
            + b"tR"
        )
        out += (
            text(name.encode())
            + empty
            + b"("
            + whole(1)
            + shape
            + dtype
            + b"\x89"
            + text(array.tobytes())
            + b"tbs"
        )
    return out + b"."


def turned(arrays):
    """As the scripts do it: the axes of a Caffe array turned, not copied."""
    return {
        name: np.ascontiguousarray(a.transpose(3, 2, 0, 1)).transpose(2, 3, 1, 0) if a.ndim == 4 else a
        for name, a in arrays.items()
    }


def written(path, arrays, how):
    if how == "npz":
        np.savez(path.with_suffix(".npz"), **arrays)
        return path.with_suffix(".npz")
    path.write_bytes(
        python2(arrays)
        if how == "python 2"
        else pickle.dumps(turned(arrays) if how == 2 else OrderedDict(arrays), how)
    )
    return path


@pytest.mark.parametrize("how", ["npz", "python 2", 2, 3, 5])
def test_public_weights_are_read(tmp_path, how):
    draw = np.random.default_rng(0)
    arrays = {
        name: draw.standard_normal(shape, np.float32)
        for name, shape in (("conv1/weights", (7, 7, 3, 2)), ("conv1/biases", (2,)))
    }
    found = vnect._arrays(written(tmp_path / "vnect.pkl", arrays, how))
    assert found.keys() == arrays.keys()
    assert all(np.array_equal(found[name], arrays[name]) for name in arrays)


def test_public_weights_answer_as_they_did_in_caffe_in_metres(tmp_path, arrays):
    """Their unit is 10 cm."""
    network = vnect.load_vnect(written(tmp_path / "vnect.pkl", arrays, 5))
    images = torch.rand(2, 3, 64, 48, generator=torch.Generator().manual_seed(0)) - 0.4
    with torch.no_grad():
        found = network(images)
        expected, rounded = (
            answer(arrays, images, least) for least in (0, 0.01)
        )  # a millimetre in their unit
    metres = torch.tensor([1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1])[:, None, None]
    assert found.shape == (2, 1, 21, 7, 8, 6)
    assert expected.std((0, 1, 3, 4)).min() > 0.1
    assert torch.allclose(found[:, 0] / metres, rounded, atol=1e-4)
    assert torch.allclose(found[:, 0] / metres, expected, atol=1e-2)


def test_a_file_becomes_a_checkpoint(tmp_path, arrays, capsys):
    file = written(tmp_path / "vnect.pkl", arrays, 3)
    main(f"import {file} --network vnect-50".split())
    assert "vnect.safetensors: vnect-50, vnect21" in capsys.readouterr().out.replace("\n", "")
    network, spec = checkpoint.load(tmp_path / "vnect.safetensors")
    assert torch.equal(network.head.up.weight, vnect.load_vnect(file).head.up.weight)
    assert (spec.skeleton, spec.size, spec.colour, spec.mean, spec.std) == (
        VNECT21,
        (368, 368),
        "bgr",
        (0.4,) * 3,
        (1.0,) * 3,
    )
    assert (spec.codec["name"], spec.codec["height"], spec.codec["stride"]) == ("location_map", 0.92, 8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"conv1/weights": None}, "it lacks conv1/weights; make it again with caffe2pkl.py"),
        (
            {"res2a_branch1/biases": np.zeros(3, np.float32)},
            r"res2a_branch1/biases is \(3,\), which does not fit \(256,\)",
        ),
        (
            {"res4g_branch2a/weights": np.zeros(3, np.float32)},
            "res4g_branch2a/weights is none of its weights",
        ),
        ({"conv1/weights": np.arange(3)}, "holds something else than arrays of numbers"),
        ({"conv1/weights": [1.0]}, "holds something else than arrays of numbers"),
        ({"conv1/weights": pickle.Pickler}, "is no whole file of numbers .*_pickle.Pickler"),
    ],
)
def test_public_weights_that_do_not_fit(tmp_path, arrays, change, message):
    few = {
        name: array if array.ndim == 1 else np.broadcast_to(np.float32(0), array.shape)
        for name, array in arrays.items()
    }
    few = {name: array for name, array in (few | change).items() if array is not None}
    path = tmp_path / "vnect.pkl"
    path.write_bytes(pickle.dumps(few))
    with pytest.raises(ValueError, match=message):
        vnect.load_vnect(path)


def test_bad_public_weights_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"vnect\.pkl is not there; name a \.pkl or \.npz file"):
        vnect.load_vnect(tmp_path / "vnect.pkl")
    for name, content, message in (
        ("vnect.caffemodel", b"", "come from .pkl or .npz files; caffe2pkl.py of XinArkh/VNect makes one"),
        ("cut.pkl", pickle.dumps({"conv1/weights": np.zeros(9)})[:-20], r"cut\.pkl: is no whole file"),
        ("cut.npz", b"PK\x03\x04", r"cut\.npz is cut short"),
        ("list.pkl", pickle.dumps([np.zeros(9)]), "holds something else than arrays of numbers by name"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=message):
            vnect.load_vnect(tmp_path / name)
