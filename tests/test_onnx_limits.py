"""What ONNX files of strangers may not do: loop without end, and take all the memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from poseling.adapter import Adapter, Points
from poseling.onnx_limits import refuse_loops
from poseling.runtime import Network
from poseling.skeleton import LSP14
from poseling.spec import KEY, PoseSpec
from poseling.teachers.onnx import OnnxTeacher

SIZE = (32, 32)


def save(path: Path, nodes, xy, score=None, initializers=(), functions=()) -> Path:
    """An ONNX file that says it is ours and gives `xy` and `score`, values or names of what the nodes give."""
    constants = [numpy_helper.from_array(np.asarray(v), k) for k, v in initializers]
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", *SIZE, 3])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in (xy, score or xy)]
    imports = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [crops], outputs, constants),
        opset_imports=imports,
        ir_version=9,
        functions=functions,
    )
    helper.set_model_props(model, {KEY: PoseSpec("net", LSP14, {"name": "heatmap"}, SIZE).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def loop(rounds: int = 2**62):
    """A node that counts to `rounds` and gives what it was given."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["d"]), helper.make_node("Identity", ["x"], ["y"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("d", TensorProto.BOOL, []),
            helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
        ],
    )
    return helper.make_node("Loop", ["n", "t", "a"], ["xy"], body=body), (
        ("n", np.int64(rounds)),
        ("t", np.bool_(True)),
    )


def outputs(count=1):
    return (("a", np.zeros((count, 14, 2), np.float32)), ("b", np.zeros((count, 14), np.float32)))


@pytest.mark.parametrize("where", ["plain", "branch", "function"])
def test_loops_are_refused_wherever_they_are(tmp_path, monkeypatch, where):
    node, initializers = loop(3)
    nodes, functions = [node], []
    if where == "branch":
        branch = helper.make_graph(
            [node], "then", [], [helper.make_tensor_value_info("xy", TensorProto.FLOAT, None)]
        )
        nodes = [helper.make_node("If", ["t"], ["xy"], then_branch=branch, else_branch=branch)]
    if where == "function":
        functions = [
            helper.make_function(
                "own", "Rounds", ["n", "t", "a"], ["xy"], [node], [helper.make_opsetid("", 17)]
            )
        ]
        nodes = [helper.make_node("Rounds", ["n", "t", "a"], ["xy"], domain="own")]
    nodes.append(helper.make_node("Identity", ["b"], ["score"]))
    path = save(tmp_path / "a.onnx", nodes, "xy", "score", (*initializers, *outputs()), functions)
    for kind in (Network, OnnxTeacher):
        with pytest.raises(
            ValueError,
            match=r"a\.onnx: has a Loop, which may never end; set POSELING_ALLOW_LOOPS=1 if you trust the file",
        ):
            kind(path)
    monkeypatch.setenv("POSELING_ALLOW_LOOPS", "1")
    assert Network(path)(np.zeros((32, 32, 3), np.uint8), [(0, 0, 31, 31)]).xy.shape == (1, 14, 2)


def test_a_network_that_wants_all_the_memory(tmp_path):
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["xy"]),
        helper.make_node("Identity", ["xy"], ["score"]),
    ]
    path = save(tmp_path / "a.onnx", nodes, "xy", "score", (("s", np.array([1_500_000_000])),))
    with pytest.raises(
        ValueError,
        match=r"a\.onnx: cannot be run on crops uint8 \[1, 32, 32, 3\] (.|\n)*set POSELING_LIMIT_MB higher",
    ):
        Network(path)(np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(
        ValueError, match=r"a\.onnx: it cannot be run on 1 crops (.|\n)*set POSELING_LIMIT_MB higher"
    ):
        OnnxTeacher(path)


@pytest.mark.parametrize(
    "shapes",
    [((), ()), ((1, 14, 2), (1, 1)), ((1, 28), (1, 14)), ((2, 14, 2), (2, 14)), ((1, 14, 2), (1, 14, 1))],
)
def test_outputs_of_other_shapes_are_an_error(tmp_path, shapes):
    nodes = [helper.make_node("Identity", ["a"], ["xy"]), helper.make_node("Identity", ["b"], ["score"])]
    values = [np.zeros(shape, np.float32) for shape in shapes]
    path = save(tmp_path / "a.onnx", nodes, "xy", "score", (("a", values[0]), ("b", values[1])))
    with pytest.raises(
        ValueError,
        match=r"a\.onnx: output (xy|score) is float32 \[.*\], but its PoseSpec says float32 \[1, 14",
    ):
        Network(path)(np.zeros((32, 32, 3), np.uint8))


def test_a_teacher_that_answers_with_a_single_number(tmp_path):
    nodes = [helper.make_node("Identity", ["a"], ["xy"]), helper.make_node("Identity", ["b"], ["score"])]
    path = save(tmp_path / "a.onnx", nodes, "xy", "score", (("a", np.float32(1)), ("b", np.float32(1))))
    with pytest.raises(ValueError, match=r"a\.onnx: output xy is float32, no array of numbers"):
        OnnxTeacher(path)


def test_bytes_that_are_no_onnx_file(tmp_path):
    whole = save(
        tmp_path / "a.onnx",
        [helper.make_node("Identity", ["a"], ["xy"]), helper.make_node("Identity", ["b"], ["score"])],
        "xy",
        "score",
        outputs(),
    )
    refuse_loops(whole)
    data = whole.read_bytes()
    for bad in (b"", b"\xff" * 20, data[:-3], b"\x3a\xff\xff\xff\xff\x0f", b"\x0b"):
        (tmp_path / "b.onnx").write_bytes(bad)
        with pytest.raises(ValueError, match=r"b\.onnx: is cut short or no ONNX file"):
            refuse_loops(tmp_path / "b.onnx")


def outside(values, location):
    """A tensor whose numbers are in another file."""
    tensor = numpy_helper.from_array(values)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(values.nbytes))):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return tensor


