"""Eight bits: the arithmetic of the grid, what becomes integer, and the answers of ONNX Runtime."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from poseling.codecs.normalize import normalise
from poseling.compress import quantize
from poseling.compress.command import ending, exported


@pytest.fixture
def model(network, spec) -> onnx.ModelProto:
    return exported(network, spec)


@given(st.floats(-1e4, 0), st.floats(0, 1e4))
def test_zero_and_both_ends_are_on_the_grid(low, high):
    scale, zero = quantize.grid((low, high))
    assert 0 <= zero <= 255
    assert scale > 0
    assert abs((0 - zero) * scale - low) <= scale / 2 + 1e-9 * abs(low)


def test_weights_are_rounded_to_half_a_step_by_channel():
    weight = np.random.default_rng(0).normal(size=(5, 3, 3, 3)).astype(np.float32) * np.arange(1, 6).reshape(
        -1, 1, 1, 1
    )
    whole, scale = quantize.rounded(weight, 0)
    assert whole.dtype == np.int8
    assert (np.abs(whole) <= 127).all()
    apart = np.abs(whole * scale.reshape(-1, 1, 1, 1) - weight).max((1, 2, 3))
    assert (apart <= scale / 2 + 1e-6).all()
    assert np.allclose(scale, np.abs(weight).max((1, 2, 3)) / 127)


def test_an_outlier_is_cut_by_error_and_by_percentile():
    values = np.append(np.random.default_rng(0).normal(size=1_000_000), 20.0)
    low, high = float(values.min()), float(values.max())
    counts, _ = np.histogram(values, quantize.BINS, (low, high))
    for choose in (quantize.by_error, quantize.by_percentile):
        _, top = choose(counts.astype(np.float64), low, high)
        assert 3 < top < 15, choose
    scale, zero = quantize.grid(quantize.by_error(counts.astype(np.float64), low, high))
    whole = quantize.grid((low, high))

    def error(scale, zero):
        return np.square((np.rint(values / scale + zero).clip(0, 255) - zero) * scale - values).mean()

    assert error(scale, zero) < error(*whole)


def test_what_becomes_integer(model):
    plan = quantize.plan(model, ending(model))
    kinds = {n.output[0]: n.op_type for n in model.graph.node}
    convs = [name for name in plan.nodes if kinds[name] == "Conv"]
    assert len(convs) == len(quantize.layers(model, ending(model))) == 7  # all but the first and the last
    assert ending(model) not in plan.tensors
    # The clip or ReLU behind a convolution is rounded once, behind it.
    after = {name: [n.op_type for n in model.graph.node if name in n.input] for name in plan.tensors}
    assert not any(
        readers in (["Relu"], ["Clip"]) and kinds.get(name) == "Conv" for name, readers in after.items()
    )


@pytest.mark.parametrize("calibration", ["mse", "percentile", "minmax"])
def test_onnx_runtime_computes_in_integers_and_answers_nearly_the_same(
    network, spec, model, crops, calibration, tmp_path
):
    output = ending(model)
    plan = quantize.plan(model, output)
    limits = quantize.ranges(model, plan.tensors, crops, calibration)
    made = quantize.quantised(model, plan, limits)
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    made.graph.output.append(onnx.ValueInfoProto(name=output))
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    maps = session.run([output], {"crops": crops})[0]
    with torch.no_grad():
        truth = network(normalise(torch.from_numpy(crops), spec))[:, 0].numpy()
    noise = np.square(maps - truth).mean() / np.square(truth - truth.mean((0, 2, 3), keepdims=True)).mean()
    assert noise < 0.02
    kinds = [n.op_type for n in onnx.load(tmp_path / "optimised.onnx").graph.node]
    assert kinds.count("QLinearConv") == 7
    assert kinds.count("QuantizeLinear") <= 4  # at the two ends, and what integers are not had for


def test_weights_scales_and_biases_are_as_jacob_has_them(model, crops):
    plan = quantize.plan(model, ending(model))
    limits = quantize.ranges(model, plan.tensors, crops, "minmax")
    made = quantize.quantised(model, plan, limits)
    stored = {t.name: numpy_helper.to_array(t) for t in made.graph.initializer}
    nodes = {o: n for n in made.graph.node for o in n.output}
    before = {n.output[0]: n for n in model.graph.node}
    old = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    seen = 0
    for name in plan.nodes:
        if nodes[name].op_type != "Conv":
            continue
        x, weight, bias = (nodes[i] for i in nodes[name].input)
        sx, sw, sb = (stored[part.input[1]] for part in (x, weight, bias))
        assert stored[weight.input[0]].dtype == np.int8
        assert stored[bias.input[0]].dtype == np.int32
        assert stored[x.input[2]].dtype == np.uint8
        assert np.allclose(sb, sx * sw)
        assert np.allclose(stored[bias.input[0]] * sb, old[before[name].input[2]], atol=float(sb.max()))
        seen += 1
    assert seen == 7


def test_the_worst_layer_is_named(network, spec, crops):
    with (
        torch.no_grad()
    ):  # one channel far wider than the others: a depthwise weight that one scale a tensor would ruin
        network.layers["side"].weight[0] *= 300
        network.layers["maps"].weight[:, 0] /= 300
    model = exported(network, spec)
    output = ending(model)
    limits = quantize.ranges(model, quantize.plan(model, output).tensors, crops, "minmax")
    found = quantize.sensitivity(model, output, limits, crops)
    assert len(found) == 7
    made = {n.output[0]: n for n in model.graph.node}
    assert "side" in made[found[0][0]].input[1]
    left = quantize.plan(model, output, [found[0][0]])
    assert found[0][0] not in left.nodes


def test_one_crop_is_too_few(model, crops):
    plan = quantize.plan(model, ending(model))
    with pytest.raises(ValueError, match="calibration needs 8 crops at least, got 1"):
        quantize.ranges(model, plan.tensors, crops[:1])


def test_a_tensor_that_is_not_there(model):
    with pytest.raises(ValueError, match="no tensor 'nose'"):
        quantize.plan(model, ending(model), ["nose"])
