"""Checkpoints: whole or not at all, with their contract, and clear about what is wrong with a file."""

import errno
import json
import os
import pickle
import resource
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from poseling.codecs.heatmap import Heatmap
from poseling.models import checkpoint, registry
from poseling.models.graph import Graph, GraphNetwork, Operation
from poseling.models.hourglass import from_fpd
from poseling.models.importers.fpd import load_fpd
from poseling.skeleton import COCO17, LSP14, MPII16
from poseling.spec import KEY, PoseSpec

CODEC = Heatmap((64, 64), sigma=1.5, softmax=True)
SPEC = PoseSpec(
    "hourglass-1x8",
    LSP14,
    CODEC.fields(),
    (64, 64),
    licences={"code": "Apache-2.0"},
    recipe="fpd/distilled",
    arguments={"epochs": 3},
)


@pytest.fixture
def network():
    torch.manual_seed(0)
    network = registry.build("hourglass-1x8", 14).to(memory_format=torch.channels_last)
    network(torch.randn(4, 3, 64, 64))  # moves the running means
    return network


def test_round_trip(tmp_path, network):
    path = tmp_path / "new" / "student.safetensors"
    checkpoint.save(path, network, SPEC)
    loaded, spec = checkpoint.load(path)
    assert spec == SPEC
    assert not loaded.training
    for (name, ours), (other, theirs) in zip(
        network.state_dict().items(), loaded.state_dict().items(), strict=True
    ):
        assert name == other
        assert torch.equal(ours, theirs), name
    image = torch.randn(1, 3, 64, 64)
    assert torch.equal(network.eval()(image), loaded.to(memory_format=torch.channels_last)(image))
    assert os.listdir(path.parent) == ["student.safetensors"]


def test_a_skeletons_sigmas_come_back(tmp_path):
    spec = PoseSpec("hourglass-1x8", COCO17, CODEC.fields(), (64, 64))
    checkpoint.save(tmp_path / "net", registry.build("hourglass-1x8", 17), spec)
    assert checkpoint.load(tmp_path / "net")[1].skeleton.sigmas == COCO17.sigmas


def fails_at(monkeypatch, name):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, name, full)


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_file(tmp_path, network, monkeypatch, step):
    path = tmp_path / "student.safetensors"
    checkpoint.save(path, network, SPEC)
    before = path.read_bytes()
    fails_at(monkeypatch, step)
    with pytest.raises(
        OSError, match=r"student\.safetensors: could not be written \(No space left on device\)"
    ) as caught:
        checkpoint.save(path, registry.build("hourglass-1x8", 14), SPEC)
    assert caught.value.errno == errno.ENOSPC
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]  # no litter


def test_the_kernel_stops_the_write_halfway(tmp_path, network):
    """A real failure: the process may write no file larger than 20 kB."""
    path = tmp_path / "student.safetensors"
    checkpoint.save(path, network, SPEC)
    before = path.read_bytes()
    assert len(before) > 20_000
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(OSError, match=r"student\.safetensors: could not be written"):
            checkpoint.save(path, network, SPEC)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("part", [0, 4, 0.1, 0.5, 0.999])
def test_a_file_cut_short(tmp_path, network, part):
    path = tmp_path / "student.safetensors"
    checkpoint.save(path, network, SPEC)
    data = path.read_bytes()
    path.write_bytes(data[: part if isinstance(part, int) else int(part * len(data))])
    with pytest.raises(ValueError, match=r"student\.safetensors: is cut short or no safetensors file"):
        checkpoint.load(path)


def test_foreign_files_are_refused(tmp_path, network):
    missing, foreign, text = (
        tmp_path / "missing.safetensors",
        tmp_path / "foreign.safetensors",
        tmp_path / "text.safetensors",
    )
    save_file({"weight": torch.zeros(3)}, foreign)
    text.write_text("hello, I am no network")
    with pytest.raises(FileNotFoundError, match=r"missing\.safetensors: there is no such checkpoint"):
        checkpoint.load(missing)
    with pytest.raises(ValueError, match=r"foreign\.safetensors: is a safetensors file without a PoseSpec"):
        checkpoint.load(foreign)
    with pytest.raises(ValueError, match=r"text\.safetensors: is cut short or no safetensors"):
        checkpoint.load(text)
    save_file({"weight": torch.zeros(3)}, foreign, {KEY: '{"model": "hourglass-1x8"}'})
    with pytest.raises(ValueError, match=r"foreign\.safetensors: this is not a PoseSpec"):
        checkpoint.load(foreign)


