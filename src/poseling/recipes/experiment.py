"""The bench that every recipe works on: it holds one experiment's data, network contract and folder, and does
its few acts.

A recipe says which networks are trained on what; the lab makes sure that all of them see the same people,
epochs and seeds, and are evaluated alike. Everything it finishes is kept in `out`, so that the same command
goes on where it was stopped.
"""

from __future__ import annotations

import json
import secrets
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np
import torch
from accelerate.utils import broadcast_object_list, gather_object
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.text import Text
from torch import nn

from poseling.codecs import CODECS, Codec
from poseling.data import sets
from poseling.data.augment import Augment
from poseling.data.coco_files import NO_FILES, CocoFiles
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops, TeacherLabels
from poseling.data.resident import Images, Resident
from poseling.distill.hooks import bare, hooked
from poseling.distill.objective import Objective, Term, fpd, looks_inside, supervised, watch
from poseling.evaluate import figures, page, pck, report
from poseling.evaluate.cost import cost
from poseling.evaluate.evaluator import Evaluator
from poseling.evaluate.report import Arm, Report
from poseling.export.onnx import export
from poseling.export.parity import ParityError, windows
from poseling.files import read_image, write_bytes
from poseling.geometry import Crop, Size
from poseling.models import checkpoint, registry, start
from poseling.models.importers.imagenet import load_backbone
from poseling.models.vitpose import drop_paths
from poseling.pose import Pose
from poseling.recipes import UNTRAINED, UNTRAINED_IN_SHORT
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Teacher
from poseling.teachers.cache import PseudoLabels, digest, label
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.load import load, there
from poseling.teachers.network import NetworkTeacher
from poseling.train.loop import LaidOutError, engine, fit
from poseling.train.optim import Training
from poseling.train.throughput import stepper, throughput

T = TypeVar("T")


@dataclass(frozen=True)
class Either:
    """A default in three: `paper` with --as-published; `mini` on the mini set, where a run takes a minute on
    two cores; `ours` else, what learns soonest on the hardware at hand. --help prints them.
    """

    paper: Any
    mini: Any
    ours: Any

    def __str__(self) -> str:
        paper, mini, ours = (
            "none" if value in (None, "") else str(value) for value in (self.paper, self.mini, self.ours)
        )
        return f"{'' if ours == paper else f'{ours}; as published '}{paper}; with the mini set {mini}"


AS_PAPER: Any = object()


