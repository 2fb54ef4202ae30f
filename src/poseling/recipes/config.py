"""The flags of the recipes: how a network is trained, and who teaches it.

A default may depend on the run: the paper's number with --as-published, a small one on the mini set, else
ours. `default` writes such a default, for a field here or for an argument of a recipe, and
`TrainConfig.filled` is the one rule that picks its value. `@recipe` applies it to all arguments of a recipe
before the recipe runs.
"""

# No postponed annotations here: a subclass in another module, also a user's, inherits these fields, and the
# command line looks their types up in that module.

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, ParamSpec, Self, TypeVar, cast

from cyclopts import Parameter

from poseling.data.coco_files import NO_FILES, CocoFiles
from poseling.geometry import Size
from poseling.models import registry
from poseling.spec import PoseSpec

T = TypeVar("T")
P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Default:
    """A default with three values: `paper` with --as-published; `mini` on the mini set, where a run takes a
    minute on two cores; `ours` else, which learns fastest on small hardware. --help prints them.
    """

    paper: Any
    mini: Any
    ours: Any

    def __str__(self) -> str:
        paper, mini, ours = (
            "none" if value in (None, "") else str(value) for value in (self.paper, self.mini, self.ours)
        )
        if paper == mini == ours:
            return paper
        return f"{'' if ours == paper else f'{ours}; as published '}{paper}; with the mini set {mini}"


AS_PAPER: Any = object()
OF_START = ("size", "padding")  # which wait for the student: `TrainConfig.started`