def test_a_contract_that_does_not_fit_the_weights(tmp_path, network):
    path = tmp_path / "net.safetensors"
    checkpoint.save(path, network, PoseSpec("hourglass-1x8", MPII16, CODEC.fields(), (64, 64)))
    with pytest.raises(
        ValueError, match=r"net\.safetensors: the weights do not fit hourglass-1x8 with 16 joints(.|\n)*score"
    ):
        checkpoint.load(path)
    checkpoint.save(path, network, PoseSpec("transformer-9", LSP14, CODEC.fields(), (64, 64)))
    with pytest.raises(ValueError, match=r"net\.safetensors: no network is called 'transformer-9'"):
        checkpoint.load(path)


def theirs(network):
    """The weights under the authors' names: the inverse of `from_fpd`, found by trying every name that their
    layout has.
    """
    names = [
        f"{stem}.{what}"
        for stem in _stems(len(network.stacks))
        for what in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    to_ours = {name: next(iter(from_fpd({name: torch.zeros(1)}))) for name in names}
    state = network.state_dict()
    return {f"module.{name}": state[ours].clone() for name, ours in to_ours.items() if ours in state}


def _stems(stacks):
    blocks = ["layer1.0", "layer2.0", "layer3.0"]
    for s in range(stacks):
        blocks += [f"hg.{s}.hg.{level}.{branch}.0" for level in range(4) for branch in range(3)] + [
            f"hg.{s}.hg.0.3.0",
            f"res.{s}.0",
        ]
    yield from ("conv1", "bn1")
    for block in blocks:
        yield from (
            f"{block}.{part}" for part in ("bn1", "conv1", "bn2", "conv2", "bn3", "conv3", "downsample.0")
        )
    for s in range(stacks):
        yield from (f"fc.{s}.0", f"fc.{s}.1", f"score.{s}", f"fc_.{s}", f"score_.{s}")


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_checkpoint_of_fpds_authors(tmp_path, wrapped):
    torch.manual_seed(1)
    network = registry.build("hourglass-2x8", 16)
    network(torch.randn(4, 3, 64, 64))
    state = theirs(network)
    assert len(state) == len(network.state_dict())
    torch.save({"epoch": 3, "state_dict": state} if wrapped else state, tmp_path / "final_state.pth")
    loaded = load_fpd(tmp_path / "final_state.pth", "hourglass-2x8", 16)
    assert not loaded.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name


def test_a_torch_file_that_does_not_fit(tmp_path):
    path = tmp_path / "final_state.pth"
    torch.save(theirs(registry.build("hourglass-1x8", 16)), path)
    with pytest.raises(
        ValueError, match=r"final_state\.pth: the weights do not fit hourglass-2x8 with 16 joints"
    ):
        load_fpd(path, "hourglass-2x8", 16)
    with pytest.raises(FileNotFoundError, match="there is no such checkpoint"):
        load_fpd(tmp_path / "missing.pth", "hourglass-1x8", 16)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(ValueError, match=r"final_state\.pth: is cut short or no torch file"):
        load_fpd(path, "hourglass-1x8", 16)
    torch.save({"backbone.weight": torch.zeros(2)}, path)
    with pytest.raises(
        ValueError, match=r"final_state\.pth: (.|\n)*backbone\.weight is no weight of an FPD hourglass"
    ):
        load_fpd(path, "hourglass-1x8", 16)
    torch.save(torch.zeros(2), path)
    with pytest.raises(ValueError, match="holds a Tensor, no state dict"):
        load_fpd(path, "hourglass-1x8", 16)


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_torch_file_cannot_run_code(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, tmp_path / "bomb.pth")
    (tmp_path / "old.pth").write_bytes(pickle.dumps(Bomb()))
    for name in ("bomb.pth", "old.pth"):
        with pytest.raises(ValueError, match=name):
            load_fpd(tmp_path / name, "hourglass-1x8", 16)
    assert not (tmp_path / "exploded").exists()


def test_tensors_and_metadata_come_back(tmp_path):
    tensors = {
        "a": torch.arange(6.0).view(2, 3).T,
        "b": torch.tensor(3),
        "c": torch.zeros(0, 2),
    }  # not contiguous, a scalar, nothing
    checkpoint.write_tensors(tmp_path / "t", tensors, {"step": "7"})
    found, metadata = checkpoint.read_tensors(tmp_path / "t")
    assert metadata == {"step": "7"}
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(found[name].numpy(), tensor.numpy())
        assert found[name].dtype == tensor.dtype


GRAPH = Graph(
    (
        Operation(
            "BatchNormalization",
            ("x",),
            ("n",),
            {"layer": "norm", "channels": 3, "epsilon": 1e-5, "momentum": 0.9},
        ),
        Operation("Constant", (), ("two",), {"value": 2.0, "dtype": "float32"}),
        Operation("Mul", ("n", "two"), ("y",)),
    ),
    "x",
    "y",
)
GRAPH_SPEC = PoseSpec("graph", LSP14, CODEC.fields(), (64, 64))


def test_a_graph_comes_back_with_its_operations_and_its_buffers(tmp_path):
    network = GraphNetwork(GRAPH).train()
    network(torch.randn(4, 3, 8, 8) + 1)
    checkpoint.save(tmp_path / "net", network, GRAPH_SPEC)
    loaded, spec = checkpoint.load(tmp_path / "net")
    assert isinstance(loaded, GraphNetwork)
    assert (loaded.graph, spec, loaded.training) == (GRAPH, GRAPH_SPEC, False)
    image = torch.randn(1, 3, 8, 8)
    assert torch.equal(loaded(image), network.eval()(image))
    assert loaded.layers["norm"].running_mean.abs().min() > 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 7}, "net: the graph is version 7, this poseling reads version 1"),
        ({"operations": [["Sorcery", ["x"], ["y"], {}]]}, "net: operation 'Sorcery' is unknown"),
        (
            {"operations": [["PRelu", ["x"], ["y"], {"layer": "p"}]]},
            "net: an operation of its graph lacks what it needs",
        ),
        ({"operations": [["Relu", ["x"], ["y"], {}]]}, "net: the weights do not fit graph"),
        (None, "net: its network is a graph, and the operations are missing"),
    ],
)
def test_a_graph_that_cannot_be_built_names_the_file(tmp_path, change, said):
    checkpoint.save(tmp_path / "net", GraphNetwork(GRAPH), GRAPH_SPEC)
    tensors, metadata = checkpoint.read_tensors(tmp_path / "net")
    if change is None:
        del metadata["graph"]
    else:
        metadata["graph"] = json.dumps(json.loads(metadata["graph"]) | change)
    checkpoint.write_tensors(tmp_path / "net", tensors, metadata)
    with pytest.raises(ValueError, match=said):
        checkpoint.load(tmp_path / "net")


