"""All ways to compress a network, in a row: what `poseling compress` does."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from poseling import zoo
from poseling.codecs import codec, is_3d
from poseling.codecs.normalize import normalise
from poseling.compress import lowrank, qat, quantize, start
from poseling.compress import weights as fewer
from poseling.compress.equalise import equalised
from poseling.compress.judge import Judge, milliseconds, speed
from poseling.compress.prune import MULTIPLE, most, pruned
from poseling.compress.reconstruct import reconstructed
from poseling.compress.repair import AUGMENT, Lesson, losses, repaired
from poseling.compress.search import LEAST, MOST, Point, front, least
from poseling.data import sets
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops
from poseling.evaluate.cost import cost
from poseling.evaluate.figures import BASELINE, DISTILLED, encode
from poseling.export.onnx import Deployed, graph
from poseling.files import keep_apart, read_image, write_bytes
from poseling.geometry import Crop, Size
from poseling.licences import behind, merged, started
from poseling.models import checkpoint
from poseling.models.graph import GraphNetwork
from poseling.models.importers.onnx import before_decoding
from poseling.records import read_json
from poseling.spec import PoseSpec
from poseling.teachers.checkpoint import digest
from poseling.teachers.network import NetworkTeacher

Quantise = Literal["fp16", "bf16", "int8", "int4"]
ASKED = 160  # crops whose losses say which channels matter
FITTED = 256  # crops that weights are fitted to in closed form
SENSED = 16  # crops that layers' sensitivity is measured on
ENOUGH = (0.01, 0.02)  # PCK@0.2 and PCK@0.1 that int8 may lose before layers are left in float
FLOATS = (0, 2, 5, 10)  # how many of the worst are
ROUNDS = 100  # more steps of pruning than a network has layers worth the learning between them
SIGMA = 1.5  # heatmap pixels
PADDINGS = (1.0, 1.05, 1.1, 1.15, 1.2)  # tried for a smaller input, where they are less than the network's
FEWEST = 20  # people to judge by: fewer say nothing


@dataclass(frozen=True)
class Settings:
    """What is asked for; the fields are the flags of `poseling compress`, where they are explained."""

    size: Size | None = None
    prune: float | None = None
    low_rank: float | None = None
    low_rank_by: lowrank.By = "work"
    quantise: Quantise | None = None
    target_ms: float | None = None
    target_gmac: float | None = None
    importance: Literal["taylor", "magnitude"] = "taylor"
    everywhere: bool = True
    rounds: int = 1
    epochs: float = 1.0
    labels_share: float = 0.0
    learning_rate: float = 1.5e-4
    batch: int = 32
    qat_epochs: float = 0.0
    calibration: quantize.Calibration = "mse"
    calibrate: int = 128
    judge: int = 300
    labels: Path | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        ways = (self.size, self.prune, self.low_rank, self.quantise, self.target_ms, self.target_gmac)
        if all(way is None for way in ways):
            raise ValueError(
                "nothing to do: give --size, --prune, --low-rank, --quantise, --target-ms or --target-gmac"
            )
        if self.prune is not None and not 0 < self.prune < 1:
            raise ValueError(
                f"--prune {self.prune:g}: is the part of the work that goes; give more than 0 and less than 1"
            )
        if self.low_rank is not None and not 0 < self.low_rank <= 1:
            raise ValueError(
                f"--low-rank {self.low_rank:g}: is the part that stays, above 0 and at most 1; rank 0 would "
                f"be no layer at all"
            )
        if self.target_ms is not None and self.target_gmac is not None:
            raise ValueError("--target-ms and --target-gmac are two targets; give one")
        if self.prune is not None and (self.target_ms or self.target_gmac):
            raise ValueError("--prune says how much goes, and so does a target; give one of them")
        for name in ("target_ms", "target_gmac"):
            if (value := getattr(self, name)) is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} {value:g}: has to be above 0")
        if not (0 <= self.epochs < np.inf and 0 <= self.qat_epochs < np.inf):
            raise ValueError(
                "--epochs and --qat-epochs count passes over the people; 0 is none, and less than that is "
                "nothing"
            )
        if self.qat_epochs and self.quantise not in ("int8", "int4"):
            raise ValueError(
                "--qat-epochs trains for --quantise int8 or int4; leave it out, or give one of them"
            )
        if self.rounds > 1 and self.prune is None and self.target_ms is None and self.target_gmac is None:
            raise ValueError("--rounds divides the pruning; give --prune or a target too, or leave it out")
        if self.quantise == "int8" and self.calibrate < quantize.ENOUGH:
            raise ValueError(f"--calibrate {self.calibrate}: int8 needs {quantize.ENOUGH} crops at least")
        if not 0 <= self.labels_share <= 1:
            raise ValueError(f"--labels-share {self.labels_share:g}: is a part, from 0 to 1")
        if not 0 < self.learning_rate < np.inf:
            raise ValueError(f"--learning-rate {self.learning_rate:g}: has to be above 0")
        for name, highest in (
            ("rounds", ROUNDS),
            ("batch", 1 << 16),
            ("calibrate", 1 << 16),
            ("judge", 1 << 31),
        ):
            if not 1 <= (value := getattr(self, name)) <= highest:
                raise ValueError(f"--{name} {value}: has to be 1 or more, and at most {highest}")
        if not 0 <= self.seed < 1 << 32:
            raise ValueError(f"--seed {self.seed}: is a whole number from 0 to 2^32 - 1")


@dataclass(frozen=True)
class Compressed:
    """The file that came out, every network on the way with what it was measured to be, what is said of them,
    and what the figures are.
    """

    file: Path
    points: tuple[Point, ...]
    notes: tuple[str, ...]
    measured: str
    test: tuple[Point, ...] = ()


def compress(
    model: str,
    out: Path,
    settings: Settings,
    data: Sequence[str] = (),
    root: Sequence[Path] = (),
    console: Console | None = None,
) -> Compressed:
    """Compresses the network that `model` names (`start.load`) by `settings` and writes to the folder `out`
    each step's checkpoint and ONNX file, report.json, report.md and pareto.png.

    `data` and `root` as in recipes; images without labels will do. Choices are made, and figures taken, on
    the sets' validation people; on the test people, where there are labelled ones, the original and the last
    file are measured once. ValueError with the flag and the way out for settings, files and data that do not
    do.
    """
    return _Run(model, out, settings, data, root, console or Console(quiet=True)).run()


class _Run:
    """One run: the network as it is now, and the points so far."""

    def __init__(
        self,
        model: str,
        out: Path,
        settings: Settings,
        data: Sequence[str],
        root: Sequence[Path],
        console: Console,
    ) -> None:
        self.settings, self.out, self.console = settings, out, console
        self.original, self.spec = start.load(model)
        self.name = Path(model).stem
        # It keeps its own input size, where what is made of it has a smaller one.
        whole = copy.deepcopy(self.original)
        self.teacher = NetworkTeacher(whole, self.spec, self.name, digest(whole, self.spec))
        self.network: GraphNetwork = self.original
        self.train, self.val, self.test = dataset(data, root, self.spec, settings.judge)
        if settings.labels_share and not self.train.visible.any():
            raise ValueError(
                f"--labels-share {settings.labels_share:g}: {self.train.name} has no labels; leave it out, to learn "
                f"from the original alone"
            )
        self.judge = Judge(self.val, self.teacher)
        self.labels = settings.labels or out / "labels"
        said = json.dumps(
            [asdict(settings), model, list(data), [str(folder) for folder in root]], default=str
        )
        # Trainings of other settings have folders of their own; the same command goes on where it was
        # stopped.
        self.training = out / "training" / hashlib.blake2b(said.encode(), digest_size=6).hexdigest()
        told = {
            "of": self.name,
            **{
                name: value
                for name, value in asdict(settings).items()
                if value is not None and name != "labels"
            },
        }
        self.spec = replace(self.spec, recipe="compress", arguments=told)
        self.points: list[Point] = []
        self.notes: list[str] = []
        self.file = out / f"{self.name}-float.onnx"
        given = zoo.path(model) if zoo.is_name(model) else Path(model)
        keep_apart({"--out": self.file}, {"the network itself": [given]})
        float_model = exported(self.original, self.spec)
        if settings.quantise == "int8":
            ending(float_model)  # its error comes before the work
        write_bytes(self.file, float_model.SerializeToString())
        self.base = given if given.suffix.lower() == ".onnx" else self.file

    def run(self) -> Compressed:
        settings = self.settings
        if is_3d(codec(self.spec.codec)):
            self.say(
                "Only joints in the image are judged here; `poseling evaluate --space` measures those in space"
            )
        self.base_ms = milliseconds(self.base)
        self.tell(self._point("original", self.base, self.original))
        if self.base != self.file:
            self.tell(self._point("float", self.file, self.original))
        if settings.size is not None:
            self._resize(settings.size)
        if settings.prune is not None or settings.target_ms is not None or settings.target_gmac is not None:
            self._prune(settings.prune if settings.prune is not None else self._searched())
        if settings.low_rank is not None:
            self._factorise(settings.low_rank)
        if self.network is self.original and settings.size is not None:
            self.network = self._repaired(self.original, "resized", 1.0)
            if self.network is not self.original:
                self._keep("repaired")
        if settings.size is not None:
            self._crop()
        if settings.quantise is not None:
            self._quantise(settings.quantise)
        done = Compressed(
            self.file, tuple(self.points), tuple(self.notes), self.judge.measured, self._tested()
        )
        write_report(self.out, self.name, done, settings)
        return done

    def tell(self, point: Point) -> None:
        self.points.append(point)
        self.console.print(
            f"{point.name}: PCK {point.pck:.3f}, strict {point.strict:.3f}, {point.ratio:.2f} of the original's "
            f"time, {point.bytes / 1e6:.2f} MB",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip

    def say(self, note: str) -> None:
        self.notes.append(note)
        self.console.print(note, markup=False, highlight=False, soft_wrap=True)

    def _point(self, name: str, file: Path, network: GraphNetwork) -> Point:
        found = self.judge.file(file)
        ratio = 1.0 if file == self.base else speed(file, self.base).median
        gmac = cost(network, self.spec.size).gmac
        return Point(name, file.stat().st_size, gmac, ratio * self.base_ms, ratio, found.pck, found.strict)

    # The steps

    def _lesson(self, part: float = 1.0) -> Lesson:
        s = self.settings
        return Lesson(s.epochs * part, s.batch, s.learning_rate, s.labels_share, s.seed)

    def _batches(self, count: int) -> list[Tensor]:
        """Normalised crops, cut as in training."""
        crops = Crops(self.train, self.spec.size, self.spec.padding, AUGMENT, self.settings.seed + 1)
        return [
            normalise(
                torch.stack([torch.from_numpy(crops[i]["image"]) for i in range(j, min(j + 16, count))]),
                self.spec,
            )
            for j in range(0, count, 16)
        ]

    def _resize(self, size: Size) -> None:
        """The same weights for a smaller input; what was the original is from here on that."""
        old = self.spec.size
        if not all(0 < new <= was for new, was in zip(size, old, strict=True)):
            raise ValueError(
                f"--size {size[0]} {size[1]}: has to be width and height of a smaller input than the "
                f"network's, which is {old[0]}x{old[1]}"
            )
        try:
            self.original.at(size)
            # Gaussians shrink with the image, but not below the width that small maps are learnt with.
            wide = self.spec.codec.get("sigma")
            sigma = {} if wide is None else {"sigma": max(min(wide, SIGMA), wide * size[1] / old[1])}
            found = replace(codec(self.spec.codec), size=size, **sigma)  # type: ignore[type-var]
        except ValueError as error:
            raise ValueError(f"--size {size[0]} {size[1]}: {error}") from error
        self.spec = replace(self.spec, size=size, codec=found.fields())
        self._keep("resized")

    def _crop(self) -> None:
        """With fewer pixels a person should fill more of them: the padding that is best for the validation
        people, if it is less than the network's.
        """
        tried = [self.spec.padding, *(p for p in PADDINGS if p < self.spec.padding)]
        found = {p: self.judge.network(self.network, replace(self.spec, padding=p)) for p in tried}
        best = max(tried, key=lambda p: found[p].pck + found[p].strict)
        if best == self.spec.padding:
            return
        whole = self.judge(NetworkTeacher(self.teacher.network, replace(self.teacher.spec, padding=best)))
        self.say(
            f"boxes are padded by {best:g} instead of {self.spec.padding:g}, which is best for the validation "
            f"people: PCK {found[best].pck:.3f} instead of {found[self.spec.padding].pck:.3f} (the original "
            f"would have {whole.pck:.3f})"
        )
        self.spec = replace(self.spec, padding=best)
        self._keep("cropped")

    def _less(self, network: GraphNetwork, ratio: float) -> tuple[GraphNetwork, dict[str, Tensor]]:
        asked = None
        if self.settings.importance == "taylor":
            asked = losses(self.spec, self.original, self.train, ASKED, seed=self.settings.seed)
        found = pruned(network, self.spec.size, ratio, asked, self.settings.everywhere, MULTIPLE)
        return found.network, dict(found.writes)

    def _searched(self) -> float:
        """The least ratio of pruning that reaches the target, together with whatever else is asked for."""
        s = self.settings

        kept = self.training / "ratio.json"
        if kept.is_file():  # measured before the run was stopped; times differ, and with them what is trained
            return float(read_json(kept))

        def measure(ratio: float) -> float:
            network = self._less(self.original, ratio)[0] if ratio else self.original
            if s.low_rank is not None:
                network = lowrank.factorised(network, self.spec.size, s.low_rank, s.low_rank_by).network
            if s.target_gmac is not None:
                return cost(network, self.spec.size).gmac
            model = exported(network, self.spec)
            if s.quantise == "int8":  # ranges do not change the time
                plan = quantize.plan(model, ending(model))
                crops = self._crops(quantize.ENOUGH)
                model = quantize.quantised(model, plan, quantize.ranges(model, plan.tensors, crops, "minmax"))
            return speed(model.SerializeToString(), self.base).median * self.base_ms

        target, flag = (
            (s.target_gmac, "--target-gmac") if s.target_gmac is not None else (s.target_ms, "--target-ms")
        )
        assert target is not None
        high = min(MOST, most(self.original, self.spec.size, MULTIPLE) - 1e-6)
        found = 0.0 if measure(0.0) <= target else least(measure, target, flag, min(LEAST, high), high)
        write_bytes(kept, f"{found}\n".encode())
        self.say(
            f"the target is reached once {found:.2f} of the work is gone"
            if found
            else "the target is reached without pruning"
        )
        return found

    def _prune(self, ratio: float) -> None:
        if not ratio:
            return
        rounds = self.settings.rounds
        for i in range(rounds):
            step = 1 - (1 - ratio) ** (1 / rounds)  # each takes the same part of what is left
            before = self.network
            smaller, writes = self._less(before, step)
            smaller = reconstructed(smaller, before, self._batches(FITTED), writes)
            last = i == rounds - 1
            self.network = self._repaired(
                smaller,
                f"pruned-{i + 1}" if rounds > 1 else "pruned",
                1.0 if rounds == 1 else 0.5 if last else 0.5 / (rounds - 1),
            )
        self._keep("pruned")

    def _factorise(self, amount: float) -> None:
        found = lowrank.factorised(self.network, self.spec.size, amount, self.settings.low_rank_by)
        left = [row for row in found.rows if not row.form]
        self.say(
            f"low rank: {len(found.rows) - len(left)} layers in factors, {found.macs:.2f} of the work stays; "
            f"left as they are {len(left)}"
        )
        for why in dict.fromkeys(row.why for row in left):
            self.say(f"  {sum(row.why == why for row in left)}: {why}")
        write_bytes(
            self.out / "lowrank.json",
            (json.dumps([asdict(row) for row in found.rows], indent=1) + "\n").encode(),
        )
        if found.network is not self.network:
            fitted = reconstructed(found.network, self.network, self._batches(FITTED))
            self.network = self._repaired(fitted, "lowrank", 1.0)
        self._keep("lowrank")

    def _repaired(self, network: GraphNetwork, name: str, part: float) -> GraphNetwork:
        if not self.settings.epochs:
            return network.eval()
        learnt = repaired(
            copy.deepcopy(network), self.spec, self.teacher, self.train, self.training / name, self.labels,
            self._lesson(part), f"repairing {name}", self.console,
        )  # fmt: skip
        before, after = (self.judge.network(one, self.spec) for one in (network.eval(), learnt))
        if after.pck + after.strict < before.pck + before.strict:
            self.say(
                f"{name}: training made it worse (PCK {before.pck:.3f} to {after.pck:.3f}, strict "
                f"{before.strict:.3f} to {after.strict:.3f}) and is not kept; give more --epochs"
            )
            return network
        self._taught()
        return learnt

    def _taught(self) -> None:
        """From here on the contract names what was trained on, and the original as the start."""
        first = self.teacher.spec.licences
        told = {
            "weights": "as the data",
            "data": merged(behind(first), self.train.licence),
            "start": started(self.name, first),
        }
        self.spec = replace(self.spec, licences={**first, **told})

    def _keep(self, what: str) -> None:
        """The checkpoint and the ONNX file of the network as it is now."""
        path = self.out / f"{self.name}-{what}.safetensors"
        checkpoint.save(path, self.network, self.spec)
        self.file = path.with_suffix(".onnx")
        write_bytes(self.file, exported(self.network, self.spec).SerializeToString())
        self.tell(self._point(what, self.file, self.network))

    def _crops(self, count: int) -> NDArray[np.uint8]:
        return canonical(self.train, self.spec, count, self.settings.seed)

    def _quantise(self, bits: Quantise) -> None:
        if bits == "int8":
            self._int8()
            return
        if bits == "int4" and self.settings.qat_epochs:
            self._qat({}, 4)
        self._written(fewer.stored(exported(self.network, self.spec), bits), bits)

    def _written(self, model: onnx.ModelProto, what: str) -> None:
        self.file = self.out / f"{self.name}-{what}.onnx"
        write_bytes(self.file, model.SerializeToString())
        self.tell(self._point(what, self.file, self.network))

    def _qat(self, limits: dict[str, quantize.Range], bits: Literal[8, 4]) -> None:
        s = self.settings
        lesson = Lesson(s.qat_epochs, s.batch, s.learning_rate / 5, s.labels_share, s.seed)
        self.network = qat.trained(
            self.network, self.spec, self.teacher, self.train, self.training / f"{bits}-bits", self.labels,
            lesson, limits, bits, self.console,
        )  # fmt: skip
        self._taught()
        checkpoint.save(self.out / f"{self.name}-{bits}-bits.safetensors", self.network, self.spec)

    def _int8(self) -> None:
        s = self.settings
        crops = self._crops(s.calibrate)
        if s.qat_epochs:
            # Read back from its own export, its values have the names that the ranges have.
            self.network, _ = start.as_graph(Deployed(self.network, self.spec).eval())
            model = exported(self.network, self.spec)
            plan = quantize.plan(model, ending(model))
            limits = quantize.ranges(model, plan.tensors, crops, s.calibration)
            known = {name for o in self.network.graph.operations for name in o.outputs}
            self._qat({name: limit for name, limit in limits.items() if name in known}, 8)
        model, limits = self._evened(crops)
        output = ending(model)
        wanted = self.points[-1]
        worst: list[str] = []
        for count in FLOATS:
            if count and not worst:
                worst = [layer for layer, _ in quantize.sensitivity(model, output, limits, crops[:SENSED])]
            plan = quantize.plan(model, output, worst[:count])
            # A float layer's input may be one that the whole plan never rounds.
            missing = [name for name in plan.tensors if name not in limits]
            if missing:
                limits |= quantize.ranges(model, missing, crops, s.calibration)
            self._written(quantize.quantised(model, plan, limits), "int8")
            now = self.points[-1]
            if wanted.pck - now.pck <= ENOUGH[0] and wanted.strict - now.strict <= ENOUGH[1]:
                return
            self.say(
                f"int8 loses {100 * (wanted.pck - now.pck):.1f} points of PCK@0.2 and "
                f"{100 * (wanted.strict - now.strict):.1f} of "
                f"PCK@0.1 with {count} layers in float" + (f": {', '.join(worst[:count])}" if count else "")
            )
            if count != FLOATS[-1]:
                self.points.pop()
        self.say(
            "int8 loses more than a point: train it with --qat-epochs, or give more crops with --calibrate"
        )

    def _evened(self, crops: NDArray[np.uint8]) -> tuple[onnx.ModelProto, dict[str, quantize.Range]]:
        """The network's export and its values' ranges, or those of the same with its channels equalised: what
        is better in int8 for the validation people.
        """

        def ranged(network: GraphNetwork) -> tuple[onnx.ModelProto, dict[str, quantize.Range]]:
            model = exported(network, self.spec)
            values = quantize.plan(model, ending(model)).tensors
            return model, quantize.ranges(model, values, crops, self.settings.calibration)

        batches = [
            normalise(torch.from_numpy(crops[i : i + 16]), self.spec) for i in range(0, len(crops), 16)
        ]
        even = equalised(self.network, batches)
        if even is self.network:
            return ranged(self.network)
        both, found = [ranged(one) for one in (self.network, even)], []
        for model, limits in both:
            path = self.out / f"{self.name}-int8.onnx"
            plan = quantize.plan(model, ending(model))
            write_bytes(path, quantize.quantised(model, plan, limits).SerializeToString())
            found.append(self.judge.file(path))
        plain, evened = (one.pck + one.strict for one in found)
        if evened <= plain:
            return both[0]
        self.say(
            f"channels are equalised, which is better in int8 for the validation people: PCK "
            f"{found[1].pck:.3f} and {found[1].strict:.3f} instead of {found[0].pck:.3f} and {found[0].strict:.3f}"
        )
        return both[1]

    def _tested(self) -> tuple[Point, ...]:
        """The original and the last file on the test people, once."""
        if self.test is None or not (self.test.visible > 0).any():
            return ()
        judge = Judge(self.test, self.teacher)
        found = []
        for point, file in ((self.points[0], self.base), (self.points[-1], self.file)):
            accuracy = judge.file(file)
            found.append(
                Point(
                    point.name, point.bytes, point.gmac, point.ms, point.ratio, accuracy.pck, accuracy.strict
                )
            )
        return tuple(found)


def exported(network: GraphNetwork, spec: PoseSpec) -> onnx.ModelProto:
    """The network with its decoding and contract as an ONNX model."""
    return graph(Deployed(network, spec).eval())


def ending(model: onnx.ModelProto) -> str:
    """The tensor of an exported model that is decoded. ValueError if it is not told."""
    found = before_decoding(model)
    if found is None:
        raise ValueError(
            "the exported file does not show where its decoding begins; only networks of heatmaps can be "
            "quantised"
        )
    return found


def dataset(
    data: Sequence[str], root: Sequence[Path], spec: PoseSpec, judged: int
) -> tuple[PoseDataset, PoseDataset, PoseDataset | None]:
    """Whom to learn from, to choose by, and to test on, in the skeleton of `spec`.

    Where a set has no validation people every tenth image is kept apart for them; of more than `judged` an
    even choice is taken. ValueError where there are too few to judge by.
    """
    if root and not data:
        raise ValueError(f"--root {root[0]} needs --data, which says what lies there: {', '.join(sets.SETS)}")
    found = sets.load_all(tuple(data) or ("mini",), tuple(root), spec.skeleton)
    train, val = found.train, found.val
    if val is None:
        place = {image: i for i, image in enumerate(dict.fromkeys(train.images))}
        apart = np.array([place[image] % 10 == 6 for image in train.images])
        train, val = train[~apart], train[apart]
    if len(val) < FEWEST or len(train) < quantize.ENOUGH:
        raise ValueError(
            f"--data {' '.join(data)}: {len(train)} people to learn from and {len(val)} to judge by are too "
            f"few; "
            f"{10 * FEWEST} images are enough for both, and labels are not needed"
        )
    if len(val) > judged:
        val = val[np.linspace(0, len(val) - 1, judged).round().astype(int)]
    return train, val, found.test


def canonical(dataset: PoseDataset, spec: PoseSpec, count: int, seed: int = 0) -> NDArray[np.uint8]:
    """Crops (N, H, W, 3) of up to `count` people, as the network will see them."""
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    crops = []
    for i in chosen:
        try:
            image = read_image(dataset.images[i])
        except OSError:
            continue
        crops.append(Crop.from_box(dataset.boxes[i], spec.size, spec.padding).warp(image))
    if not crops:
        raise ValueError(f"{dataset.name}: none of its images can be read")
    return np.stack(crops)


def table(done: Compressed) -> Table:
    """The points of a run, for the terminal."""
    out = Table(title=done.measured)
    for column in ("network", "PCK@0.2", "PCK@0.1", "ms", "of the original's time", "GMAC", "MB"):
        out.add_column(column, justify="left" if column == "network" else "right")
    best = set(front(done.points))
    for i, p in enumerate(done.points):
        row = (
            f"{p.pck:.3f}",
            f"{p.strict:.3f}",
            f"{p.ms:.2f}",
            f"{p.ratio:.2f}",
            f"{p.gmac:.3f}",
            f"{p.bytes / 1e6:.2f}",
        )
        out.add_row(f"{p.name}{' *' if i in best else ''}", *row)
    for p in done.test:
        out.add_row(f"{p.name}, test people", f"{p.pck:.3f}", f"{p.strict:.3f}", "", "", "", "")
    out.caption = "*: none is as right and faster. Time: one crop on one thread, in turns with the original"
    return out


def write_report(out: Path, name: str, done: Compressed, settings: Settings) -> None:
    """report.json, report.md and pareto.png."""
    told: dict[str, Any] = {
        "network": name,
        "file": done.file.name,
        "settings": asdict(settings),
        "measured": done.measured,
        "points": [asdict(p) for p in done.points],
        "test": [asdict(p) for p in done.test],
        "notes": list(done.notes),
    }
    write_bytes(out / "report.json", (json.dumps(told, indent=1, default=str) + "\n").encode())
    best = set(front(done.points))
    lines = [f"# {name}, compressed", "", f"{done.measured}.", ""]
    lines += [
        "| network | PCK@0.2 | PCK@0.1 | ms | of the original's time | GMAC | MB |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for i, p in enumerate(done.points):
        star = " *" if i in best else ""
        lines.append(
            f"| {p.name}{star} | {p.pck:.3f} | {p.strict:.3f} | {p.ms:.2f} | {p.ratio:.2f} | {p.gmac:.3f} | "
            f"{p.bytes / 1e6:.2f} |"
        )
    lines += [f"| {p.name}, test people | {p.pck:.3f} | {p.strict:.3f} | | | | |" for p in done.test]
    lines += ["", "\\* none is as right and faster.", "", *done.notes, ""]
    write_bytes(out / "report.md", "\n".join(lines).encode())
    plot(done.points, out / "pareto.png")


def plot(points: Sequence[Point], path: Path) -> None:
    """PCK over time, each point as large as its file, to the PNG `path`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    best = set(front(points))
    most = max(p.bytes for p in points)
    for i, p in enumerate(points):
        axes.scatter(
            p.ratio, p.pck, s=30 + 300 * p.bytes / most, color=DISTILLED if i in best else BASELINE, alpha=0.6
        )
        axes.annotate(
            f"{p.name}, {p.bytes / 1e6:.1f} MB",
            (p.ratio, p.pck),
            (6, 6),
            textcoords="offset points",
            fontsize=8,
        )
    axes.set_xlabel("time of one crop, the original = 1")
    axes.set_ylabel("PCK@0.2")
    axes.set_xlim(0, max(1.3 * max(p.ratio for p in points), 1.2))
    axes.margins(y=0.2)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color="#222222", alpha=0.12)
    write_bytes(path, encode(figure))