def default(paper: T, mini: T, ours: T = AS_PAPER) -> T:
    """A `Default`, typed as the value that `TrainConfig.filled` picks; `ours` is the paper's if not given."""
    return cast(T, Default(paper, mini, paper if ours is AS_PAPER else ours))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """What is the same for every network of an experiment. Its fields are the flags that all recipes share.
    `size` and `padding`, where they are not given, wait for the student (`started`); `input` is known before.

    Parameters
    ----------
    data
        The data sets: {sets with train}. If neither this nor --root is given: mini, the synthetic people that
        come with the program. Several are mixed, by size or by shares: lsp:0.4 images:0.6.
    root
        Where the data are: one folder for all sets, or one for each; for lsp and lspet, the folder that holds
        lsp/ and lspet/. The mini set needs none.
    files
        For coco_json.
    out
        Folder of the results, runs/RECIPE if not given. A run that was stopped continues from here.
    labels
        Folder or URL of the teacher's pseudo-labels; in --out if not given. Pseudo-labels of an earlier run
        are used again.
    size
        Height of the input in pixels; of a student that starts from a trained file its own if neither this
        nor --width is given.
    width
        Width of the input; as its height if not given, or three quarters of it in the recipes of papers on
        COCO (kdlpn and later).
    as_published
        Use the paper's own numbers, made for a GPU, instead of those that learn fastest on small hardware.
    epochs
        Passes over the training samples, for the baseline and the distilled student alike; as many as the
        budget allows if not given.
    budget
        How long one training may take, such as 90s, 20m or 2h. Its measured speed decides the epochs.
    batch
        Samples in a step, over all processes.
    learning_rate
        The highest rate of the run; 1e-3 if not given, and 1.5e-4 for a student that starts from a trained
        file.
    optimizer
        The optimizer.
    schedule
        How the learning rate changes over the run: see docs/training.md.
    weight_decay
        On weights of convolutions, not on norms and biases.
    clip
        Largest gradient norm; 0 for none.
    ema
        Decay of the averaged weights that are kept, such as 0.999; 0 for none.
    warmup
        Steps over which the learning rate rises to its highest (not with one_cycle, which has its own rise).
    milestones
        Parts of the run after which the schedule `step` divides the rate by ten.
    layer_decay
        Learning rate of each layer of a vision transformer over that of the next deeper one.
    drop_path
        How often a sample skips the deepest layer of a vision transformer; less often the others.
    loss
        Loss of the heatmaps: mse, as FPD; or kl, over the pixels of each heatmap, which learns much faster in
        short runs.
    sigma
        Standard deviation of the Gaussians, in heatmap pixels.
    decoding
        How a joint is read from its heatmap: the highest pixel, a quarter pixel towards its higher neighbour,
        or DARK.
    padding
        Size of the crop over that of the person's box; of a student that starts from a trained file its own.
    rotation
        Augmentation: standard deviation of the rotation, in degrees.
    scale
        Augmentation: standard deviation, and bound, of the zoom.
    shift
        Augmentation: bound of the shift, in parts of the crop's sides.
    color_jitter
        Augmentation: bound of the relative change of brightness, contrast and saturation.
    half_body
        Augmentation: how often only half of the person is shown.
    occlusion
        Augmentation: how often a joint is covered.
    flip_test
        Average over the mirrored image in evaluation.
    seeds
        How many times the experiment is repeated.
    seed
        The first seed.
    evaluate_every
        Epochs between evaluations during training; 0 for a tenth of the run.
    bf16
        Mixed precision.
    workers
        Processes that load images.
    resident
        Decode the crop of every sample once, at 256 pixels, and keep all on the device, which then augments
        whole batches: for sets that fit (0.2 MB a sample).
    tensorboard
        Also write TensorBoard files.
    speeds
        Also measure, after the last epoch, how fast the student trains without a teacher, with pseudo-labels,
        and with the teacher run in every step: minutes.
    pretrained
        Start of the student's backbone, with and without the teacher alike: imagenet, where a package ships
        such weights (efficientnet_lite0 to 2), or a file of weights named as torchvision does.
    smoke
        A run of seconds that shows that all parts work. Its numbers mean nothing.
    """

    ASPECT: ClassVar[float] = 1.0  # of width to height, where no width is given

    data: tuple[str, ...] = ()
    root: tuple[Path, ...] = ()
    files: CocoFiles = NO_FILES
    out: Path | None = None
    labels: Path | None = None
    as_published: bool = False
    size: int = default(256, 64, 128)
    width: int | None = None
    epochs: float | None = default(140, 10, None)
    budget: str = default("", "", "1h")
    batch: int = default(4, 16, 32)
    learning_rate: float | None = default(2.5e-4, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = default("adam", "adamw", "adamw")
    schedule: Literal["step", "one_cycle", "cosine", "constant"] = default("step", "one_cycle", "one_cycle")
    weight_decay: float = default(0.0, 0.0, 0.01)
    clip: float = default(0.0, 0.0, 1.0)
    ema: float = default(0.0, 0.0, 0.999)
    warmup: int = 0
    milestones: tuple[float, ...] = (90 / 140, 120 / 140)
    layer_decay: float = 1.0
    drop_path: float = 0.0
    loss: Literal["mse", "kl"] = default("mse", "kl", "kl")
    sigma: float = default(2.0, 1.0, 1.5)
    decoding: Literal["plain", "quarter", "dark"] = "dark"
    padding: float = default(1.25, 1.25)
    rotation: float = default(30.0, 12.0)
    scale: float = default(0.25, 0.12)
    shift: float = 0.0
    color_jitter: float = 0.2
    half_body: float = 0.0
    occlusion: float = 0.0
    flip_test: bool = True
    seeds: int = 1
    seed: int = 0
    evaluate_every: float = default(1.0, 2.0, 0.0)
    bf16: bool = False
    workers: int = default(0, 1)
    resident: bool = False
    tensorboard: bool = False
    speeds: bool = False
    pretrained: str | None = None
    smoke: bool = False

    def __post_init__(self) -> None:
        # A budget that is given decides the epochs; the default epochs must not.
        if isinstance(self.epochs, Default) and isinstance(self.budget, str) and self.budget:
            object.__setattr__(self, "epochs", None)
        for field in fields(self):
            if field.name not in OF_START:
                object.__setattr__(self, field.name, self.filled(getattr(self, field.name)))
        if self.epochs is not None and not self.epochs > 0:  # --smoke ignores it, but 0 is a mistake
            raise ValueError(f"--epochs is {self.epochs:g}; it has to be above 0")
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"--{field.name.replace('_', '-')} is {value}; give a number")
        for name in ("batch", "learning_rate", "seeds", "size", "width", "padding", "sigma"):
            value = self.filled(getattr(self, name))
            if value is not None and not value > 0:
                raise ValueError(f"--{name.replace('_', '-')} is {value:g}; it has to be above 0")
        for name in ("evaluate_every", "workers", "weight_decay", "warmup", "clip"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"--{name.replace('_', '-')} is {value:g}; it cannot be below 0")
        if self.budget or self.epochs is None:
            duration(self.budget)

    @property
    def input(self) -> Size:
        """(W, H) of the students' input."""
        shape, height = 1.0 if self.on_mini or self.smoke else self.ASPECT, self.filled(self.size)
        return (self.width or round(shape * height), height)

    def started(self, contract: PoseSpec | None) -> Self:
        """The same with an input and a padding: those that are given, else those of the student's `contract`,
        where it starts from trained weights and nothing --as-published is wanted, else the defaults.
        """
        size, padding = self.input, self.filled(self.padding)
        if contract is not None and not self.as_published:
            if isinstance(self.size, Default) and self.width is None:
                size = contract.size
            if isinstance(self.padding, Default):
                padding = contract.padding
        return replace(self, width=size[0], size=size[1], padding=padding)

    @property
    def on_mini(self) -> bool:
        """Whether the mini set is used: because it is named, or because no other data are."""
        return self.data == ("mini",) or not (self.data or self.root)

    def filled(self, value: T) -> T:
        """`value`, with the default for this run where it is a `Default`, or a dataclass with such fields."""
        if isinstance(value, Default):
            return cast(T, value.paper if self.as_published else value.mini if self.on_mini else value.ours)
        if is_dataclass(value) and not isinstance(value, TrainConfig | type):  # a TrainConfig fills its own
            held = {field.name: getattr(value, field.name) for field in fields(value)}
            found = {name: self.filled(v) for name, v in held.items() if isinstance(v, Default)}
            return replace(value, **found) if found else value
        return value