@pytest.mark.parametrize("where", ["constant", "branch", "function"])
def test_weights_count_wherever_they_are_kept(tmp_path, monkeypatch, where):
    """Two networks that differ in a file beside them only are two networks."""
    from poseling.teachers import onnx as teacher

    values = np.ones((1, 14, 2), np.float32)
    node = helper.make_node("Constant", [], ["xy"], value=outside(values, "w.bin"))
    nodes, functions = [node], []
    if where == "branch":
        branch = helper.make_graph(
            [node], "then", [], [helper.make_tensor_value_info("xy", TensorProto.FLOAT, None)]
        )
        nodes = [helper.make_node("If", ["t"], ["xy"], then_branch=branch, else_branch=branch)]
    if where == "function":
        functions = [
            helper.make_function("own", "Weights", [], ["xy"], [node], [helper.make_opsetid("", 17)])
        ]
        nodes = [helper.make_node("Weights", [], ["xy"], domain="own")]
    path = save(tmp_path / "a.onnx", nodes, "xy", None, (("t", np.bool_(True)),), functions)
    digests = set()
    for factor in (1, 2):
        (tmp_path / "w.bin").write_bytes((values * factor).tobytes())
        digests.add(teacher._digest(path, ""))
    assert len(digests) == 2
    (tmp_path / "w.bin").unlink()
    with pytest.raises(
        ValueError, match=r"a\.onnx: keeps weights in w\.bin, which is not a file in its folder"
    ):
        teacher._digest(path, "")


def test_weights_stay_in_the_folder(tmp_path):
    from poseling.teachers import onnx as teacher

    (tmp_path / "w.bin").write_bytes(b"secret")
    (tmp_path / "inner").mkdir()
    node = helper.make_node(
        "Constant", [], ["xy"], value=outside(np.ones((1, 14, 2), np.float32), "../w.bin")
    )
    path = save(tmp_path / "inner" / "a.onnx", [node], "xy")
    with pytest.raises(ValueError, match=r"a\.onnx: keeps weights in w\.bin"):
        teacher._digest(path, "")


@pytest.mark.shared
def test_our_own_and_others_networks_have_no_loops(shared):
    for path in sorted((shared / "peers").glob("*.onnx")):
        refuse_loops(path)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_damaged_weights_are_an_error_at_once(tmp_path, value):
    nodes = [helper.make_node("Identity", ["a"], ["xy"]), helper.make_node("Identity", ["b"], ["score"])]
    path = save(
        tmp_path / "a.onnx",
        nodes,
        "xy",
        "score",
        (("a", np.full((1, 14, 2), value, np.float32)), outputs()[1]),
    )
    with pytest.raises(
        ValueError, match=r"a\.onnx: predicts NaN for a black image, so its weights are damaged"
    ):
        Network(path)


def test_an_input_that_no_machine_has_room_for(tmp_path):
    nodes = [helper.make_node("Identity", ["a"], ["xy"])]
    a = numpy_helper.from_array(np.zeros((1, 14, 2), np.float32), "a")
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, [1 << 20, 4096, 4096, 3])
    graph = helper.make_graph(
        nodes, "g", [crops], [helper.make_tensor_value_info("xy", TensorProto.FLOAT, None)], [a]
    )
    (tmp_path / "a.onnx").write_bytes(
        helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
        ).SerializeToString()
    )
    with pytest.raises(ValueError, match=r"a\.onnx: its input is .*it claims 50331648 MB and may have 1024"):
        OnnxTeacher(tmp_path / "a.onnx", Adapter(LSP14, layout="bhwc", white=255.0, points=Points("xy", 2)))
