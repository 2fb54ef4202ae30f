"""Learning to be rounded: what is learnt is what will run."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from poseling.codecs.normalize import normalise
from poseling.compress import quantize, start
from poseling.compress.command import ending, exported
from poseling.compress.qat import plain, rounding
from poseling.compress.weights import blocks, stored
from poseling.export.onnx import Deployed


def test_it_rounds_as_onnx_runtime_does(network, spec, crops):
    network, _ = start.as_graph(Deployed(network, spec).eval())
    model = exported(network, spec)
    output = ending(model)
    plan = quantize.plan(model, output)
    limits = quantize.ranges(model, plan.tensors, crops, "minmax")
    assert set(plan.tensors) <= {name for o in network.graph.operations for name in o.outputs}
    rounded = rounding(network, limits).eval()
    made = quantize.quantised(model, plan, limits)
    made.graph.output.add().name = output
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    theirs = session.run([output], {"crops": crops})[0]
    with torch.no_grad():
        mine = rounded(normalise(torch.from_numpy(crops), spec))[:, 0].numpy()
        floats = network(normalise(torch.from_numpy(crops), spec))[:, 0].numpy()
    assert np.abs(mine - theirs).mean() < 0.35 * np.abs(floats - theirs).mean()


def test_four_bits_are_rounded_in_blocks(grouped, spec):
    """Of 32 weights each, here the inputs of one channel: multiples of a seventh of the largest."""
    rounded = rounding(grouped, {}, 4)
    rows = rounded.layers["wide"].weight.detach().reshape(-1, 32)
    assert not torch.equal(rows, grouped.layers["wide"].weight.reshape(-1, 32))
    steps = rows / rows.abs().amax(1, keepdim=True) * 7
    assert torch.allclose(steps, steps.round(), atol=1e-4)
    assert torch.equal(rounded.layers["quarters"].weight, grouped.layers["quarters"].weight)  # 72 weights


def test_the_file_in_four_bits_has_the_weights_that_were_trained(grouped, spec):
    """Its search for each block's scale finds that of training again, but for fp16's rounding of the scale."""
    rounded = rounding(grouped, {}, 4)
    learnt, kept = (net.layers["wide"].weight.detach().numpy() for net in (rounded, plain(rounded)))
    whole, scale = blocks(kept)
    np.testing.assert_allclose((whole * scale).reshape(learnt.shape), learnt, rtol=1e-3, atol=1e-6)
    assert stored(exported(plain(rounded), spec), "int4") is not None


def test_the_gradient_passes_and_the_weights_come_back(network, images):
    rounded = rounding(network, {"w": (0.0, 6.0)})
    assert all(
        torch.equal(a, b)
        for a, b in zip(plain(rounded).state_dict().values(), network.state_dict().values(), strict=True)
    )
    rounded(images).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in rounded.parameters())
    values = rounded.values(images)
    steps = values["w"] / (6 / 255)
    assert torch.allclose(steps, steps.round(), atol=1e-3)
