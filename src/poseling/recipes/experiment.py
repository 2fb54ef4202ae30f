"""One experiment: its data, the contract of its networks, their training, and a teacher's pseudo-labels.

A recipe says which networks are trained on what. The experiment makes sure that all of them see the same
samples, epochs and seeds, and are evaluated alike. Everything that is finished is kept in `out`, so that the
same command continues where it was stopped.
"""

from __future__ import annotations

import json
import secrets
import shlex
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.text import Text
from torch import nn

from poseling.codecs import CODECS, Codec
from poseling.data.augment import Augment
from poseling.data.dataset import PoseDataset
from poseling.data.loader import Crops, TeacherLabels
from poseling.data.resident import Images, Resident
from poseling.distill.hooks import bare, hooked
from poseling.distill.objective import Objective, Term, fpd, looks_inside, supervised, watch
from poseling.evaluate import pck
from poseling.evaluate.evaluator import Evaluator
from poseling.files import write_bytes
from poseling.licences import behind, merged, started
from poseling.models import checkpoint, start
from poseling.models.importers.imagenet import load_backbone
from poseling.models.vitpose import drop_paths
from poseling.pose import Pose
from poseling.recipes import config as configs
from poseling.recipes.config import ResponseConfig, StoredTeacherConfig, TeacherConfig, TrainConfig, duration
from poseling.recipes.parts import parts
from poseling.recipes.students import Student, StudentLike, own_module
from poseling.skeleton import Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Teacher
from poseling.teachers.cache import PseudoLabels, digest, label
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.load import load, there
from poseling.teachers.network import NetworkTeacher
from poseling.train.loop import LaidOutError, engine, fit
from poseling.train.optim import Training, depths
from poseling.train.throughput import stepper, throughput

Terms = tuple[Term, ...]
# Flags that files do not record: paths of this machine, and what does not change a network.
LOCAL = ("root", "files", "out", "labels", "speeds")
HIGH, LOW = 1e-3, 1.5e-4  # learning rates from random weights, and from trained ones, at 32 samples a step


@dataclass(frozen=True)
class TeacherSignal:
    """A teacher's predictions for the samples of a training: `stored` before it, as pseudo-labels, or made in
    every step by the `live` teacher. `confidence` weighs each joint by the teacher's own score. Without
    either there is no teacher.
    """

    stored: TeacherLabels | None = None
    live: Teacher | None = None
    confidence: bool = False

    @property
    def width(self) -> float:
        """Of the Gaussians of the stored heatmaps, over the student's."""
        return 1.0 if self.stored is None else self.stored.width


NO_TEACHER = TeacherSignal()


@dataclass(frozen=True, eq=False)
class Learner:
    """A network about to be trained: the `student` that it was built from, its `module`, and the `seed` of
    its weights and of its samples.

    A recipe may change the module before training, by plain functions (`hooks.new_head`). `start` is the
    recipe of the network whose weights it begins with; `only` the submodule that learns, all if empty; `kept`
    the name and a function to the network that is kept of it, itself if None.
    """

    student: Student
    module: nn.Module
    seed: int
    start: str = ""
    only: str = ""
    kept: tuple[str, Callable[[nn.Module], nn.Module]] | None = None


@dataclass(frozen=True, eq=False)
class Trained:
    """A network that an experiment trained: its file, its predictions on the test samples and their score,
    images per second of its training, and (epoch, value) during it.
    """

    path: Path
    network: NetworkTeacher
    score: pck.Score
    pose: Pose
    images_per_second: float
    curve: list[tuple[float, float]]
    epochs: float
    seed: int


