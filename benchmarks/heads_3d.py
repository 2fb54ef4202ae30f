"""Four ways to read metres from one trained 2D network, each trained alike: which head poseling3d has, and why.

    python benchmarks/heads_3d.py --out WORK [--epochs 0.5] [--seed 0]

WORK is that of family_3d.py, after its `prepare`. All start from poseling-s at 128x160, see the same people in
the same order, and end with a new head:

- lifting: the one that poseling3d has (models/lifting.py): what is seen at each joint and everywhere, through
  small linear layers;
- soft_argmax: maps of X, Y and Z, read where the softmax of the joint's heatmap is (integral regression, Sun
  et al., ECCV 2018);
- location_maps: VNect's and MoVNect's, at an eighth of the input, read at the heatmap's maximum;
- simcc3d: bins along x, y, X, Y and Z.

The first two keep poseling-s' heatmaps; the others learn theirs anew, as their codecs want. Judged on LSP's
validation people: PA-MPJPE from BlazePose Heavy, and PCK@0.2; on synthetic validation people: PA-MPJPE from
the truth; and by time, against the lifting head.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from family_3d import LOCATIONS, NETWORKS, NUMBERS, train
from pareto import caller
from poseling import zoo
from poseling.codecs import Codec, HeatmapXYZ, LocationMap, SimCC3D
from poseling.data.packed import packed
from poseling.data.synthetic import synthetic
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.latency import paired
from poseling.export.onnx import export
from poseling.models import checkpoint
from poseling.models.graph import HEAD, Graph, GraphNetwork, Operation, conv
from poseling.models.importers.onnx import from_onnx
from poseling.models.lifting import with_lifting
from poseling.skeleton import BODY19
from poseling.teachers.network import NetworkTeacher
from results import write

SIZE = NETWORKS["n"]
ROUNDS = 200


def soft_argmax(network: GraphNetwork, codec: HeatmapXYZ) -> GraphNetwork:
    """A network of heatmaps with maps of X, Y and Z beside them, read under the heatmaps' softmax."""
    graph, (w, h) = network.graph, codec.heatmap.map_size
    joints = network.shapes(codec.size)[graph.output][1]
    made = _Head(network)
    maps = made.add("Reshape", made.maps(3 * joints), shape=[0, joints, 3, h * w])
    flat = made.add("Reshape", graph.output, shape=[0, joints, h * w])
    here = made.add("Reshape", made.add("Softmax", flat, axis=-1), shape=[0, joints, h * w, 1])
    xyz = made.add("Reshape", made.add("MatMul", maps, here), shape=[0, joints, 3])
    return made.network(made.add("Concat", flat, xyz, axis=-1))


def location_maps(network: GraphNetwork, codec: LocationMap) -> GraphNetwork:
    """The network's features with MoVNect's maps, at half of its heatmaps' size."""
    joints, (w, h) = network.shapes(codec.size)[network.graph.output][1], codec.heatmap.map_size
    made = _Head(network)
    return made.network(made.add("Reshape", made.maps(7 * joints, 2), shape=[0, joints, 7, h, w]))


def simcc3d(network: GraphNetwork, codec: SimCC3D) -> GraphNetwork:
    """The network's features with a map a joint, and a linear layer from its pixels to the bins."""
    _, joints, h, w = network.shapes(codec.size)[network.graph.output]
    made = _Head(network)
    flat = made.add("Reshape", made.maps(joints), shape=[0, joints, h * w])
    return made.network(
        made.add("Linear", flat, layer="head_bins", channels=[h * w, sum(codec.bins)], bias=True)
    )


