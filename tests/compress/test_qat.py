"""Learning to be rounded: what is learnt is what will run."""

from __future__ import annotations

import numpy as np
import onnxruntime
import torch

from poseling.codecs.normalize import normalise
from poseling.compress import quantize, start
from poseling.compress.command import ending, exported
from poseling.compress.qat import plain, rounding
from poseling.compress.weights import stored
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


def test_four_bits_are_rounded_in_blocks(network, spec, crops):
    rounded = rounding(network, {}, 4)
    layer = rounded.layers["back"]
    assert (
        len(
            torch.unique(
                (
                    layer.weight.reshape(-1, 32)
                    / layer.weight.reshape(-1, 32).abs().amax(1, keepdim=True)
                    * 7
                ).round()
            )
        )
        <= 15
    )
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