@dataclass(frozen=True, eq=False)
class Experiment:
    """The networks of one `recipe`, trained alike: `config` says how, `dataset` on which samples, of which
    `origin` (N,) says from which of the `sources` each is; `choice` measures the curves and `measure` the
    finished networks.

    Nothing changes an experiment; one with other samples or another measure is a new one (`with_...`), which
    shares `out`, the notes for the report and the resident images.
    """

    recipe: str
    config: TrainConfig
    student: Student
    out: Path
    dataset: PoseDataset
    origin: NDArray[np.int64]
    sources: tuple[str, ...]
    choice: Evaluator
    measure: Evaluator
    height: float | None
    pretrained: str
    engine: Accelerator
    console: Console
    command: str
    notes: list[str]
    resident: dict[int, Images] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        recipe: str,
        config: TrainConfig,
        student: StudentLike,
        skeleton: Skeleton | None = None,
        *,
        teacher: TeacherConfig | None = None,
        teachers: Sequence[str] = (),
        labels: bool = True,
        is_3d: bool = False,
        height: float | None = None,
    ) -> Experiment:
        """The experiment `recipe` with this student, on the data of `config`, in `skeleton` if given.

        `teacher` and `teachers` are looked for at once. Without `labels` the recipe can do with images that
        have none, which take the teacher's skeleton. `is_3d` measures 3D joints; networks predict people of
        the `height` from knee to neck, where one is given (see `codecs.location_map`).

        ValueError or FileNotFoundError for a student or a teacher that there is not, or for data without
        labels where the recipe needs some, before anything takes time.
        """
        given = configs.smoke(config) if config.smoke else config
        config = given.started(start.contract(student) if isinstance(student, str) else None)
        known = Student.of(student, config.input, config.smoke)
        if teacher is not None and not (teacher.teacher or teacher.train_teacher):
            raise ValueError(
                f"{recipe} needs a teacher: --teacher names weights that exist, such as "
                f"movenet-thunder.onnx, --train-teacher an architecture that is trained first"
            )
        for name in (*(() if teacher is None else teacher.names), *teachers):
            there(name)  # reading the data may take minutes
        if not labels and skeleton is None and config.data == ("images",) and teacher and teacher.teacher:
            skeleton = load(teacher.teacher, teacher.teacher_adapter).skeleton
        sources, train, val, test = parts(config, skeleton)
        if (labels or skeleton is None) and not (train.labelled and test.labelled):
            raise ValueError(
                f"--data {' '.join(config.data)}: has no labels, and {recipe} learns from labels; `poseling "
                f"distill unlabelled` needs none"
            )
        pretrained = ""
        codec = _codec(known, config, height)
        if config.pretrained is not None and not config.smoke:
            pretrained = load_backbone(known.build(train.skeleton, codec.size), config.pretrained)
        # A folder for each recipe, so that two of them do not share networks.
        experiment = cls(
            recipe,
            config,
            known,
            Path("runs") / recipe if config.out is None else config.out,
            train,
            sources.origin[: len(train)],
            sources.names,
            Evaluator.of(val, is_3d),
            Evaluator.of(test, is_3d),
            height,
            pretrained,
            engine(bf16=config.bf16),
            Console(),
            shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
            [*dict.fromkeys((*train.left_out, *val.left_out, *test.left_out))],
        )
        for note in experiment.notes:
            experiment.say(note, "yellow")
        if known.starts_trained:
            width, height = config.input
            experiment.say(
                f"{known.name}: starts trained; input {width}x{height}, padding {config.padding:g}"
            )
        experiment.say(
            f"{recipe}: {len(train)} samples of {train.name} to train on, {len(val)} for the curves, "
            f"{len(test)} to test on, on {experiment.engine.device}"
        )
        return experiment

    def with_dataset(self, dataset: PoseDataset) -> Experiment:
        """The same with other samples to train on."""
        return replace(self, dataset=dataset)

    def with_joints(self, known: NDArray[np.bool_]) -> Experiment:
        """The same, measured on the joints that are `known` (K,) as well."""
        return replace(
            self,
            choice=replace(self.choice, joints=self.choice.joints & known),
            measure=replace(self.measure, joints=self.measure.joints & known),
        )

    def known_to(self, teacher: Teacher) -> Experiment:
        """The same, measured on the joints that the teacher predicts: all networks on the same ones."""
        return replace(self, choice=self.choice.known_to(teacher), measure=self.measure.known_to(teacher))

    def with_agreement(self, teacher: Teacher) -> Experiment:
        """The same, measured by the agreement with the teacher, for test images without labels."""
        flip = self.config.flip_test
        return replace(
            self,
            measure=self.measure.with_labels_of(teacher, flip),
            choice=self.choice.with_labels_of(teacher, flip),
        )

    def with_teacher(self, teacher: TeacherConfig) -> tuple[Experiment, Teacher]:
        """The teacher, trained here first where --train-teacher asks for it, and the same experiment measured
        on the joints that it predicts.
        """
        found: Teacher
        if teacher.train_teacher:
            student = self.student_of(teacher.train_teacher)
            learner = self.learner(self.config.seed, student)
            terms = self.supervised(student)
            found = self.fit("teacher", learner, terms, epochs=teacher.teacher_epochs).network
        else:
            found = self.load_teacher(teacher.teacher, teacher.teacher_adapter)
        return self.known_to(found), found

    def load_teacher(self, name: str, adapter: str | None = None) -> Teacher:
        """The teacher in a file, a folder or on the hub, on the experiment's device; an ONNX file on the CPU,
        where ONNX Runtime is installed by default.
        """
        return load(name, adapter, device="cpu" if name.endswith(".onnx") else str(self.engine.device))

    @property
    def seeds(self) -> range:
        """The seeds of the experiment."""
        return range(self.config.seed, self.config.seed + self.config.seeds)

    @property
    def skeleton(self) -> Skeleton:
        """Of the data, and so of every student."""
        return self.dataset.skeleton

    @property
    def codec(self) -> Codec:
        """Of the student."""
        return self.codec_of(self.student)

    def codec_of(self, student: Student) -> Codec:
        """The codec of a network's outputs."""
        return _codec(student, self.config, self.height)

    def student_of(self, name: str, exact: bool = False) -> Student:
        """Another network by name; with --smoke the smallest of its family, unless it is to be `exact`."""
        return Student.of(name, self.config.input, self.config.smoke and not exact)

    def supervised(self, student: Student | None = None) -> Terms:
        """The labels alone, for the student or another network."""
        return supervised(self.codec_of(student or self.student), self.config.loss)

    def respond(self, alpha: float, teacher_loss: str | None = None, labelled: bool = False) -> Terms:
        """(1 - alpha) times the loss on the labels and alpha times the loss on the teacher's predictions, of
        the student's codec (see `objective.fpd`).
        """
        return fpd(self.codec, self.config.loss, alpha, teacher_loss, labelled)

    def learner(self, seed: int, student: Student | None = None, start: Trained | None = None) -> Learner:
        """The student, or another network, with random weights of this seed, or with those of `start`."""
        student = student or self.student
        config = self.config
        torch.manual_seed(seed)
        module = student.build(self.skeleton, self.codec_of(student).size)
        if config.pretrained is not None and student.name == self.student.name and not config.smoke:
            load_backbone(module, config.pretrained)
        if start is not None:
            module.load_state_dict(start.network.network.state_dict())
        if config.drop_path:
            drop_paths(module, config.drop_path)
        return Learner(student, module, seed, "" if start is None else start.network.spec.recipe)

    def signal(
        self, teacher: Teacher, terms: Terms, how: StoredTeacherConfig | None = None, live: bool = False
    ) -> TeacherSignal:
        """The teacher's predictions for the experiment's samples: stored, or `live` in every step, as it has
        to be where the terms compare what is inside the networks. ValueError where --teacher-flip or
        --teacher-scales are given for a live teacher, which predicts once.
        """
        confidence = how.confidence if isinstance(how, ResponseConfig) else False
        flip, scales = (False, (1.0,)) if how is None else (how.teacher_flip, how.teacher_scales)
        if not live and not looks_inside(terms):
            return TeacherSignal(self.label(teacher, self.dataset, flip, scales), None, confidence)
        if how is not None:
            how.predicts_once("these losses")
        return TeacherSignal(None, teacher, confidence)

    def label(
        self, teacher: Teacher, dataset: PoseDataset, flip: bool = False, scales: tuple[float, ...] = (1.0,)
    ) -> PseudoLabels:
        """The teacher's pseudo-labels for `dataset`, each predicted once and kept in `out/labels` or where
        --labels says; averaged over the mirrored image and over scales, if wanted.
        """
        url = str(self.config.labels or self.out / "labels")
        shard = (self.engine.process_index, self.engine.num_processes)
        # One of the processes hashes a file, and all divide the images alike.
        known = digest(dataset.images, shard, gather_object)
        (deal,) = broadcast_object_list([secrets.token_hex(8)])
        with Progress(
            *Progress.get_default_columns(),
            MofNCompleteColumn(),
            console=self.console,
            disable=shard[0] > 0 or not self.console.is_terminal,
        ) as progress:
            bar = progress.add_task(f"running {teacher.name}", total=None)
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
                    f"Stopped while the teacher was running. Its predictions until here stay in {url}; the "
                    f"same command continues from there.",
                    "yellow",
                )
                raise
        self.engine.wait_for_everyone()
        mine = "" if shard[1] == 1 else " by this process"
        self.say(
            f"{teacher.name}: {asked.predicted} predictions made{mine}, {asked.stored} already in "
            f"{asked.store}"
        )
        labels = PseudoLabels.open(asked.store, dataset, self.skeleton, teacher, known, self.codec.heatmap)
        self.notes.extend(note for note in labels.left_out if note not in self.notes)
        return labels

    def fit(
        self,
        arm: str,
        learner: Learner,
        terms: Terms,
        signal: TeacherSignal = NO_TEACHER,
        *,
        epochs: float | None = None,
        dataset: PoseDataset | None = None,
    ) -> Trained:
        """Trains `learner` on `terms`, evaluates it, and saves it as `out/seed-S/ARM.safetensors`.

        `epochs` are counted in the experiment's own samples, so that training on another `dataset` takes as
        many steps. ValueError if `out` holds a run of other settings.
        """
        config, seed, student = self.config, learner.seed, learner.student
        dataset = self.dataset if dataset is None else dataset
        share = len(self.dataset) / len(dataset)
        if epochs is None or config.smoke:
            epochs = self.epochs(student, terms, signal)
        codec = self.codec_of(student)
        own = {
            "seed": seed,
            "epochs": epochs,
            "terms": [_described(term) for term in terms],
            "confidence": signal.confidence,
            "start": learner.start,
        }
        spec = self.spec(student, arm, signal.stored, own, dataset)
        name, keep = (spec.model, bare) if learner.kept is None else (learner.kept[0], _kept(learner.kept[1]))
        kept_spec = replace(spec, model=name)
        folder = self.out / f"seed-{seed}" / arm
        module = self.hooked(learner.module, terms, signal.live, learner.only, codec)
        try:
            fitted = fit(
                module,
                Objective(spec, codec, terms, signal.confidence, signal.live, signal.width),
                self.samples(dataset, spec, seed, signal.stored),
                replace(self.training(student, module), epochs=epochs * share, seed=seed),
                folder,
                self.engine,
                evaluate=lambda net: {
                    "value": self.value(NetworkTeacher(keep(net), kept_spec, device=self.engine.device))
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
        kept = keep(fitted.network)
        if self.engine.is_main_process:
            checkpoint.save(path, kept, kept_spec)
        self.engine.wait_for_everyone()
        if fitted.broken:
            self.notes.append(
                f"{arm}, seed {seed}: {len(fitted.broken)} images could not be read, the first "
                f"{fitted.broken[0]}"
            )
        own_network = kept if own_module(kept_spec) else None
        trained = checkpoint_teacher(path, str(self.engine.device), own_network)
        with self.doing(f"measuring {arm}, seed {seed}, on {len(self.measure.dataset)} test samples"):
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

    def arm(
        self,
        name: str,
        terms: Terms,
        signal: TeacherSignal = NO_TEACHER,
        *,
        starts: Sequence[Trained] | None = None,
        prepare: Callable[[nn.Module], object] | None = None,
        epochs: float | None = None,
        dataset: PoseDataset | None = None,
    ) -> list[Trained]:
        """`fit` of the student for every seed, from its own start or from the networks of an earlier arm,
        `starts`; `prepare` is done to each before it learns.
        """

        def one(seed: int, start: Trained | None) -> Trained:
            learner = self.learner(seed, start=start)
            if prepare is not None:
                prepare(learner.module)
            return self.fit(name, learner, terms, signal, epochs=epochs, dataset=dataset)

        if starts is not None:
            return [one(start.seed, start) for start in starts]
        return [one(seed, None) for seed in self.seeds]

    def _new_leg(self) -> str:
        """How to continue after a finished experiment; its pseudo-labels are good for that too."""
        student, labels = self.out / "student.safetensors", self.config.labels or self.out / "labels"
        if not student.is_file():
            return f"first finish what lies in {self.out} with its old settings, or give another --out"
        words = [
            "--student",
            str(student),
            "--out",
            f"{self.out}-2",
            *(("--labels", str(labels)) if labels.is_dir() else ()),
        ]
        return f"start a new run from its student, with {shlex.join(words)}"

    def samples(
        self, dataset: PoseDataset, spec: PoseSpec, seed: int, stored: TeacherLabels | None = None
    ) -> Crops | Resident:
        """What a network of this contract trains on."""
        if not self.config.resident:
            return Crops(dataset, spec.size, spec.padding, self.augment, seed, stored)
        key = hash((dataset.images, dataset.boxes.tobytes()))
        if key not in self.resident:
            self.say(f"reading {len(dataset)} images")
            self.resident[key] = Images(dataset, self.engine.device)
        return Resident(dataset, self.resident[key], spec.size, spec.padding, self.augment, seed, stored)

    def epochs(
        self, student: Student | None = None, terms: Terms | None = None, signal: TeacherSignal = NO_TEACHER
    ) -> float:
        """The epochs of a training of the student, or of another network: as --epochs says, or as many as the
        --budget allows on `terms`, the labels if not given.

        That is measured once a network, over some steps, so that all its trainings are equally long, and kept
        in `out`, so that a run can continue. ValueError where it is less than one.
        """
        config, student = self.config, student or self.student
        if config.epochs is not None:
            return config.epochs
        width, height = config.input
        amount = f"{len(self.dataset)} people, {config.batch} a step"
        amount += f", {config.workers} workers" if config.workers else ""
        key = f"{config.budget} of {student.name}, {width}x{height}, {amount}"
        kept = self.out / "budget.json"
        (known,) = broadcast_object_list([json.loads(kept.read_text()) if kept.is_file() else {}])
        if key not in known:
            epochs = self._affordable(student, terms or self.supervised(student), signal)
            if self.engine.is_main_process:
                write_bytes(kept, (json.dumps(known | {key: epochs}, indent=1) + "\n").encode())
            known[key] = epochs
            self.engine.wait_for_everyone()
        return float(known[key])

    def _affordable(self, student: Student, terms: Terms, signal: TeacherSignal) -> float:
        config, codec = self.config, self.codec_of(student)
        spec = self.spec(student, "speed", signal.stored)
        with torch.random.fork_rng(devices=[]):  # a learner that is built already must not notice
            module = self.hooked(student.build(self.skeleton, codec.size), terms, signal.live, "", codec)
            objective = Objective(spec, codec, terms, False, signal.live, signal.width)
            samples = self.samples(self.dataset, spec, 0, signal.stored)
            training, workers = self.training(student, module), config.workers
            step = stepper(module, objective, samples, training, self.engine, workers)
            (rates,) = throughput({"": step}, config.batch, rounds=5 + 8 * workers).values()
        steady = rates[4 * workers :]  # what the workers had loaded before they were asked goes by faster
        (speed,) = broadcast_object_list([statistics.harmonic_mean(steady)])  # the processes must agree
        epochs = 0.95 * duration(config.budget) * speed / len(self.dataset)  # the rest is for evaluation
        if epochs < 1:
            raise ValueError(
                f"--budget {config.budget}: {speed:.0f} samples a second here, so one epoch of "
                f"{len(self.dataset)} samples takes {len(self.dataset) / speed / 60:.0f} minutes; give more "
                f"time, a smaller --size or fewer samples, or set --epochs"
            )
        self.say(
            f"{speed:.0f} samples a second, so --budget {config.budget} is {epochs:.1f} epochs a training"
        )
        return float(epochs)

    def hooked(
        self,
        module: nn.Module,
        terms: Terms,
        teacher: Teacher | None,
        only: str = "",
        codec: Codec | None = None,
    ) -> nn.Module:
        """`module` as it learns by `terms` from `teacher`, with the hooks and adapters that they need; its
        `codec` is the student's if None.
        """
        inner = teacher.network if isinstance(teacher, NetworkTeacher) else None
        adapters = {term.name: term.adapter for term in terms if term.adapter}
        size = None if teacher is None else teacher.size
        return hooked(module, (codec or self.codec).size, watch(terms), adapters, inner, size, only)

    def value(self, network: Teacher) -> float:
        """A point of a curve: the score on the samples to choose by, without the flip test, which would
        double its time.
        """
        return self.choice.score(self.choice.predict(network, flip=False)).mean

    def spec(
        self,
        student: Student,
        arm: str,
        stored: TeacherLabels | None = None,
        own: Mapping[str, Any] | None = None,
        dataset: PoseDataset | None = None,
    ) -> PoseSpec:
        """The contract of a network that this experiment trains, on whose pseudo-labels (`stored`) and on
        which `dataset`, the experiment's own if None; `own` are settings of this training alone.
        """
        config, licence = self.config, (dataset or self.dataset).licence
        licences = {"code": "Apache-2.0", "weights": "as the data", "data": merged(licence)}
        if stored is not None:
            licences["teacher"] = stored.licence
            licences["data"] = merged(licence, stored.behind)
        if self.pretrained and student.name == self.student.name:
            licences["pretrained backbone"] = self.pretrained
        arguments = {key: value for key, value in asdict(config).items() if key not in LOCAL}
        codec = self.codec_of(student)
        spec = PoseSpec(
            student.name,
            self.skeleton,
            codec.fields(),
            codec.size,
            config.padding,
            licences=licences,
            recipe=f"{self.recipe}/{arm}",
            arguments=arguments | dict(own or {}),
        )
        first = student.contract
        if first is None:
            return spec
        licences["start"] = started(first.model, first.licences)
        licences["data"] = merged(licences["data"], behind(first.licences))
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

    def training(self, student: Student, network: nn.Module) -> Training:
        """The numbers of every training of this student's `network`, without its epochs. The weights of a file
        start at a low learning rate, which would destroy them if it were high; a layer decay is only for
        networks that have depths.
        """
        config = self.config
        decay = config.layer_decay
        if decay != 1 and depths(network) is None:
            told = f"{student.name}: trained at one rate; --layer-decay {decay:g} is for vision transformers"
            if told not in self.notes:
                self.note(told)
            decay = 1.0
        return Training(
            save_every=1000 if self.engine.device.type == "cuda" else 200,
            batch=config.batch,
            learning_rate=config.learning_rate or (LOW if student.starts_trained else HIGH),
            warmup=config.warmup,
            milestones=config.milestones,
            layer_decay=decay,
            optimizer=config.optimizer,
            schedule=config.schedule,
            weight_decay=config.weight_decay,
            clip=config.clip,
            ema=config.ema,
        )

    def say(self, text: object, style: str | None = None) -> None:
        """Prints to the console, once for all processes."""
        if self.engine.is_main_process:
            self.console.print(
                text, style=style, markup=False, highlight=False, soft_wrap=isinstance(text, str)
            )

    def note(self, text: str) -> None:
        """Prints to the console, and keeps the text for the report."""
        self.notes.append(text)
        self.say(text)

    @contextmanager
    def doing(self, what: str) -> Iterator[None]:
        """Prints what runs in this block, which may take minutes."""
        if self.engine.is_main_process and self.console.is_terminal:
            with self.console.status(Text(what)):
                yield
        else:
            self.say(what)
            yield


def _codec(student: Student, config: TrainConfig, height: float | None) -> Codec:
    return CODECS[student.codec].configured(
        config.input, config.loss, config.sigma, config.decoding, stride=student.stride, height=height
    )


def _described(term: Term) -> list[object]:
    """A term as files record it."""
    loss = getattr(term.loss, "__name__", "")
    return [term.name, loss, term.weight, *(["labelled"] if term.labelled else [])]


def _kept(function: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], nn.Module]:
    return lambda learnt: function(bare(learnt))
