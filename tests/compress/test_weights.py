"""Weights in fewer bits, as ONNX Runtime reads them."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from poseling.compress.command import exported
from poseling.compress.weights import blocks, stored


def test_a_block_is_rounded_to_fifteen_steps():
    weight = np.random.default_rng(0).normal(size=(8, 16, 2, 2)).astype(np.float32)
    whole, scale = blocks(weight)
    assert whole.shape == (16, 32)
    assert scale.shape == (16, 1)
    assert np.abs(whole).max() == 7
    error = np.square(whole * scale - weight.reshape(16, 32)).sum(1)
    top = np.abs(weight.reshape(16, 32)).max(1, keepdims=True) / 7
    plain = np.square(np.rint(weight.reshape(16, 32) / top) * top - weight.reshape(16, 32)).sum(1)
    assert (error <= plain + 1e-3).all()
    assert error.sum() < 0.95 * plain.sum()  # cutting a little loses less


@pytest.mark.parametrize(
    ("bits", "size", "apart"), [("fp16", 0.55, 1e-3), ("bf16", 0.55, 1e-2), ("int4", 0.50, 0.2)]
)
def test_the_file_is_smaller_and_says_nearly_the_same(network, spec, crops, bits, size, apart):
    model = exported(network, spec)
    small = stored(model, bits)
    weights = sum(len(t.SerializeToString()) for t in model.graph.initializer)
    assert sum(len(t.SerializeToString()) for t in small.graph.initializer) < size * weights + 3000
    scores = []
    for one in (model, small):
        session = onnxruntime.InferenceSession(one.SerializeToString(), providers=["CPUExecutionProvider"])
        scores.append(session.run(["score"], {"crops": crops})[0])
    assert np.abs(scores[0] - scores[1]).max() <= apart * np.abs(scores[0]).max()
    assert {p.key: p.value for p in small.metadata_props} == {p.key: p.value for p in model.metadata_props}


def test_bf16_is_the_nearest_half_of_a_float(network, spec, crops):
    import torch

    values = np.random.default_rng(1).normal(size=(4, 100)).astype(np.float32)
    from poseling.compress.weights import _brain

    packed = np.frombuffer(_brain(values, "w").raw_data, np.uint16)
    assert np.array_equal(
        packed.view(np.int16), torch.from_numpy(values).bfloat16().view(torch.int16).numpy().reshape(-1)
    )
