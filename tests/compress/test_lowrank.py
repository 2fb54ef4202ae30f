"""Factors: exact at full rank, with as much work and energy as they say, and layers that are left."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from poseling.compress import lowrank
from poseling.compress.lowrank import factorised, vbmf
from poseling.evaluate.cost import cost
from poseling.models.graph import Graph, GraphNetwork, Operation

SIZE = (24, 20)


def odd() -> GraphNetwork:
    """Strides, pads and kernels that differ along x and y, and a linear layer."""
    a = {"layer": "a", "channels": [3, 24], "kernel": [3, 3], "strides": [2, 1], "pads": [0, 1, 1, 1], "dilations": [1, 1], "groups": 1, "bias": True}  # fmt: skip
    b = {**a, "layer": "b", "channels": [24, 32], "kernel": [5, 3], "strides": [1, 2], "pads": [2, 1, 2, 1]}
    d = {**a, "layer": "d", "channels": [32, 32], "strides": [1, 1], "pads": [1] * 4, "groups": 32}
    c = {
        **a,
        "layer": "c",
        "channels": [32, 16],
        "kernel": [1, 1],
        "strides": [2, 2],
        "pads": [0] * 4,
        "bias": False,
    }
    steps = (
        Operation("Conv", ("x",), ("va",), a),
        Operation("Relu", ("va",), ("vr",)),
        Operation("Conv", ("vr",), ("vb",), b),
        Operation("Conv", ("vb",), ("vd",), d),
        Operation("Conv", ("vd",), ("vc",), c),
        Operation("Linear", ("vc",), ("vl",), {"layer": "l", "channels": [6, 40], "bias": True}),
    )
    torch.manual_seed(0)
    return GraphNetwork(Graph(steps, "x", "vl")).eval()


@pytest.mark.parametrize("form", ["bank", "tucker"])
def test_full_rank_is_exact(monkeypatch, form):
    monkeypatch.setattr(lowrank, "WORTH", 1e9)
    network, x = odd(), torch.randn(2, 3, 20, 24)
    found = factorised(network, SIZE, 1 - 1e-12, "energy", (form,))
    assert {row.layer for row in found.rows if row.form == form} == {"a", "b"}
    with torch.no_grad():
        assert torch.allclose(found.network(x), network(x), atol=1e-5)


def test_the_work_is_what_it_says():
    network = odd()
    found = factorised(network, SIZE, 0.7)
    assert cost(found.network, SIZE).gmac / cost(network, SIZE).gmac == pytest.approx(found.macs)
    assert 0.6 < found.macs <= 0.7


def test_the_energy_is_that_of_the_singular_values():
    network = odd()
    found = factorised(network, SIZE, 0.8, "energy", only=("c",))
    [row] = [row for row in found.rows if row.form]
    values = np.linalg.svd(network.layers["c"].weight.detach().numpy()[:, :, 0, 0], compute_uv=False) ** 2
    assert row.energy == pytest.approx(values[: row.ranks[0]].sum() / values.sum())
    assert row.energy >= 0.8
    factors = found.network.layers["c_2"].weight[:, :, 0, 0] @ found.network.layers["c_1"].weight[:, :, 0, 0]
    left = (factors - network.layers["c"].weight[:, :, 0, 0]).square().sum() / network.layers[
        "c"
    ].weight.square().sum().detach()
    assert left.item() == pytest.approx(1 - row.energy, abs=1e-5)


def test_depthwise_layers_are_left_and_listed():
    rows = {row.layer: row for row in factorised(odd(), SIZE, 0.7).rows}
    assert rows["d"].form == ""
    assert "depthwise" in rows["d"].why


def test_tucker_is_tensorlys():
    """Near alternating least squares: twice its error at most (De Lathauwer et al., 2000), and a tenth more
    on random weights.
    """
    tensorly = pytest.importorskip("tensorly.decomposition")
    network = odd()
    weight = network.layers["b"].weight.detach().double().numpy()
    shapes = network.shapes(SIZE)
    layer = lowrank._Layer(network, network.graph.operations[2], shapes)
    left, right, core = layer.sides()
    ours = torch.einsum("abhw,oa,ib->oihw", core[:16, :12], left[:, :16], right[:, :12]).numpy()
    (tc, factors), _ = tensorly.partial_tucker(weight, rank=[16, 12], modes=[0, 1], n_iter_max=50)
    theirs = np.einsum("abhw,oa,ib->oihw", tc, *factors)
    errors = [np.square(weight - one).sum() for one in (ours, theirs)]
    assert errors[1] <= errors[0] <= 1.1 * errors[1]


def test_cp_runs_and_says_how_near_it_is():
    pytest.importorskip("tensorly")
    network = odd()
    found = factorised(network, SIZE, 0.9, kernels=("cp",), only=("b",))
    [row] = [row for row in found.rows if row.form]
    assert row.form == "cp"
    assert 0 < row.energy < 1
    assert found.network(torch.randn(1, 3, 20, 24)).shape == network(torch.randn(1, 3, 20, 24)).shape


@pytest.mark.parametrize("rank", [1, 4, 10])
def test_vbmf_finds_the_rank_below_noise(rank):
    random = np.random.default_rng(rank)
    signal = random.normal(size=(60, rank)) @ random.normal(size=(rank, 90))
    assert vbmf(signal + 0.3 * random.normal(size=signal.shape)) == rank
    assert vbmf(signal.T + 0.3 * random.normal(size=signal.T.shape)) == rank
    assert vbmf(random.normal(size=(60, 90))) <= 2  # noise alone


@pytest.mark.parametrize("amount", [0.0, -1.0, 1.5])
def test_rank_zero_is_no_layer(amount):
    with pytest.raises(ValueError, match="--low-rank"):
        factorised(odd(), SIZE, amount)


def test_too_little_work_and_an_unknown_layer():
    with pytest.raises(ValueError, match="of the work stays even at the lowest ranks"):
        factorised(odd(), SIZE, 0.01)
    with pytest.raises(ValueError, match="no layer 'nose'"):
        factorised(odd(), SIZE, 0.7, only=("nose",))