def either(paper: T, mini: T, ours: T = AS_PAPER) -> T:
    """An `Either` that has the type of the value that `TrainConfig` or its `chosen` makes of it; `ours` is
    the paper's if not given.
    """
    return cast(T, Either(paper, mini, paper if ours is AS_PAPER else ours))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is the same for every network of an experiment; its fields are the flags that all recipes share.

    Parameters
    ----------
    data
        The data sets: {sets with train}. If neither this nor --root is given: mini, the synthetic people that
        come with the program. Several are mixed, by size or by shares: lsp:0.4 images:0.6.
    root
        Where the data lie, one folder for all or one for each set; for lsp and lspet, the folder that holds
        lsp/ and lspet/. The mini set needs none.
    files
        For coco_json.
    out
        Where everything goes, runs/RECIPE if not given; a run that was stopped goes on from here.
    labels
        Where the teacher's stored answers lie, or go; in --out if not given. Another run's are taken without
        asking again.
    size
        The input's height in pixels.
    width
        The input's width; as its height if not given, or three quarters of it in the recipes of papers on
        COCO (kdlpn and later).
    as_published
        Take the paper's own numbers, made for a GPU, instead of those that learn soonest on what is at hand.
    epochs
        Passes over the training people, for the baseline and the distilled student alike; as many as the
        budget allows if not given.
    budget
        How long one training may take, such as 90s, 20m or 2h: its measured speed decides the epochs.
    batch
        People in one step, over all processes.
    learning_rate
        At its highest; 1e-3 if not given, and 1.5e-4 for a student that starts from a trained file.
    optimizer
        What turns gradients into steps.
    schedule
        How the learning rate goes over the run: see docs/training.md.
    weight_decay
        On weights of convolutions, not on norms and biases.
    clip
        The largest gradient norm; 0 for none.
    ema
        The decay of the averaged weights that are kept, such as 0.999; 0 for none.
    warmup
        Steps over which the learning rate rises to its highest (not with one_cycle, which has a rise of its
        own).
    milestones
        Parts of the run after which the schedule `step` takes a tenth of the rate.
    layer_decay
        The learning rate of each layer of a vision transformer over that of the next deeper one.
    drop_path
        How often a sample goes past the deepest layer of a vision transformer; less often past others.
    loss
        mse, as FPD; or kl, over the pixels of each heatmap, which learns much faster in short runs.
    sigma
        Of the Gaussians, in heatmap pixels.
    decoding
        How a joint is read from its heatmap: the highest pixel, a quarter pixel towards its higher neighbour,
        or DARK.
    padding
        How much larger than the person's box the crop is.
    rotation
        Augmentation: standard deviation of the turn, in degrees.
    scale
        Augmentation: standard deviation, and bound, of the zoom.
    shift
        Augmentation: bound of the move, in parts of the crop's sides.
    color_jitter
        Augmentation: bound of the relative change of brightness, contrast and saturation.
    half_body
        Augmentation: how often only half of the person is shown.
    occlusion
        Augmentation: how often a joint is covered.
    flip_test
        Average the mirrored image when evaluating.
    seeds
        How many times the experiment is repeated.
    seed
        The first seed.
    evaluate_every
        Epochs between evaluations while training; 0 for a tenth of the run.
    bf16
        Mixed precision.
    workers
        Processes that load images.
    resident
        Decode every person's surroundings once, at 256 pixels, and keep them on the device, which then crops
        whole batches: for sets that fit (0.2 MB a person).
    tensorboard
        Also write TensorBoard files.
    speeds
        Also measure, after the last epoch, how fast the student trains without a teacher, with stored
        answers, and with the teacher run in every step: minutes.
    pretrained
        What the student's backbone starts from, with and without the teacher alike: imagenet, where a package
        ships such weights (efficientnet_lite0 to 2), or a file of weights named as torchvision does.
    smoke
        A run of seconds that proves that all parts work; its numbers mean nothing.
    """

    ASPECT: ClassVar[float] = 1.0  # of width to height, where no width is given

    data: tuple[str, ...] = ()
    root: tuple[Path, ...] = ()
    files: CocoFiles = NO_FILES
    out: Path | None = None
    labels: Path | None = None
    as_published: bool = False
    size: int = either(256, 64, 128)
    width: int | None = None
    epochs: float | None = either(140, 10, None)
    budget: str = either("", "", "1h")
    batch: int = either(4, 16, 32)
    learning_rate: float | None = either(2.5e-4, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = either("adam", "adamw", "adamw")
    schedule: Literal["step", "one_cycle", "cosine", "constant"] = either("step", "one_cycle", "one_cycle")
    weight_decay: float = either(0.0, 0.0, 0.01)
    clip: float = either(0.0, 0.0, 1.0)
    ema: float = either(0.0, 0.0, 0.999)
    warmup: int = 0
    milestones: tuple[float, ...] = (90 / 140, 120 / 140)
    layer_decay: float = 1.0
    drop_path: float = 0.0
    loss: Literal["mse", "kl"] = either("mse", "kl", "kl")
    sigma: float = either(2.0, 1.0, 1.5)
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    padding: float = 1.25
    rotation: float = either(30.0, 12.0)
    scale: float = either(0.25, 0.12)
    shift: float = 0.0
    color_jitter: float = 0.2
    half_body: float = 0.0
    occlusion: float = 0.0
    flip_test: bool = True
    seeds: int = 1
    seed: int = 0
    evaluate_every: float = either(1.0, 2.0, 0.0)
    bf16: bool = False
    workers: int = either(0, 1)
    resident: bool = False
    tensorboard: bool = False
    speeds: bool = False
    pretrained: str | None = None
    smoke: bool = False

    def __post_init__(self) -> None:
        if isinstance(self.epochs, Either) and isinstance(self.budget, str) and self.budget:
            object.__setattr__(
                self, "epochs", None
            )  # a budget that somebody gives is not undone by a default of ours
        for field in fields(self):
            object.__setattr__(self, field.name, self.chosen(getattr(self, field.name)))
        if (
            self.epochs is not None and not self.epochs > 0
        ):  # a smoke run has its own, but who asks for none has made a mistake
            raise ValueError(f"--epochs is {self.epochs:g}; it has to be above 0")
        if self.budget or self.epochs is None:
            duration(self.budget)

    @property
    def input(self) -> Size:
        """(W, H) of what the students see."""
        shape = 1.0 if self.on_mini or self.smoke else self.ASPECT
        return (self.width or round(shape * self.size), self.size)

    @property
    def on_mini(self) -> bool:
        """Whether the mini set is used: because it is named, or because nothing else is."""
        return self.data == ("mini",) or not (self.data or self.root)

    def chosen(self, value: T) -> T:
        """`value`, or where it is a default in three, the one for this run."""
        if not isinstance(value, Either):
            return value
        return cast(T, value.paper if self.as_published else value.mini if self.on_mini else value.ours)


DEFAULT = TrainConfig()


@dataclass(frozen=True, kw_only=True)
class CocoConfig(TrainConfig):
    """The same for the papers on COCO: inputs a third taller than wide, and the numbers of SimpleBaseline's
    and HRNet's family.
    """

    ASPECT: ClassVar[float] = 0.75

    batch: int = either(32, 16)
    learning_rate: float | None = either(1e-3, 3e-3, None)
    rotation: float = either(40.0, 12.0)
    scale: float = either(0.3, 0.12)


COCO_DEFAULT = CocoConfig()


@dataclass(frozen=True, kw_only=True)
class ViTPoseConfig(CocoConfig):
    """ViTPose's numbers (its configuration for ViTPose-B on COCO; the start from MAE's weights is --teacher's
    own affair).
    """

    epochs: float | None = either(210, 10, None)
    batch: int = either(512, 16, 32)
    learning_rate: float | None = either(5e-4, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = either("adamw", "adamw")
    weight_decay: float = either(0.1, 0.0, 0.01)
    clip: float = either(1.0, 0.0, 1.0)
    warmup: int = either(500, 0, 0)
    milestones: tuple[float, ...] = (170 / 210, 200 / 210)
    layer_decay: float = either(0.75, 1.0, 1.0)
    drop_path: float = either(0.3, 0.0, 0.0)
    scale: float = either(0.5, 0.12, 0.3)
    half_body: float = either(0.3, 0.0, 0.0)


VITPOSE_DEFAULT = ViTPoseConfig()


@dataclass(frozen=True, kw_only=True)
class TokenPoseConfig(CocoConfig):
    """TokenPose's numbers (its configurations on COCO)."""

    epochs: float | None = either(300, 10, None)
    milestones: tuple[float, ...] = (200 / 300, 260 / 300)
    rotation: float = either(45.0, 12.0, 40.0)
    scale: float = either(0.35, 0.12, 0.3)
    half_body: float = either(0.3, 0.0, 0.0)