class _Head:
    """New operations behind a network's."""

    def __init__(self, network: GraphNetwork) -> None:
        self.old, self.steps = network, list(network.graph.operations)

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"head/{len(self.steps)}"
        self.steps.append(Operation(kind, inputs, (name,), attributes))
        return name

    def maps(self, count: int, stride: int = 1) -> str:
        """That many maps of the network's features, as MoveNet's heads make theirs."""
        graph = self.old.graph
        c = self.old.shapes(SIZE)[graph.features][1]
        one = self.add("Conv", graph.features, **conv("head_depthwise", c, c, 3, c, stride))
        two = self.add("Relu", self.add("Conv", one, **conv("head_pointwise", c, HEAD, 1)))
        return self.add("Conv", two, **conv("head_maps", HEAD, count, 1))

    def network(self, output: str) -> GraphNetwork:
        """The whole of what the output needs, with the old weights."""
        graph = Graph(tuple(self.steps), self.old.graph.input, output, self.old.graph.features)
        return GraphNetwork(graph.until(output))._loaded(self.old)


HEADS: dict[str, tuple[Codec, Callable[[GraphNetwork, Any], GraphNetwork], float]] = {
    # and the weight of space: location maps must not outweigh their heatmaps (docs/movnect.md)
    "lifting": (HeatmapXYZ(SIZE, sigma=2.0, softmax=True), with_lifting, LOCATIONS),
    "soft_argmax": (HeatmapXYZ(SIZE, sigma=2.0, softmax=True), soft_argmax, LOCATIONS),
    "location_maps": (LocationMap(SIZE, softmax=True), location_maps, 1.0),
    "simcc3d": (SimCC3D(SIZE), simcc3d, 1.0),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--heads", nargs="+", choices=HEADS, default=list(HEADS))
    flags = parser.parse_args()
    work = flags.out
    found = from_onnx(zoo.path("poseling-s"), size=SIZE)
    people = packed(work / "spatial" / "lsp" / "val")
    flat, lsp = Evaluator.of(people), Evaluator.of(people, is_3d=True)
    made_up = Evaluator.of(synthetic(work / "synthetic" / "val").to(BODY19), is_3d=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name, (codec, build, locations) in HEADS.items():
            outputs = ("xy", "score", "xyz")
            spec = replace(
                found.spec, codec=codec.fields(), size=SIZE, outputs=outputs, padding=NUMBERS["padding"]
            )
            first = work / "start" / f"heads-{name}.safetensors"
            checkpoint.save(first, build(found.network, codec), spec)
            files[name] = Path(folder) / f"{name}.onnx"
            export(first, files[name])
            if name not in flags.heads:
                continue
            out = work / "runs" / f"heads-{flags.seed}" / name
            train(SIZE, work, out, first, locations=locations, epochs=flags.epochs, seed=flags.seed, evaluate_every=0.25)  # fmt: skip
            network = NetworkTeacher(*checkpoint.load(out / "student.safetensors"))
            for data, judge in (("lsp", lsp), ("synthetic", made_up)):
                pose = judge.predict(network, flip=False)
                away = judge.score(pose).precision["PA-MPJPE"]
                rows.append({"name": f"{name}.pa_{data}", "value": away, "unit": "mm"})
                if data == "lsp":
                    rows.append({"name": f"{name}.pck02", "value": flat.score(pose).mean, "unit": "PCK@0.2"})
        for name in flags.heads:
            ratio = paired(caller(files[name]), caller(files["lifting"]), ROUNDS, clock=time.process_time)
            rows.append({"name": f"{name}.time", "value": ratio.median, "spread": ratio.spread / 2,
                         "unit": "of the lifting head's network", "ratio_to": "lifting"})  # fmt: skip
    for row in rows:
        print(f"{row['name']}: {row['value']:.3f} {row['unit']}")
    notes = (
        f"From poseling-s at {SIZE[0]}x{SIZE[1]}, {flags.epochs:g} epochs, one seed; LSP's and synthetic "
        "validation people; PA-MPJPE over all joints that are known, from BlazePose Heavy and from the truth."
    )
    write("heads_3d", rows, notes)


if __name__ == "__main__":
    main()