@dataclass(frozen=True, kw_only=True)
class CocoConfig(TrainConfig):
    """The same for the papers on COCO: inputs a third taller than wide, and the numbers of SimpleBaseline's
    and HRNet's family.
    """

    ASPECT: ClassVar[float] = 0.75

    batch: int = default(32, 16)
    learning_rate: float | None = default(1e-3, 3e-3, None)
    rotation: float = default(40.0, 12.0)
    scale: float = default(0.3, 0.12)


@dataclass(frozen=True, kw_only=True)
class ViTPoseConfig(CocoConfig):
    """ViTPose's numbers (its configuration for ViTPose-B on COCO), without its start from MAE's weights."""

    epochs: float | None = default(210, 10, None)
    batch: int = default(512, 16, 32)
    learning_rate: float | None = default(5e-4, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = default("adamw", "adamw")
    weight_decay: float = default(0.1, 0.0, 0.01)
    clip: float = default(1.0, 0.0, 1.0)
    warmup: int = default(500, 0, 0)
    milestones: tuple[float, ...] = (170 / 210, 200 / 210)
    layer_decay: float = default(0.75, 1.0, 1.0)
    drop_path: float = default(0.3, 0.0, 0.0)
    scale: float = default(0.5, 0.12, 0.3)
    half_body: float = default(0.3, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class TokenPoseConfig(CocoConfig):
    """TokenPose's numbers (its configurations on COCO)."""

    epochs: float | None = default(300, 10, None)
    milestones: tuple[float, ...] = (200 / 300, 260 / 300)
    rotation: float = default(45.0, 12.0, 40.0)
    scale: float = default(0.35, 0.12, 0.3)
    half_body: float = default(0.3, 0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class RTMPoseConfig(CocoConfig):
    """RTMPose's and DWPose's numbers (their configurations for bodies)."""

    epochs: float | None = default(420, 10, None)
    batch: int = default(1024, 16, 32)
    learning_rate: float | None = default(4e-3, 3e-3, None)
    optimizer: Literal["adam", "adamw", "rmsprop"] = default("adamw", "adamw")
    schedule: Literal["step", "one_cycle", "cosine", "constant"] = default("cosine", "one_cycle", "one_cycle")
    weight_decay: float = default(0.05, 0.0, 0.01)
    clip: float = default(1.0, 0.0, 1.0)
    warmup: int = default(1000, 0, 0)
    half_body: float = default(0.3, 0.0, 0.0)


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """The teacher of a recipe. A recipe's own defaults are a subclass. ValueError where both --teacher and
    --train-teacher are given, or one of them names what the other takes.

    Parameters
    ----------
    teacher
        Weights that exist: a checkpoint (.safetensors), an ONNX file, a network of `poseling models`, a
        ViTPose of the Hugging Face hub (usyd-community/...) or a folder that holds one, or mini, the teacher
        that comes with the mini set.
    train_teacher
        Train a teacher first, on the labels: an architecture such as hourglass-8x256 (docs/models.md).
    teacher_epochs
        Epochs of --train-teacher; as many as the student's if not given.
    teacher_adapter
        For an ONNX file that Poseling does not know: the name of a built-in adapter, or a JSON file that says
        how to feed and read it (docs/teachers.md).
    """

    teacher: str = ""
    train_teacher: str = ""
    teacher_epochs: float | None = None
    teacher_adapter: str | None = None

    def __post_init__(self) -> None:
        names = ("teacher", "train_teacher")
        values = {name: getattr(self, name) for name in names}
        if any(isinstance(value, str) and value for value in values.values()):
            for name, value in values.items():
                if isinstance(value, Default):  # a default does not stand beside the other flag
                    object.__setattr__(self, name, "")
        elif any(isinstance(value, Default) for value in values.values()):
            return
        if self.teacher and self.train_teacher:
            raise ValueError(
                f"--teacher {self.teacher} --train-teacher {self.train_teacher}: give one of them; --teacher "
                f"takes weights that exist, --train-teacher trains an architecture first"
            )
        if registry.is_name(self.teacher) and not Path(self.teacher).exists():
            raise ValueError(
                f"--teacher {self.teacher}: is an architecture with random weights; --train-teacher "
                f"{self.teacher} trains it first, --teacher takes weights that exist"
            )
        if self.train_teacher and not registry.is_name(self.train_teacher):
            examples = ", ".join(family.example for family in registry.FAMILIES.values())
            raise ValueError(
                f"--train-teacher {self.train_teacher}: is no architecture, of which there is {examples}; "
                f"weights that exist go to --teacher"
            )

    @property
    def names(self) -> tuple[str, ...]:
        """The weights that have to exist before anything runs."""
        return (self.teacher,) if self.teacher else ()


@dataclass(frozen=True, kw_only=True)
class StoredTeacherConfig(TeacherConfig):
    """A teacher whose predictions are stored before training, as pseudo-labels.

    Parameters
    ----------
    teacher_flip
        Average the teacher's predictions over the mirrored image.
    teacher_scales
        Average the teacher's predictions over these zooms.
    """

    teacher_flip: bool = False
    teacher_scales: tuple[float, ...] = (1.0,)

    def predicts_once(self, why: str) -> None:
        """ValueError where predictions are to be averaged, but for `why` the teacher runs in every step."""
        if self.teacher_flip or self.teacher_scales != (1.0,):
            raise ValueError(
                f"--teacher-flip and --teacher-scales average pseudo-labels, but with {why} the teacher "
                f"runs in every step; leave them out"
            )


@dataclass(frozen=True, kw_only=True)
class ResponseConfig(StoredTeacherConfig):
    """A teacher whose outputs the student learns beside the labels.

    Parameters
    ----------
    alpha
        The teacher's share of the loss: 0 learns from the labels alone, 1 from the teacher alone.
    confidence
        Weigh each joint by the teacher's own score.
    """

    alpha: float = 0.5
    confidence: bool = False


def recipe(function: Callable[P, R]) -> Callable[P, R]:
    """A recipe: `function`, called with every `Default` among its arguments filled for its `TrainConfig`.
    ValueError for epochs among them that are not above 0.

    >>> @recipe
    ... def mine(config: TrainConfig = TrainConfig(), *, alpha: float = default(0.5, 1.0)) -> float:
    ...     return alpha
    >>> mine(), mine(TrainConfig(data=("lsp",), root=(Path("x"),))), mine(alpha=0.3)
    (1.0, 0.5, 0.3)
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        config = next((v for v in bound.arguments.values() if isinstance(v, TrainConfig)), TrainConfig())
        bound.arguments.update({name: config.filled(value) for name, value in bound.arguments.items()})
        _lengths(bound.arguments)
        return function(*bound.args, **bound.kwargs)

    return run


def _lengths(given: Mapping[str, Any]) -> None:
    """ValueError for epochs of any stage of a recipe, or of its teacher, that are not above 0: the stages before
    would be trained for nothing.
    """
    for name, value in given.items():
        if isinstance(value, TeacherConfig):
            _lengths({field.name: getattr(value, field.name) for field in fields(value)})
        elif "epochs" in name and isinstance(value, int | float) and not value > 0:
            raise ValueError(f"--{name.replace('_', '-')} is {value:g}; it has to be above 0")


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
        raise ValueError(f"--budget {text}: is no duration; give a number with s, m or h, such as 20m")
    return seconds


def smoke(config: TrainConfig) -> TrainConfig:
    """The numbers of a run of seconds."""
    return replace(config, size=64, width=None, epochs=2, batch=8, bf16=False, workers=0)