TOKENPOSE_DEFAULT = TokenPoseConfig()


@dataclass(frozen=True, kw_only=True)
class RTMPoseConfig(CocoConfig):
    """RTMPose's and DWPose's numbers (their configurations for bodies)."""

    epochs: float | None = either(420, 10, None)
    batch: int = either(1024, 16, 32)
    learning_rate: float | None = either(4e-3, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = either("adamw", "adamw")
    schedule: Literal["step", "one_cycle", "cosine", "constant"] = either("cosine", "one_cycle", "one_cycle")
    weight_decay: float = either(0.05, 0.0, 0.01)
    clip: float = either(1.0, 0.0, 1.0)
    warmup: int = either(1000, 0, 0)
    half_body: float = either(0.3, 0.0, 0.0)


RTMPOSE_DEFAULT = RTMPoseConfig()


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that the experiment trained: its file, itself as a teacher, its score and its predictions on
    the test samples, how fast it trained, and (epoch, value) during training.
    """

    path: Path
    network: NetworkTeacher
    score: pck.Score
    pose: Pose
    images_per_second: float
    curve: list[tuple[float, float]]
    epochs: float
    seed: int


class Experiment:
    """One experiment: `config` on one data set, for the zoo's network `student`; in `skeleton` where one is
    given (images without labels have none of their own). `is_3d` measures people by where their joints are in
    space; networks answer for people of the `height` from knee to neck, where one is given (see
    `codecs.location_map`).

    ValueError for a student that the zoo does not have, a `teacher` (or several) that is named but not there,
    or people without labels where no skeleton is given, before anything takes time.
    """

    def __init__(
        self,
        recipe: str,
        config: TrainConfig,
        student: str,
        skeleton: Skeleton | None = None,
        is_3d: bool = False,
        height: float | None = None,
        teacher: str | Sequence[str] = (),
    ) -> None:
        self.config = config = _smoke(config) if config.smoke else config
        self.out = (
            Path("runs") / recipe if config.out is None else config.out
        )  # a folder a recipe, so that a second one does not meet the first's networks
        self.height = height
        self.student = self.network(config.chosen(student))
        self.recipe, self.console, self.engine = recipe, Console(), engine(bf16=config.bf16)
        self.command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
        for name in (teacher,) if isinstance(teacher, str | Either) else teacher:
            named = config.chosen(name)
            if named and not registry.is_name(named):
                there(named)  # reading the data may take minutes
        sources = _data(config, skeleton)
        dataset, val, test = sources.train, sources.val, sources.test
        assert val is not None
        assert test is not None
        if skeleton is None and not (dataset.labelled and test.labelled):
            raise ValueError(
                f"--data {' '.join(config.data)}: the people have no labels, and {recipe} learns from "
                f"labels; `poseling distill unlabelled` needs none"
            )
        if config.smoke:
            dataset, val, test = dataset[:SMOKE_PEOPLE], val[: SMOKE_PEOPLE // 2], test[: SMOKE_PEOPLE // 2]
        self.dataset, self.origin, self.sources = dataset, sources.origin[: len(dataset)], sources.names
        self.notes = [*dict.fromkeys((*dataset.left_out, *val.left_out, *test.left_out))]
        self.measure, self.choice = Evaluator.of(test, is_3d), Evaluator.of(val, is_3d)
        self.codec = self.codec_of(self.student)
        self.pretrained = ""
        if config.pretrained is not None and not config.smoke:  # before anything takes time
            self.pretrained = load_backbone(self.build(self.student), config.pretrained)
        for note in self.notes:
            self.say(note, "yellow")
        self.say(
            f"{recipe}: {len(self.dataset)} people of {dataset.name} to train on, {len(val)} for the curves, "
            f"{len(test)} to test on, on {self.engine.device}"
        )
        self._images: dict[int, Images] = {}

    @classmethod
    def for_teacher(
        cls, recipe: str, config: TrainConfig, student: str, teacher: str, adapter: str | None = None
    ) -> Experiment:
        """The bench for a recipe that can do without labels: images that have none get the teacher's
        skeleton.
        """
        named = config.chosen(teacher)
        bare = config.data == ("images",) and not registry.is_name(named)
        return cls(recipe, config, student, load(named, adapter).skeleton if bare else None)

    def network(self, name: str) -> str:
        """Checked, before anything takes time; in a run of seconds the smallest of its family."""
        if start.is_file(name):
            start.codec_of(name)
            return name
        with torch.device("meta"):
            registry.build(name, 1, self.config.input)
        return registry.smallest(name) if self.config.smoke else name

    def build(self, name: str) -> nn.Module:
        """The network of this name, or of this file to start from, for the experiment's joints and input."""
        return start.build(name, self.skeleton, self.codec_of(name).size)

    def codec_of(self, name: str) -> Codec:
        """What reads the outputs of the zoo's network of this name."""
        config, spec = self.config, start.contract(name)
        return CODECS[start.codec_of(name)].configured(
            config.input,
            config.loss,
            config.sigma,
            config.decoding,
            stride=None if spec is None else spec.codec.get("stride"),
            height=self.height,
        )

    def say(self, text: object, style: str | None = None) -> None:
        """To the console, once for all processes."""
        if self.engine.is_main_process:
            self.console.print(
                text, style=style, markup=False, highlight=False, soft_wrap=isinstance(text, str)
            )

    def note(self, text: str) -> None:
        """To the console, and to the report."""
        self.notes.append(text)
        self.say(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Says what runs in this block, so that nobody takes its minutes for a program that hangs."""
        if self.engine.is_main_process and self.console.is_terminal:
            with self.console.status(Text(what)):
                yield
        else:
            self.say(what)
            yield

    @property
    def seeds(self) -> range:
        """The seeds of the experiment."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def skeleton(self) -> Skeleton:
        """Of the data, and so of every student."""
        return self.dataset.skeleton

    def teacher(self, name: str, adapter: str | None = None, epochs: float | None = None) -> Teacher:
        """The teacher in a file, read by `adapter` where it is foreign, `mini` for the mini set's own, or the
        zoo's network of that name, trained here first on the labels with the experiment's own numbers.

        From here on only the joints that it knows are measured, for everyone alike.
        """
        name = self.config.chosen(name)
        teacher: Teacher
        if registry.is_name(name):
            trained = self.fit(
                "teacher",
                self.supervised(self.network(name)),
                self.config.seed,
                epochs=epochs,
                network=self.network(name),
            )
            teacher = trained.network
        else:
            teacher = self.load_teacher(name, adapter)
        self.measure, self.choice = self.measure.known_to(teacher), self.choice.known_to(teacher)
        return teacher

    def load_teacher(self, name: str, adapter: str | None = None) -> Teacher:
        """The teacher in a file, a folder or on the hub, on the device of the experiment."""
        # ONNX Runtime comes for the CPU unless somebody chose otherwise; a teacher is asked once, so that is
        # no loss.
        return load(name, adapter, device="cpu" if name.endswith(".onnx") else str(self.engine.device))

    def adopt(self, teacher: Teacher) -> None:
        """Measures students by their agreement with the teacher, where the test images have no labels."""
        self.measure, self.choice = (
            measure.with_labels_of(teacher, self.config.flip_test) for measure in (self.measure, self.choice)
        )

    def label(
        self, teacher: Teacher, dataset: PoseDataset, flip: bool = False, scales: tuple[float, ...] = (1.0,)
    ) -> PseudoLabels:
        """The teacher's answers for `people`, each asked for once and kept in `out/labels` or where --labels
        says; a mirrored and rescaled view each, averaged, if wanted.
        """
        url = str(self.config.labels or self.out / "labels")
        shard = (self.engine.process_index, self.engine.num_processes)
        # Each file is hashed once, by one of the processes, and all deal the images out alike.
        known = digest(dataset.images, shard, gather_object)
        (deal,) = broadcast_object_list([secrets.token_hex(8)])
        with Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=self.console,
            disable=shard[0] > 0 or not self.console.is_terminal,
        ) as progress:
            bar = progress.add_task(f"asking {teacher.name}", total=None)
            try:
                asked = label(
                    teacher,
                    dataset,
                    url,
                    flip,
                    scales,
                    shard=shard,
                    progress=lambda done, total: progress.update(bar, completed=done, total=total),
                    deal=deal,
                    digests=known,
                )
            except KeyboardInterrupt:
                self.say(
                    f"Stopped while the teacher was asked. Its answers until here stay in {url}; the same "
                    f"command goes on from there.",
                    "yellow",
                )
                raise
        self.engine.wait_for_everyone()
        mine = "" if shard[1] == 1 else " by this process"
        self.say(
            f"{teacher.name}: {asked.asked} answers asked for{mine}, {asked.already} already in {asked.store}"
        )
        labels = PseudoLabels.open(asked.store, dataset, self.skeleton, teacher, known, self.codec.heatmap)
        self.notes += [note for note in labels.left_out if note not in self.notes]
        return labels

    def fit(
        self,
        arm: str,
        terms: tuple[Term, ...],
        seed: int,
        answers: TeacherLabels | None = None,
        dataset: PoseDataset | None = None,
        epochs: float | None = None,
        after: Trained | None = None,
        confidence: bool = False,
        network: str | None = None,
        teacher: Teacher | None = None,
        only: str = "",
        prepare: Callable[[nn.Module], object] | None = None,
        deploy: tuple[str, Callable[[nn.Module], nn.Module]] | None = None,
    ) -> Trained:
        """Trains the student, or another `network` of the zoo, on `terms`, evaluates it, and saves it as
        `out/seed-S/ARM.safetensors`.

        `epochs` are counted in the experiment's own people, so that training on more `people` takes as many
        steps. `after` lends its weights, `prepare` may then change them. The teacher's word comes from stored
        `answers`, or from a `teacher` that is there in every step. Only the submodule `only` learns, where
        one is named. `deploy` is the zoo's name of, and the way to, the network that is kept, where it is
        another than the one that learns.
        """
        config = self.config
        dataset = self.dataset if dataset is None else dataset
        share = len(self.dataset) / len(dataset)
        name = network or self.student
        if epochs is None or config.smoke:
            epochs = self.epochs(name, terms, teacher, answers)
        codec = self.codec_of(name)
        torch.manual_seed(seed)
        built = self.build(name)
        if config.pretrained is not None and name == self.student and not config.smoke:
            load_backbone(built, config.pretrained)
        if after is not None:
            built.load_state_dict(after.network.network.state_dict())
        if config.drop_path:
            drop_paths(built, config.drop_path)
        if prepare is not None:
            prepare(built)
        own = {
            "seed": seed,
            "epochs": epochs,
            "terms": [
                [
                    term.name,
                    getattr(term.loss, "__name__", ""),
                    term.weight,
                    *(["labelled"] if term.labelled else []),
                ]
                for term in terms
            ],
            "confidence": confidence,
            "start": "" if after is None else after.network.spec.recipe,
        }
        spec = self.spec(name, arm, answers, own, dataset)
        kept, keep = (
            (spec.model, bare) if deploy is None else (deploy[0], lambda learnt: deploy[1](bare(learnt)))
        )
        kept_spec = replace(spec, model=kept)
        learner = self.learner(built, terms, teacher, only, codec.size)
        folder = self.out / f"seed-{seed}" / arm
        try:
            fitted = fit(
                learner,
                Objective(
                    spec, codec, terms, confidence, teacher, answers.width if answers is not None else 1.0
                ),
                self.samples(dataset, spec, seed, answers),
                replace(self.training(name), epochs=epochs * share, seed=seed),
                folder,
                self.engine,
                evaluate=lambda net: {
                    "value": self._value(NetworkTeacher(keep(net), kept_spec, device=self.engine.device))
                },
                evaluate_every=(config.evaluate_every or epochs / 10) * share,
                workers=config.workers,
                tensorboard=config.tensorboard,
                title=f"{arm}, seed {seed}",
                console=self.console if self.engine.is_main_process else None,
            )
        except LaidOutError as error:
            raise ValueError(f"{error}; {self._new_leg()}") from error
        path = folder.with_suffix(".safetensors")
        if self.engine.is_main_process:
            checkpoint.save(path, keep(fitted.network), kept_spec)
        self.engine.wait_for_everyone()
        if fitted.broken:
            self.notes.append(
                f"{arm}, seed {seed}: {len(fitted.broken)} images could not be read, the first "
                f"{fitted.broken[0]}"
            )
        trained = checkpoint_teacher(path, str(self.engine.device))
        with self.doing(f"measuring {arm}, seed {seed}, on {len(self.measure.dataset)} test people"):
            pose = self.measure.predict(trained, config.flip_test)
        curve = [(row["epoch"] / share, row["value"]) for row in fitted.rows if "value" in row]
        return Trained(
            path,
            trained,
            self.measure.score(pose),
            pose,
            fitted.images_per_second,
            curve,
            epochs,
            seed,
        )

    def _new_leg(self) -> str:
        """How to go on from a finished experiment; the answers that are here are good for that too."""
        student, labels = self.out / "student.safetensors", self.config.labels or self.out / "labels"
        if not student.is_file():
            return f"first finish with the settings of then what lies in {self.out}, or give another --out"
        words = [
            "--student",
            str(student),
            "--out",
            f"{self.out}-2",
            *(("--labels", str(labels)) if labels.is_dir() else ()),
        ]
        return f"start a new leg from its student, with {shlex.join(words)}"

    def samples(
        self, dataset: PoseDataset, spec: PoseSpec, seed: int, answers: TeacherLabels | None = None
    ) -> Crops | Resident:
        """What a network of this contract trains on."""
        if not self.config.resident:
            return Crops(dataset, spec.size, spec.padding, self.augment, seed, answers)
        key = hash((dataset.images, dataset.boxes.tobytes()))
        if key not in self._images:
            self.say(f"reading {len(dataset)} images")
            self._images[key] = Images(dataset, self.engine.device)
        return Resident(dataset, self._images[key], spec.size, spec.padding, self.augment, seed, answers)

    def epochs(
        self,
        name: str | None = None,
        terms: tuple[Term, ...] | None = None,
        teacher: Teacher | None = None,
        answers: TeacherLabels | None = None,
    ) -> float:
        """How many epochs a training of the student has, or of the zoo's network `name`: as --epochs says, or
        as many as the --budget buys on `terms`, the labels if not given.

        That is measured once a network, over some steps, so that all its trainings are equally long, and kept
        in `out`, so that a run can go on. ValueError where it is less than one.
        """
        config, name = self.config, name or self.student
        if config.epochs is not None:
            return config.epochs
        key = f"{config.budget} of {name}, {config.input[0]}x{config.input[1]}, {len(self.dataset)} people, {config.batch} a step"
        kept = self.out / "budget.json"
        (known,) = broadcast_object_list([json.loads(kept.read_text()) if kept.is_file() else {}])
        if key not in known:
            epochs = self._affordable(name, terms or self.supervised(name), teacher, answers)
            if self.engine.is_main_process:
                write_bytes(kept, (json.dumps(known | {key: epochs}, indent=1) + "\n").encode())
            known[key] = epochs
            self.engine.wait_for_everyone()
        return float(known[key])

    def _affordable(
        self, name: str, terms: tuple[Term, ...], teacher: Teacher | None, answers: TeacherLabels | None
    ) -> float:
        config, spec, codec = self.config, self.spec(name, "speed", answers), self.codec_of(name)
        learner = self.learner(self.build(name), terms, teacher, "", codec.size)
        objective = Objective(spec, codec, terms, False, teacher, 1.0 if answers is None else answers.width)
        step = stepper(
            learner, objective, self.samples(self.dataset, spec, 0, answers), self.training(name), self.engine
        )
        (rates,) = throughput({"": step}, config.batch, rounds=5).values()
        (speed,) = broadcast_object_list([float(np.median(rates))])  # the processes must agree
        epochs = 0.95 * duration(config.budget) * speed / len(self.dataset)  # the rest is for evaluation
        if epochs < 1:
            raise ValueError(
                f"--budget {config.budget}: {speed:.0f} people a second here, so one pass over "
                f"{len(self.dataset)} people takes "
                f"{len(self.dataset) / speed / 60:.0f} minutes; give more time, a smaller --size or fewer "
                f"people, or set --epochs"
            )
        self.say(
            f"{speed:.0f} people a second, so --budget {config.budget} is {epochs:.1f} epochs a training"
        )
        return float(epochs)

    def learner(
        self,
        network: nn.Module,
        terms: tuple[Term, ...],
        teacher: Teacher | None,
        only: str = "",
        size: Size | None = None,
    ) -> nn.Module:
        """`network` as it learns by `terms` from `teacher`, with all that has to be watched and adapted for
        them; it takes inputs of `size`, the student's if None.
        """
        inner = teacher.network if isinstance(teacher, NetworkTeacher) else None
        adapters = {term.name: term.adapter for term in terms if term.adapter}
        return hooked(
            network,
            size or self.codec.size,
            watch(terms),
            adapters,
            inner,
            None if teacher is None else teacher.size,
            only,
        )

    def supervised(self, name: str | None = None) -> tuple[Term, ...]:
        """The labels alone, for the student or another network of the zoo."""
        return supervised(self.codec_of(name or self.student), self.config.loss)

    def respond(
        self, alpha: float, teacher_loss: str | None = None, labelled: bool = False
    ) -> tuple[Term, ...]:
        """(1 - alpha) times the labels and alpha times the teacher's answers, by the losses of the student's
        codec (see `objective.fpd`).
        """
        return fpd(self.codec, self.config.loss, alpha, teacher_loss, labelled)

    def teach(
        self,
        guide: Teacher,
        terms: tuple[Term, ...],
        answers: TeacherLabels | None = None,
        confidence: bool = False,
        prepare: Callable[[nn.Module], object] | None = None,
    ) -> Report:
        """The proof of what `guide` is worth: for each seed a student on the labels alone, where there are
        any, and one on `terms`; the report of both.

        The teacher is asked beforehand, or in every step where the terms look inside it. `prepare` is done to
        both students before they learn.
        """
        live = guide if looks_inside(terms) else None
        stored = None if live is not None else answers or self.label(guide, self.dataset)
        self.epochs(self.student, terms, live, stored)  # both get what the slower one can afford
        arms = {}
        if self.dataset.labelled:
            arms["baseline"] = [
                self.fit("baseline", self.supervised(), seed, prepare=prepare) for seed in self.seeds
            ]
        else:
            self.adopt(guide)
        arms["distilled"] = [
            self.fit("distilled", terms, seed, stored, confidence=confidence, teacher=live, prepare=prepare)
            for seed in self.seeds
        ]
        return self.finish(guide, arms, self.speeds_if_asked(guide, stored, terms))

    def _value(self, network: Teacher) -> float:
        # Without the flip test: on the way, half the time matters more than the last points.
        return self.choice.score(self.choice.predict(network, flip=False)).mean

    def spec(
        self,
        name: str,
        arm: str,
        answers: TeacherLabels | None = None,
        own: Mapping[str, Any] | None = None,
        dataset: PoseDataset | None = None,
    ) -> PoseSpec:
        """The contract of a network that this experiment trains, on whose `answers` and on which `people`,
        the experiment's own if None; `own` is what this training does otherwise than the setup says.
        """
        config, licence = self.config, (dataset or self.dataset).licence
        licences = {"code": "Apache-2.0", "weights": f"as the data: {licence}", "data": licence}
        if answers is not None:
            licences["teacher"] = answers.licence
        if self.pretrained and name == self.student:
            licences["pretrained backbone"] = self.pretrained
        # Files travel: where things lie on this machine is nobody's business, and a student is the same
        # whether speeds were measured or not.
        arguments = {key: value for key, value in asdict(config).items() if key not in LOCAL} | dict(
            own or {}
        )
        codec = self.codec_of(name)
        spec = PoseSpec(
            name,
            self.skeleton,
            codec.fields(),
            codec.size,
            config.padding,
            licences=licences,
            recipe=f"{self.recipe}/{arm}",
            arguments=arguments,
        )
        first = start.contract(name)
        if first is None:
            return spec
        licences["start"] = ", ".join(f"{what} {words}" for what, words in first.licences.items())
        return replace(spec, model=first.model, mean=first.mean, std=first.std, colour=first.colour)

    @property
    def augment(self) -> Augment:
        """How training images are changed."""
        config = self.config
        return Augment(
            config.scale,
            config.rotation,
            half_body=config.half_body,
            occlusion=config.occlusion,
            color_jitter=config.color_jitter,
            shift=config.shift,
        )

    def training(self, name: str) -> Training:
        """The numbers of every run of the network `name`, but for its epochs. What starts from trained
        weights starts low, or they are destroyed first.
        """
        config = self.config
        return Training(
            save_every=1000 if self.engine.device.type == "cuda" else 200,
            batch=config.batch,
            learning_rate=config.learning_rate or (LOW if start.is_file(name) else HIGH),
            warmup=config.warmup,
            milestones=config.milestones,
            layer_decay=config.layer_decay,
            optimizer=config.optimizer,
            schedule=config.schedule,
            weight_decay=config.weight_decay,
            clip=config.clip,
            ema=config.ema,
        )

    def arm(self, name: str, trained: Sequence[Trained]) -> Arm:
        """A line of the report from one training a seed."""
        one = trained[0]
        price = cost(one.network.network, self.codec.size)
        return Arm(
            name,
            [t.score.mean for t in trained],
            price.params,
            price.gmac,
            round(one.epochs),
            _mean_rows([dict(pck.rows(t.score, self.skeleton)) for t in trained]),
            float(np.mean([t.images_per_second for t in trained])),
        )

    def teacher_arm(self, teacher: Teacher, pose: Pose) -> Arm:
        """The teacher's line of the report from its predictions on the test samples, scored as the students'
        are.
        """
        score = self.measure.score(pose)
        price = cost(teacher.network, teacher.size) if isinstance(teacher, NetworkTeacher) else None
        return Arm(
            f"teacher ({teacher.spec.model if isinstance(teacher, NetworkTeacher) else teacher.name})",
            [score.mean],
            price.params if price else None,
            price.gmac if price else None,
            per_joint=dict(pck.rows(score, self.skeleton)),
        )

    def speeds_if_asked(
        self, teacher: Teacher, answers: TeacherLabels | None, terms: tuple[Term, ...]
    ) -> dict[str, float]:
        """`speeds` with --speeds, else none: a live teacher is asked over a hundred times for them."""
        if not self.config.speeds:
            return {}
        with self.doing(
            "measuring how fast the student trains alone, with stored answers and with the teacher live"
        ):
            return self.speeds(teacher, answers, terms)

    def speeds(
        self, teacher: Teacher, answers: TeacherLabels | None, terms: tuple[Term, ...]
    ) -> dict[str, float]:
        """Images a second of training the student without a teacher, with it as it was trained (from stored
        answers, where there are), and with the teacher live: medians, measured in turn.
        """
        spec, dataset, codec = self.spec(self.student, "speed"), self.dataset, self.codec
        plain = self.samples(dataset, spec, 0)
        built, learner = self.build(self.student), self.learner(self.build(self.student), terms, teacher)
        runs = {
            "supervised": (built, Objective(spec, codec, self.supervised()), plain),
            "live_teacher": (learner, Objective(spec, codec, terms, teacher=teacher), plain),
        }
        if answers is not None and not looks_inside(terms):
            stored = self.samples(dataset, spec, 0, answers)
            runs["distilled"] = (learner, Objective(spec, codec, terms, width=answers.width), stored)
        steps = {
            run: stepper(network, objective, crops, self.training(self.student), self.engine)
            for run, (network, objective, crops) in runs.items()
        }
        speeds = {
            run: float(np.median(rates))
            for run, rates in throughput(steps, self.config.batch, rounds=3).items()
        }
        return {"distilled": speeds["live_teacher"], **speeds}

    def finish(
        self,
        teacher: Teacher | None,
        arms: Mapping[str, Sequence[Trained]],
        speeds: Mapping[str, float | None],
    ) -> Report:
        """Writes what the experiment found: report.json, report.md, report.html, curves.png,
        cases.png, and the first seed's distilled student as checkpoint and ONNX.

        `arms` by name: `distilled`, `baseline` and `baseline_longer` where there are such, and any others.
        """
        out, students = self.out, {name: self.arm(name, trained) for name, trained in arms.items()}
        named = ("baseline", "baseline_longer", "distilled")
        theirs = None
        if teacher is not None:
            with self.doing(f"measuring the teacher on {len(self.measure.dataset)} test people"):
                theirs = self.measure.predict(teacher, self.config.flip_test)
        guide = None if teacher is None or theirs is None else self.teacher_arm(teacher, theirs)
        found = Report(
            recipe=self.recipe,
            data=self.dataset.name,
            metric=self.measure.name,
            seeds=list(self.seeds),
            teacher=guide,
            baseline=students.get("baseline"),
            baseline_longer=students.get("baseline_longer"),
            distilled=students.get("distilled"),
            others=[arm for name, arm in students.items() if name not in named],
            higher_is_better=self.measure.higher_is_better,
            digits=1 if self.measure.is_3d else 3,
            images_per_second=speeds,
            command=self.command,
            smoke=self.config.smoke,
            versions=report.installed_versions(),
            notes=[
                *dict.fromkeys(self.notes),
                *([f"{self.recipe}: {UNTRAINED_IN_SHORT}"] if self.recipe in UNTRAINED else []),
                *([report.SMOKE] if self.config.smoke else []),
            ],
            curves={name: [point for t in trained for point in t.curve] for name, trained in arms.items()},
            images={
                f"{self.choice.name} over epochs": "curves.png",
                "Worst, median and best test cases": "cases.png",
            },
        )
        if self.engine.is_main_process:
            # First what took hours, then what can go wrong: a test image that is gone by now, a file whose
            # parity fails.
            student = (arms.get("distilled") or arms.get("baseline") or next(iter(arms.values())))[0]
            write_bytes(out / "student.safetensors", student.path.read_bytes())
            report.write(found, out)
            self.say(found.table())
            # On the way nobody was asked twice, so the level is the teacher's without the flip test as well.
            with self.doing(f"drawing curves and cases into {out}"):
                level = None if teacher is None else self._value(teacher)
                name = self.choice.name + (", without the flip test" if self.config.flip_test else "")
                curves = {arm: [t.curve for t in trained] for arm, trained in arms.items()}
                figures.curves(curves, out / "curves.png", level, name)
                figures.cases(
                    self.measure.dataset,
                    student.pose,
                    theirs,
                    self.measure.errors(student.pose),
                    out / "cases.png",
                )
                page.write(
                    found,
                    page.Shown(
                        self.measure, student.pose, theirs, curves, level, name, len(self.dataset), out
                    ),
                )
            try:
                with self.doing("exporting the student, and comparing the file with the checkpoint"):
                    parity = export(out / "student.safetensors", out / "student.onnx", crops=self.crops(64))
            except ParityError as error:
                if not self.config.smoke:
                    raise
                self.say(
                    f"Not exported, since a student of seconds may know nothing that could be compared: "
                    f"{error}",
                    "yellow",
                )
                return found
            self.say(f"{out / 'student.onnx'}: {parity}")
            told = f"The report is {out / 'report.html'}."
            if self.config.smoke:
                self.say(
                    f"{told} {report.SMOKE} Nor does the student know anything; the same command without "
                    f"--smoke trains one.",
                    "yellow",
                )
            else:
                self.say(
                    f"{told} Try the student: poseling track IMAGE --model {out / 'student.onnx'} --out drawn"
                )
        return found

    def crops(self, count: int) -> NDArray[np.uint8]:
        """(count, H, W, 3) canonical crops of test people; where they are too few, other windows of their
        images as well.
        """
        dataset, size = self.measure.dataset, self.codec.size
        rows = np.unique(np.linspace(0, len(dataset) - 1, count).astype(int))
        crops = [
            Crop.from_box(dataset.boxes[i], size, self.config.padding).warp(read_image(dataset.images[i]))
            for i in rows
        ]
        if len(crops) < count:
            crops += list(windows(dataset.images, size, count - len(crops)))
        return np.stack(crops)


def _data(config: TrainConfig, skeleton: Skeleton | None) -> sets.Sources:
    """People to train on, to choose by and to test on, in `skeleton` where one is given.

    Of a set without test people every tenth image is kept apart for that, and of one without people to choose
    by another tenth.
    """
    if config.root and not config.data:
        raise ValueError(
            f"--root {config.root[0]} needs --data, which says what lies there: {sets.names('train')}"
        )
    found = sets.load_all(config.data or ("mini",), config.root, skeleton, config.files)
    if found.test is not None and found.val is not None:
        return found
    place = {image: i for i, image in enumerate(dict.fromkeys(found.train.images))}
    if len(place) < 2:
        raise ValueError(
            f"{found.train.images[0]}: is the only image, but some have to be kept apart for testing; give "
            f"more"
        )
    tenth = np.array([place[image] % 10 for image in found.train.images])
    test, val = (tenth == 1) & (found.test is None), (tenth == 6) & (found.val is None)
    if not val.any() and found.val is None:
        val = test if test.any() else tenth == 0  # too few to keep more apart
    away = test | val
    return replace(
        found,
        train=found.train[~away],
        origin=found.origin[~away],
        val=found.val if found.val is not None else found.train[val],
        test=found.test if found.test is not None else found.train[test],
    )


def duration(text: str) -> float:
    """Seconds of `90s`, `20m`, `2h` or `1.5h`. ValueError for anything else.

    >>> duration("1.5h")
    5400.0
    """
    units = {"s": 1, "m": 60, "h": 3600}
    try:
        seconds = float(text[:-1]) * units[text[-1:]]
    except (ValueError, KeyError):
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise ValueError(f"--budget {text}: is no time; give a number with s, m or h, such as 20m")
    return seconds


SMOKE_PEOPLE = 32
LOCAL = ("root", "files", "out", "labels", "speeds")  # what does not make a network another one
HIGH, LOW = 1e-3, 1.5e-4  # learning rates from random weights, and from trained ones at 32 people a step


def _smoke(config: TrainConfig) -> TrainConfig:
    return replace(config, size=64, width=None, epochs=2, batch=8, bf16=False, workers=0)


def _mean_rows(tables: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([table[name] for table in tables])) for name in tables[0]}