def test_a_graph_and_its_contract_go_together(tmp_path, network):
    with pytest.raises(ValueError, match="a GraphNetwork is no network of the model 'hourglass-1x8'"):
        checkpoint.save(tmp_path / "net", GraphNetwork(GRAPH), SPEC)
    with pytest.raises(ValueError, match="a Hourglass is no network of the model 'graph'"):
        checkpoint.save(tmp_path / "net", network, GRAPH_SPEC)


@pytest.mark.parametrize(
    "name",
    [
        "hourglass-100000x100000",
        "hourglass-100000x8",
        "hourglass-1x1000000000000",
        "kdlpn-99999999",
        "vitpose-t-simple",
    ],
)
def test_a_spec_may_not_ask_for_more_than_the_file_has(tmp_path, network, name):
    path = tmp_path / "net.safetensors"
    size = (64, 64) if name.startswith("h") else (4096, 4096)
    checkpoint.save(path, network, PoseSpec(name, LSP14, CODEC.fields(), size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match=r"net\.safetensors: "):
        checkpoint.load(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # KB


def test_nothing_stays_of_the_guard(network):
    with pytest.raises(checkpoint.TooManyError, match="more than 10 values"), checkpoint.at_most(10):
        torch.nn.Linear(3, 4)
    with checkpoint.at_most(16):
        torch.nn.Linear(3, 4)
    torch.nn.Linear(300, 400)


@pytest.mark.parametrize(
    "data", [b"PK\x03\x04", b"\x80\x02", b"12345678", bytes(8), b"\x93NUMPY", b"ustar" * 200]
)
def test_bytes_that_are_no_torch_file(tmp_path, data):
    (tmp_path / "a.pth.tar").write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.pth\.tar: is cut short or no torch file of plain tensors"):
        load_fpd(tmp_path / "a.pth.tar", "hourglass-1x8", 16)


def test_a_torch_file_that_unpacks_to_gigabytes(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "a.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", bytes(3 << 20))
    monkeypatch.setenv("POSELING_LIMIT_MB", "2")
    with pytest.raises(
        ValueError, match=r"a\.pth: it claims 3 MB and may have 2; set POSELING_LIMIT_MB higher"
    ):
        load_fpd(tmp_path / "a.pth", "hourglass-1x8", 16)
