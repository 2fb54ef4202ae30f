"""The commands, in one table. Each is a function whose keyword parameters are its flags."""

from __future__ import annotations

import ast
import json as jsons
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cyclopts import App, CycloptsError, Parameter
from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from poseling import __version__
from poseling.data.coco_files import NO_FILES, CocoFiles
from poseling.recipes import RECIPES, UNTRAINED_NOTE, own

OWN = "This recipe"
# Where recipes' flags stand in their help. What no group names is the recipe's own.
GROUPS: dict[str, tuple[str, ...]] = {
    "Main flags": ("data", "root", "annotations", "category", "sides", "out", "teacher", "teachers", "train_teacher", "student", "budget", "seeds"),
    "The teacher": ("teacher_epochs", "teacher_adapter", "teacher_flip", "teacher_scales", "alpha", "confidence"),
    OWN: (),
    "Training": (
        "epochs", "as_published", "size", "width", "batch", "learning_rate", "optimizer", "schedule", "weight_decay", "clip", "ema", "warmup", "milestones",
        "layer_decay", "drop_path", "loss", "sigma", "pretrained", "seed",
    ),
    "Augmentation": ("padding", "rotation", "scale", "shift", "color_jitter", "half_body", "occlusion"),
    "The rest": ("smoke", "labels", "decoding", "flip_test", "evaluate_every", "speeds", "bf16", "workers", "resident", "tensorboard"),
}  # fmt: skip


def _filled(entry: HelpEntry) -> HelpEntry:
    """The entry with the names of data sets where its text has `{sets}`, or `{sets with test}` for those with
    a test split. Read when help is printed: every other start would wait for it.
    """
    text = getattr(getattr(entry.description, "primary_renderable", None), "markup", "")
    if "{sets" not in text:
        return entry
    from poseling.data import sets

    chosen = {
        "{sets}": sets.names(),
        "{sets with train}": sets.names("train"),
        "{sets with test}": sets.names("test"),
        "{sets with boxes}": sets.names(boxes=True),
        "{sets in 3D}": sets.names(is_3d=True),
    }
    for mark, names in chosen.items():
        text = text.replace(mark, names)
    filled = InlineText.from_format(text, "markdown", force_empty_end=entry.description.force_empty_end)
    for more in entry.description.texts:
        filled.append(more)
    return entry.copy(description=filled)


def _plain(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Prints help with the names of the data sets in it."""
    DefaultFormatter()(console, options, panel.copy(entries=[_filled(entry) for entry in panel.entries]))


def _grouped(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Prints the help of a recipe's sixty flags in GROUPS, each in its order. They are sorted here because
    most are the fields of dataclasses that recipes share.
    """
    if panel.format != "parameter":
        DefaultFormatter()(console, options, panel)
        return
    flags = {entry.positive_names[0].removeprefix("--").replace("-", "_"): entry for entry in panel.entries}
    named = {name for names in GROUPS.values() for name in names}
    for title, names in GROUPS.items():
        shown = (
            [flags[name] for name in names if name in flags]
            if names
            else [entry for name, entry in flags.items() if name not in named]
        )
        if shown:
            _plain(console, options, panel.copy(title=title, entries=shown))


TRAINING = ("torch", "accelerate", "safetensors", "matplotlib", "scipy", "onnx")  # some of the extra `train`
BASE = ("numpy", "cv2", "onnxruntime", "av", "rich")  # dependencies of every installation
console = Console()
app = App(
    name="poseling",
    help="Distils large human-pose networks into small ones, and measures what the teacher was worth.",
    version=__version__,
    default_parameter=Parameter(
        consume_multiple=True, negative_iterable=()
    ),  # --scales 0.9 1 1.1, and no --empty-scales
    result_action="return_value",
    help_formatter=_plain,
)
distill = App(
    name="distill",
    help="Train a student with a teacher and, as a control, without it, and report what the teacher was worth. "
    "One paper, one recipe. A file of yours is a recipe too: poseling distill ./mine.py (docs/extending.md).",
    help_formatter=_grouped,
)
data = App(name="data", help="Check, preview, download or make a data set.")
app.command(distill)
app.command(data)


def _help(recipe: str) -> str:
    """The docstring of a recipe's file, which is read and not imported: `poseling track` must start without
    torch. Its first paragraph, which lists show, says where a recipe was not trained at length.
    """
    docstring = (
        ast.get_docstring(
            ast.parse((Path(__file__).parent / "recipes" / f"{recipe}.py").read_text(encoding="utf-8"))
        )
        or ""
    )
    first, _, rest = docstring.partition("\n\n")
    return f"{first}{'' if RECIPES.get(recipe, True) else f' {UNTRAINED_NOTE}'}\n\n{rest}"


for recipe in RECIPES:
    distill.command(f"poseling.recipes.{recipe}:{recipe}", name=recipe, help=_help(recipe))

app.command(
    "poseling.recipes.compare:compare",
    name="compare",
    help=_help("compare"),
    help_formatter=_grouped,
)


@app.command
def evaluate(
    model: str,
    *,
    data: str,
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    boxes: str | None = None,
    flip_test: bool = True,
    space: bool = False,
    rescale: bool = False,
    adapter: str | None = None,
    device: str = "cpu",
) -> None:
    """Evaluate a network (a checkpoint, an ONNX file or a ViTPose) on the test split of a data set. ONNX
    files are run as in `poseling track`.

    Parameters
    ----------
    model
        A network of the zoo by name (`poseling models`), a checkpoint (.safetensors), an ONNX file, or a
        folder or hub name of a ViTPose.
    data
        One of {sets with test}.
    root
        The data set's folder; mini needs none.
    boxes
        ground-truth, detections (the usual file under --root), or a detector's JSON file; for {sets with
        boxes} and coco_json. Not given: ground-truth.
    flip_test
        Average over the mirrored image.
    space
        Measure 3D joints, in mm: MPJPE, PA-MPJPE, N-MPJPE, 3DPCK@150 and its AUC, on Human3.6M by action as
        well. For {sets in 3D}, and networks that predict metres.
    rescale
        Scale the labels to images that were resized after they were labelled.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, or a JSON file with its preprocessing
        and outputs (docs/teachers.md).
    device
        Where the network runs: cpu, cuda or cuda:N.
    """
    from poseling.data import h36m, sets
    from poseling.data.sizes import differing, rescaled
    from poseling.evaluate.evaluator import Evaluator, by_action, table
    from poseling.evaluate.shipped import shipped

    network = shipped(model, adapter, device)
    dataset = sets.people_to_test(data, root, boxes, network.skeleton if space else None, files)
    dataset = rescaled(dataset) if rescale else dataset
    if wrong := differing(dataset):
        told = (
            f"{len(wrong)} images are not as large as their annotation says, and count as they are; "
            f"the first, {wrong[0].image}: {wrong[0].message}"
        )
        console.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)
    evaluator = Evaluator.of(dataset, space).known_to(network)
    pose = evaluator.predict(network, flip_test)
    console.print(table(network, evaluator, pose))
    if space and dataset.name == "h36m":
        console.print(by_action(evaluator, pose, h36m.actions(dataset)))


@app.command
def label(
    teacher: str,
    *,
    data: str = "images",
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    url: str,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    shard: tuple[int, int] | None = None,
    adapter: str | None = None,
    device: str = "cpu",
) -> None:
    """Store a teacher's predictions for every person of a data set. Run it again to continue, and in any
    number of processes.

    Parameters
    ----------
    teacher
        A network of the zoo by name (`poseling models`), a checkpoint (.safetensors), an ONNX file, or a
        folder or hub name of a ViTPose.
    data
        One of {sets with train}.
    root
        The data set's folder; mini needs none.
    url
        Where the predictions are stored: a folder, or any URL that fsspec supports.
    flip
        Average the prediction over the mirrored image.
    scales
        Average the prediction over these zooms.
    shard
        I N: take process I's share of N, counted from 0; from the environment of accelerate, torchrun or
        SLURM if not given.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, or a JSON file with its preprocessing
        and outputs (docs/teachers.md).
    device
        Where the teacher runs: cpu, cuda (under torchrun or accelerate, each process's own GPU) or cuda:N.
    """
    from poseling.data import sets
    from poseling.teachers.cache import label as run
    from poseling.teachers.load import load
    from poseling.teachers.shards import deal_of_environment, device_of_environment, shard_of_environment

    mine = shard or shard_of_environment()
    deal = "" if shard else deal_of_environment()
    network = load(teacher, adapter, device_of_environment(device))
    dataset = sets.load(data, root, files=files).train
    with Progress(
        console=console, disable=mine[0] > 0
    ) as progress:  # bars of several processes would overwrite each other
        bar = progress.add_task(f"asking {network.name}", total=None)
        try:
            done = run(
                network,
                dataset,
                url,
                flip,
                scales,
                shard=mine,
                progress=partial(_tell, progress, bar),
                deal=deal,
            )
        except KeyboardInterrupt:
            told = f"Stopped. The predictions so far are in {url}, and the same command continues from there."
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            sys.exit(130)
    which = f"shard {mine[0]} of {mine[1]}: " if mine[1] > 1 else ""
    console.print(
        f"{which}{done.predicted} predictions made, {done.stored} stored already, in {done.store}",
        soft_wrap=True,
    )
    for line in done.skipped:
        console.print(line, style="yellow", markup=False)


@app.command
def models(name: str | None = None) -> None:
    """List the networks that come with Poseling, or print the card of one: scores, speed, licences, and how
    it was trained.

    Parameters
    ----------
    name
        The network.
    """
    from poseling import zoo

    console.print(
        zoo.table() if name is None else zoo.card(name), markup=False, highlight=False, soft_wrap=True
    )


@app.command
def export(
    model: Path,
    *,
    out: Path | None = None,
    images: Path | None = None,
    raw: bool = False,
    half: bool = False,
    adapter: str | None = None,
    to: tuple[
        Literal[
            "all", "onnx", "openvino", "openvino-int8", "executorch", "executorch-int8", "litert", "coreml"
        ],
        ...,
    ] = (),
) -> None:
    """Write one ONNX file with network, decoding and contract, and check that it gives the same joints as the
    checkpoint.

    Given an ONNX file from elsewhere, write the same graph with a contract: its preprocessing and outputs.

    Parameters
    ----------
    model
        A checkpoint (.safetensors), or an ONNX file from elsewhere.
    out
        The file to write; beside the model if not given.
    images
        A folder of images for the check of a checkpoint.
    raw
        Output a checkpoint's heatmaps instead of joints.
    half
        Store the weights of a checkpoint as half floats: half the file, as fast.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, or a JSON file with its preprocessing
        and outputs (docs/teachers.md).
    to
        For a checkpoint: write it for these runtimes, or for all, into the folder --out, with a report of
        which agree with PyTorch. Those in int8 take their ranges from the --images.
    """
    if to:
        _export_to(
            model,
            out or model.with_name(f"{model.stem}-targets"),
            to,
            images,
            raw or half or adapter is not None,
        )
        return
    if model.suffix.lower() == ".onnx":
        if raw or half or images is not None:
            raise ValueError(
                f"{model}: is an ONNX file, to which only the contract is added; --raw, --half and --images "
                "are for checkpoints"
            )
        from poseling.export.contract import with_contract

        out = out or model.with_name(f"{model.stem}-contract.onnx")
        spec = with_contract(model, out, adapter)
        told = (
            f"{out}: {len(spec.skeleton)} joints of {spec.skeleton.name} at {spec.size[0]}x{spec.size[1]}. "
            f"Try it: poseling track IMAGE --model {out}"
        )
        console.print(told, markup=False, highlight=False, soft_wrap=True)
        return
    if adapter is not None:
        raise ValueError(
            f"{model}: a checkpoint carries its own contract; leave out the adapter {adapter!r}, which is "
            f"for ONNX files"
        )
    from poseling.data import images as folders
    from poseling.export.onnx import export as run
    from poseling.export.parity import windows
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import load

    out = out or model.with_suffix(".onnx")
    keep_apart({"--out": out}, {"the checkpoint itself": [model]})
    refuse_folders({"--out": out})
    crops = None
    if images is not None:
        crops = windows(folders.images(images).images, load(model)[1].size)
    console.print(f"{out}: {run(model, out, raw, crops, half=half)}")


def _export_to(model: Path, out: Path, to: tuple[str, ...], images: Path | None, more: bool) -> None:
    from poseling.data import images as folders
    from poseling.export.parity import windows
    from poseling.export.targets import export_to
    from poseling.models.checkpoint import load

    if model.suffix.lower() == ".onnx" or more:
        raise ValueError(f"{model}: --to is for checkpoints, and goes with --out and --images alone")
    crops = calibration = None
    if images is not None:
        found, size = folders.images(images).images, load(model)[1].size
        crops, calibration = windows(found, size), windows(found, size, count=128, seed=1)
    for one in export_to(model, out, to, crops, calibration=calibration):
        numbers = (
            ""
            if one.pixels is None or one.ratio is None
            else f", {one.pixels:.3f} px, {one.ratio:.2f} of ONNX Runtime's time"
        )
        console.print(f"{one.target}: {one.state}{numbers}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{out / 'report.md'}", markup=False, highlight=False, soft_wrap=True)


@app.command
def compress(
    model: str,
    *,
    data: tuple[str, ...] = (),
    root: tuple[Path, ...] = (),
    out: Path = Path("compressed"),
    size: tuple[int, int] | None = None,
    prune: float | None = None,
    low_rank: float | None = None,
    quantise: Literal["fp16", "bf16", "int8", "int4"] | None = None,
    target_ms: float | None = None,
    target_gmac: float | None = None,
    epochs: float = 1.0,
    qat_epochs: float = 0.0,
    rounds: int = 1,
    importance: Literal["taylor", "magnitude"] = "taylor",
    everywhere: bool = True,
    low_rank_by: Literal["work", "energy", "vbmf"] = "work",
    calibration: Literal["mse", "percentile", "minmax"] = "mse",
    calibrate: int = 128,
    labels_share: float = 0.0,
    learning_rate: float = 1.5e-4,
    batch: int = 32,
    judge: int = 300,
    labels: Path | None = None,
    seed: int = 0,
) -> None:
    """Makes any pose network smaller and faster: a smaller input, fewer channels, factorised layers, fewer
    bits; the original teaches what is left.

    Pictures without labels are enough. Each step's network, what it was measured to be, and a plot go to
    --out.

    Parameters
    ----------
    model
        A checkpoint (.safetensors), a network of the zoo by name, or an ONNX file that `poseling import`
        takes.
    data
        Pictures of people, as in recipes: images, lsp, coco, packed, ... several are mixed; the mini set if
        not given.
    root
        Where the data lie, one folder for all or one for each set.
    out
        The folder for what is made.
    size
        Width and height of a smaller input. It saves more work for what it loses than pruning, so use it
        first.
    prune
        The part of the multiply-accumulates to take away, in whole channels, above 0 and below 1.
    low_rank
        The part of the work, or of each weight's energy, that stays when layers are factorised, up to 1.
    quantise
        int8: integer arithmetic, faster. fp16, bf16, int4: weights in fewer bits, a smaller file.
    target_ms
        Prune as much as it takes for one crop to take this long on one thread of this machine.
    target_gmac
        Prune as much as it takes for this many 1e9 multiply-accumulates.
    epochs
        Passes over the people to learn again from the original, after pruning and after factorising; 0:
        weights are only fitted in closed form.
    qat_epochs
        Passes over the people to learn to be rounded, for int8 and int4; 0 is calibration alone.
    rounds
        Steps in which channels go, with learning between them.
    importance
        By what channels are chosen: what the loss would change without them, or how large their weights are.
    everywhere
        Take channels where they matter least; else the same part of every layer.
    low_rank_by
        What --low-rank counts: the network's work, each weight's energy, or nothing, with ranks by
        variational Bayes.
    calibration
        Where the range of an activation ends: by least squared error, by percentile, or nowhere.
    calibrate
        How many crops ranges are measured on.
    labels_share
        The part of the labels in what is learnt; the rest is the original's.
    learning_rate
        At its highest.
    batch
        People in one step.
    judge
        How many validation people figures are taken on.
    labels
        Folder of the original's pseudo-labels, which are used again; in --out if not given.
    seed
        Of the crops and the order of the people.
    """
    from poseling.compress.command import Settings, table
    from poseling.compress.command import compress as run

    settings = Settings(
        size=size, prune=prune, low_rank=low_rank, low_rank_by=low_rank_by, quantise=quantise, target_ms=target_ms,
        target_gmac=target_gmac, importance=importance, everywhere=everywhere, rounds=rounds, epochs=epochs,
        labels_share=labels_share, learning_rate=learning_rate, batch=batch, qat_epochs=qat_epochs, calibration=calibration,
        calibrate=calibrate, judge=judge, labels=labels, seed=seed,
    )  # fmt: skip
    done = run(model, out, settings, data, root, console)
    console.print(table(done))
    console.print(
        f"{done.file}: try it with poseling track PICTURE --model {done.file}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command(name="import")
def import_(
    checkpoint: Path,
    *,
    network: str = "hourglass-8x256",
    out: Path | None = None,
    until: str | None = None,
    size: tuple[int, int] | None = None,
    skeleton: str | None = None,
    mean: tuple[float, float, float] | None = None,
    std: tuple[float, float, float] | None = None,
    colour: Literal["rgb", "bgr"] | None = None,
    images: Path | None = None,
) -> None:
    """Convert an ONNX network, or a checkpoint of FPD's or VNect's authors, to a checkpoint of Poseling: to
    train, teach, evaluate or export.

    An ONNX file's graph is converted up to the tensor --until and compared with ONNX Runtime. MoveNet,
    BlazePose and files of `poseling export` need no options.

    Parameters
    ----------
    checkpoint
        An .onnx file. Of FPD's authors, an hourglass trained on MPII at 256x256: a .pth or .pth.tar file from
        ilovepose/fast-human-pose-estimation.pytorch. Of VNect's: a .pkl or .npz file, made of their Caffe
        model by caffe2pkl.py of XinArkh/VNect.
    network
        Which network FPD's or VNect's file holds: hourglass-STACKSxCHANNELS or vnect-50.
    out
        The checkpoint to write (.safetensors); beside theirs if not given.
    until
        ONNX: the heatmaps, before a sigmoid or softmax, or a feature map for a new head. A tensor's name or
        an unambiguous part of it.
    size
        ONNX: width and height of the network's images; the file's own if not given.
    skeleton
        ONNX: the skeleton of the heatmaps, by name: coco17, mpii16, lsp14, ...
    mean
        ONNX: the mean that is subtracted from pixels of 0..1, where the file does not contain it.
    std
        ONNX: the standard deviation that they are then divided by.
    colour
        ONNX: the file's colour order; rgb if not given.
    images
        ONNX: a folder of images for the comparison.
    """
    if checkpoint.suffix.lower() == ".onnx":
        _import_onnx(
            checkpoint,
            out or checkpoint.with_suffix(".safetensors"),
            until,
            size,
            skeleton,
            mean,
            std,
            colour,
            images,
        )
        return
    from poseling.codecs import Heatmap, LocationMap
    from poseling.codecs.location_map import VNECT_HEIGHT
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import save
    from poseling.models.importers.fpd import load_fpd
    from poseling.models.importers.vnect import load_vnect
    from poseling.skeleton import MPII16, VNECT21
    from poseling.spec import PoseSpec

    out = out or checkpoint.with_name(checkpoint.name.removesuffix(".tar")).with_suffix(".safetensors")
    keep_apart({"--out": out}, {"their checkpoint itself": [checkpoint]})
    refuse_folders({"--out": out})
    licences = {"code": "Apache-2.0", "weights": "as its authors say"}
    if network == "vnect-50":
        # In training a person filled 0.7 to 1 of the image. The width of their heatmaps is not published.
        maps = LocationMap((368, 368), decoding="quarter", unbiased=False, height=VNECT_HEIGHT)
        licences["data"] = "MPII, LSP, Human3.6M, MPI-INF-3DHP: research"
        spec = PoseSpec(
            network,
            VNECT21,
            maps.fields(),
            maps.size,
            1.2,
            "bgr",
            (0.4,) * 3,
            (1.0,) * 3,
            licences=licences,
            recipe="imported from VNect's authors",
        )
        save(out, load_vnect(checkpoint), spec)
        console.print(f"{out}: {network}, {VNECT21.name}", soft_wrap=True)
        return
    codec = Heatmap((256, 256), decoding="quarter", unbiased=False)
    licences["data"] = "MPII: research"
    # Their MPII configuration: COLOR_RGB false, ImageNet's mean and std, boxes of 200 x scale pixels times
    # 1.25.
    spec = PoseSpec(
        network,
        MPII16,
        codec.fields(),
        codec.size,
        1.25,
        "bgr",
        licences=licences,
        recipe="imported from FPD's authors",
    )
    save(out, load_fpd(checkpoint, network, len(MPII16)), spec)
    console.print(
        f"{out}: {network}, {MPII16.name}. Check it: poseling evaluate {out} --data mpii --root DIR",
        soft_wrap=True,
    )


def _import_onnx(
    file: Path,
    out: Path,
    until: str | None,
    size: tuple[int, int] | None,
    skeleton: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    colour: str | None,
    images: Path | None,
) -> None:
    from poseling.data import images as folders
    from poseling.evaluate.cost import cost
    from poseling.export.parity import synthetic, windows
    from poseling.files import keep_apart, refuse_folders
    from poseling.models.checkpoint import save
    from poseling.models.importers.onnx import from_onnx
    from poseling.skeleton import SKELETONS

    keep_apart({"--out": out}, {"the network itself": [file]})
    refuse_folders({"--out": out})
    if skeleton is not None and skeleton not in SKELETONS:
        raise ValueError(f"skeleton {skeleton!r} is unknown; there is {', '.join(SKELETONS)}")
    whose = None if skeleton is None else SKELETONS[skeleton]
    shown = folders.images(images).images if images else None
    start = from_onnx(
        file,
        until,
        size,
        skeleton=whose,
        mean=mean,
        std=std,
        colour=colour,
        crops=lambda s: windows(shown, s) if shown else synthetic(s),
    )
    spec, network = start.spec, start.network
    save(out, network, spec)
    whole, shape = cost(network, spec.size), network.shapes(spec.size)[network.graph.output]
    joints = f"joints of {spec.skeleton.name}" if len(spec.skeleton) else "features, no joints yet"
    console.print(
        f"{out}: {whole.params:,} parameters, {whole.gmac:.2f} GMAC at {spec.size[0]}x{spec.size[1]}, "
        f"{network.graph.output} {shape[1:]}, {joints}; "
        f"from ONNX Runtime on {'images' if shown else 'generated images'} it differs by "
        f"{start.difference:.1g} "
        f"of the range",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command
def track(
    source: str,
    *,
    model: str = "poseling-n",
    adapter: str | None = None,
    detector: str | None = None,
    detect_every: int = 10,
    out: Path | None = None,
    box: tuple[float, float, float, float] | None = None,
    json: Path | None = None,
    csv: Path | None = None,
    bvh: Path | None = None,
    smooth: bool = True,
    lookahead: int = 0,
    camera: tuple[float, float, float, float] | None = None,
    height: float | None = None,
    fit: bool = True,
    provider: str = "cpu",
    threshold: float = 0.2,
) -> None:
    """Find and draw the people in a video, an image, a folder of images, or what a camera sees. One person,
    with --detector all of them. Works without torch; Ctrl-C keeps what is done.

    Parameters
    ----------
    source
        A video, an image, a folder, the number of a camera (0 is the first), or a URL (rtsp, http, https).
    model
        A network of the zoo by name (`poseling models`), or an ONNX file: from `poseling export`, from a
        recipe, or any other with --adapter.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, or a JSON file (docs/teachers.md).
    detector
        Find everybody with this detector: its name in the zoo, or an ONNX file (docs/runtime.md).
    detect_every
        The detector runs every so many frames, and when somebody is lost or nobody is there; 0: only then.
    out
        Output file or folder of the drawn images or video; the folder `drawn` if neither --out nor --json is
        given.
    box
        X0 Y0 X1 Y1 around the person, in pixels, in a video in its first frame; if not given, the person is
        searched for.
    json
        Also write the poses, a JSON line a frame.
    csv
        Also write the poses as a table, a row a frame and person.
    bvh
        Also write the motion of the body as BVH, for Blender; of a network without depth what can be told
        from the picture (docs/live.md).
    smooth
        Filter the poses of a video over time.
    lookahead
        Filter each frame with this many frames after it, which nearly removes the lag.
    camera
        FX FY CX CY of the camera in pixels, for a person's position in metres; guessed from the image's size
        if not given.
    height
        The person's height in metres; the network's estimate if not given.
    fit
        Fit a body with constant bone lengths and joint limits to a network's 3D joints, in a video.
    provider
        The execution provider: cpu, cuda, tensorrt, openvino, coreml, directml or xnnpack; auto measures
        those that are here and takes the fastest.
    threshold
        The lowest score of joints that are drawn, and in a video the lowest mean score of a person.
    """
    from contextlib import ExitStack

    from poseling.live.table import Table
    from poseling.live.take import Takes
    from poseling.pose import Pose
    from poseling.runtime import video
    from poseling.runtime.network import fastest
    from poseling.runtime.pipeline import Frame
    from poseling.runtime.pipeline import track as run

    place = video.source_of(source)
    takes = None if bvh is None else Takes(height)
    if out is None and json is None and csv is None and bvh is None:
        out = Path("drawn")
        _told(f"Drawing into {out.resolve()}; --out names another folder")
    if provider == "auto":
        took = fastest(model, adapter=adapter)
        provider = next(iter(took))
        _told(f"{', '.join(f'{name} {ms:.1f} ms' for name, ms in took.items())}: running on {provider}")
    empty = frames = 0

    def seen(frame: int, pose: Pose) -> None:
        nonlocal empty, frames
        empty, frames = empty + (not len(pose)), frames + 1
        progress.update(bar, advance=1, description="tracking")

    with ExitStack() as stack:
        sinks: list[Callable[[Frame], None]] = [] if takes is None else [takes]
        sinks += [] if csv is None else [stack.enter_context(Table(csv))]
        progress = stack.enter_context(_frames_a_second())
        bar = progress.add_task("starting", total=video.expected(place))
        try:
            done = run(
                model,
                source,
                out,
                box,
                json,
                provider=provider,
                seen=seen,
                smooth=smooth,
                lookahead=lookahead,
                camera=camera,
                height=height,
                fit=fit,
                threshold=threshold,
                adapter=adapter,
                detector=detector,
                detect_every=detect_every,
                measured=lambda frame: progress.update(bar, description=f"measuring, frame {frame + 1}"),
                sinks=sinks,
                sunk={flag: path for flag, path in (("--csv", csv), ("--bvh", bvh)) if path is not None},
                lifts=takes is not None,
            )
        except KeyboardInterrupt:
            done = None
        if done is not None:
            frames = done.frames
            progress.update(bar, total=frames)
    drawn = out if done is None else done.drawn
    written = [str(path) for path in (drawn, json, csv) if path is not None]
    if takes is not None and bvh is not None and frames:
        written += [str(path) for path in takes.write(bvh)]
    told = f"{frames} frame{'' if frames == 1 else 's'}" + (
        f", {empty} of them without a person" if empty else ""
    )
    if done is None:
        _told(f"Stopped after {told}: {', '.join(written) if frames else 'nothing written'}")
        sys.exit(130)
    _told(f"{told}: {', '.join(written)}, by {done.network}")
    if takes is not None and takes.lifted:
        _told("The network has no depth: the motion is estimated from 2D joints (docs/live.md)")
    for note in done.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


@app.command
def benchmark(
    source: str,
    *,
    model: str = "poseling-n",
    detector: str | None = None,
    detect_every: int = 10,
    peers: tuple[str, ...] = ("mediapipe-lite", "mediapipe-full", "rtmlib"),
    rtmlib: tuple[Path, Path] | None = None,
    threads: int = 1,
    turns: int = 5,
    provider: str = "cpu",
) -> None:
    """Time the whole way from a video's file to its poses, stage by stage, and race MediaPipe and rtmlib where
    they are installed: the same frames, the same processor cores, in turns.

    Parameters
    ----------
    source
        A video.
    model
        A network of the zoo by name (`poseling models`), or an ONNX file.
    detector
        A detector of the zoo by name, or an ONNX file; without one, one person is searched for.
    detect_every
        The detector runs every so many frames, and when somebody is lost or nobody is there.
    peers
        Whom to race: mediapipe-lite, mediapipe-full, rtmlib.
    rtmlib
        rtmlib's detector (of RTMDet's kind, 320x320) and pose network (RTMPose, 192x256), as ONNX files; if
        not given it downloads its lightweight ones.
    threads
        Threads of each, on as many processor cores.
    turns
        How often each does the whole video.
    provider
        The execution provider of ours: cpu, cuda, tensorrt, openvino, coreml, directml or xnnpack.
    """
    from poseling.evaluate import race
    from poseling.runtime import Detector, Network

    if threads < 1 or turns < 1:
        raise ValueError(f"--threads {threads} and --turns {turns} are numbers from 1 on")
    with race.cores(threads) as kept:
        took = race.stages(source, model, detector, detect_every, threads, provider)
        _told(f"{model} on {provider}, {threads} thread{'' if threads == 1 else 's'}, milliseconds a frame:")
        for stage, ms in took.items():
            _told(f"  {stage:<20} {ms:8.2f}")
        if not kept:
            _told(f"This process could not be kept to {threads} processor cores")
        images, seconds = race.read(source)
        finds = None if detector is None else Detector(detector, threads, provider)
        racers = [race.ours(Network(model, threads, provider), finds, detect_every)]
        for name in peers:
            found = race.peer(name, threads, rtmlib or ())
            if isinstance(found, str):
                _told(found)
            else:
                racers.append(found)
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("racing", total=turns + 1)
            laps = race.race(racers, images, seconds, turns, lambda turn: progress.update(bar, advance=1))
    _told(f"{len(images)} decoded frames of {images[0].shape[1]}x{images[0].shape[0]}, frames a second:")
    mine = laps[racers[0].name]
    for racer in racers:
        theirs = laps[racer.name]
        told = f"  {racer.name:<20} {len(images) / min(lap.wall for lap in theirs):8.1f}"
        if racer is not racers[0]:
            wall, cpu = race.ratio(mine, theirs, "wall"), race.ratio(mine, theirs, "cpu")
            told += f"; ours does {wall.median:.2f} ({wall.p10:.2f} to {wall.p90:.2f}) for one of its"
            told += f", in processor time {cpu.median:.2f}"
        _told(f"{told}; a person in {theirs[-1].found} frames")


@app.command
def live(
    *,
    model: str = "poseling3d-s",
    host: str = "127.0.0.1",
    port: int = 8765,
    browser: bool = True,
    vmc: str | None = None,
    certificate: Path | None = None,
    key: Path | None = None,
) -> None:
    """Opens the page that finds your pose in the browser and moves an avatar with it. Nothing leaves the
    browser.

    Parameters
    ----------
    model
        A network of the zoo by name (`poseling models`), or an ONNX file that `poseling export` wrote.
    host
        The address to listen on: this machine's own, which nobody else reaches, or 0.0.0.0 for all of them.
    port
        The port to listen on; 0 takes a free one.
    browser
        Open the page in the browser.
    vmc
        HOST:PORT of a VTuber program to send the pose to as the page finds it, such as 127.0.0.1:39539.
    certificate
        A PEM file, to serve https: other machines' browsers give no page the camera without.
    key
        Its private key, if that is in another file.
    """
    from poseling.live.open import serve

    serve(
        model,
        host,
        port,
        vmc,
        certificate,
        key,
        browser,
        lambda line: console.print(line, markup=False, highlight=False, soft_wrap=True),
    )


@data.command
def check(
    name: str,
    *,
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    teacher: str | None = None,
    json: Path | None = None,
) -> None:
    """Find unreadable images, joints outside the image, swapped sides and empty boxes, with each file's name.

    Parameters
    ----------
    name
        One of {sets}.
    root
        The data set's folder; mini needs none.
    teacher
        Also compare the labels' sides with this network's predictions: a checkpoint (.safetensors), an ONNX
        file, or a folder or hub name of a ViTPose.
    json
        Also write the findings to this file.
    """
    import numpy as np

    from poseling.data import sets
    from poseling.data.check import check as run
    from poseling.data.check import report, showable, summary, swapped_against
    from poseling.files import keep_apart, refuse_folders, write_bytes

    keep_apart({"--json": json}, {"the teacher itself": [] if teacher is None else [Path(teacher)]})
    refuse_folders({"--json": json})
    sets.refuse_replacing("--json", json, root, files)
    split, network, findings = sets.load(name, root, files=files), None, []
    if teacher is not None:
        from poseling.teachers.load import load

        network = load(teacher)
    for part, dataset in split.parts:
        with Progress(console=console) as progress:
            bar = progress.add_task(f"{part}: {len(dataset)} people", total=None)
            found = run(dataset, partial(_tell, progress, bar))
        if network is not None and len(whole := showable(dataset, found)):
            from poseling.evaluate.evaluator import Evaluator

            answers = np.full(dataset.joints.shape, np.nan, np.float32)
            answers[whole] = Evaluator.of(dataset[whole]).predict(network, flip=False).xy
            found += swapped_against(dataset, answers)
        findings += found
    for line in report(findings):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_bytes(json, jsons.dumps(summary(findings), indent=1).encode())


@data.command
def preview(
    name: str,
    *,
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    out: Path = Path("preview.png"),
    count: int = 24,
    seed: int = 0,
) -> None:
    """Draw a contact sheet of labelled people, from the training split, or from the test split if there is no
    other.

    Parameters
    ----------
    name
        One of {sets}.
    root
        The data set's folder; mini needs none.
    out
        The PNG to write.
    count
        The number of people.
    seed
        The random choice of people.
    """
    from poseling.data import sets
    from poseling.data.preview import preview as run

    split = sets.load(name, root, files=files)
    shown = run(
        split.test if split.training is None and split.test is not None else split.train, out, count, seed
    )
    console.print(f"{out}: {len(shown)} people of {name}", soft_wrap=True)


@data.command
def boxes(root: Path, *, model: str | None = None, adapter: str | None = None) -> None:
    """Find the person in each image of a folder and write boxes.json beside them, for training on images that
    people do not fill.

    Parameters
    ----------
    root
        The folder with the images.
    model
        The network: a name of `poseling models`, or an ONNX file; poseling-n if not given.
    adapter
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file
        (docs/teachers.md).
    """
    from poseling import zoo
    from poseling.runtime.boxes import write_boxes
    from poseling.runtime.network import Network

    network = Network(model or zoo.DEFAULT, adapter=adapter)
    with Progress(console=console) as progress:
        bar = progress.add_task("looking for people", total=None)
        found, of = write_boxes(root, network, partial(_tell, progress, bar))
    console.print(
        f"{root / 'boxes.json'}: a person in {found} of {of} images, by {network.name}. Check it: poseling "
        f"data preview images --root {root}",
        soft_wrap=True,
    )


@data.command
def pack(
    name: str,
    *,
    root: Path | None = None,
    files: CocoFiles = NO_FILES,
    out: Path,
    split: Literal["train", "val", "test"] = "train",
    size: int = 256,
    quality: int = 80,
) -> None:
    """Store each person of a data set as one small image, so that a set of gigabytes fits into memory (--data
    packed --resident) or can be copied quickly.

    Parameters
    ----------
    name
        One of {sets}.
    root
        The data set's folder; mini needs none.
    out
        The new folder. A folder with train/, val/ and test/ is read as one set.
    split
        The split.
    size
        The images' width and height in pixels.
    quality
        Of the images' compression (WebP), 1 to 100.
    """
    from poseling.data import sets
    from poseling.data.packed import pack as run

    found = sets.load(name, root, files=files)
    dataset = found.train if split == "train" else found.val if split == "val" else found.test
    if dataset is None:
        raise ValueError(f"--split {split}: {name} under {root} has no such split; take train")
    with Progress(console=console) as progress:
        bar = progress.add_task("packing", total=None)
        done = run(dataset, out, size, quality, partial(_tell, progress, bar))
    console.print(f"{out}: {len(done)} of {len(dataset)} people of {name}", soft_wrap=True)


@data.command
def download(name: str = "coco", *, root: Path, parts: tuple[str, ...] = ()) -> None:
    """Download a data set from its own server. Run it again to continue where it was stopped.

    It needs internet access, and about 20 GB for train2017 and val2017 (twice that while unpacking). Each
    file is verified before it is unpacked; existing files are not downloaded again, and an official zip in
    --root is used if there.

    Parameters
    ----------
    name
        coco.
    root
        The set's folder.
    parts
        annotations (0.25 GB), val (0.8 GB) and train (19 GB); all if not given. The first two are enough to
        evaluate.
    """
    from poseling.data.download import download as run

    try:
        with Progress(console=console) as progress:
            bar = progress.add_task("", total=None)
            done = run(
                name,
                root,
                lambda what, done, of: progress.update(bar, description=what, completed=done, total=of),
                parts,
            )
    except KeyboardInterrupt:
        console.print(
            f"Stopped. Downloaded parts stay in {root}, and the same command continues.",
            markup=False,
            soft_wrap=True,
        )
        sys.exit(130)
    for what, which in (("fetched now", done.fetched), ("there already", done.already)):
        if which:
            console.print(f"{root}: {', '.join(which)} {what}", markup=False, highlight=False, soft_wrap=True)


@data.command
def synthesize(
    *,
    count: int,
    out: Path,
    size: int = 256,
    split: Literal["train", "val", "test"] = "train",
    seed: int = 0,
    backgrounds: Path | None = None,
    workers: int | None = None,
) -> None:
    """Render synthetic people with exact joints in 2D and 3D. Run it again to continue where it was stopped,
    or with a larger count for more.

    The first time, Anny builds its model, which takes a minute.

    Parameters
    ----------
    count
        The number of images.
    out
        The set's folder.
    size
        The images' width and height in pixels.
    split
        train, val and test share no body and no motion. A folder with train/ and test/ is read as one set.
    seed
        The same seed gives the same images.
    backgrounds
        A folder of images, at any depth, as backgrounds; drawn scenes if not given.
    workers
        Processes that make images, each with 0.8 GB of memory; one a core if not given.
    """
    from poseling.synth.synthesize import synthesize as run

    try:
        with Progress(console=console) as progress:
            bar = progress.add_task("making people", total=None)
            done = run(
                out, count, size, seed, split, backgrounds, workers, progress=partial(_tell, progress, bar)
            )
    except KeyboardInterrupt:
        console.print(
            f"Stopped. Whole blocks of images stay in {out}, and the same command continues.",
            markup=False,
            soft_wrap=True,
        )
        sys.exit(130)
    except ImportError as error:
        _not_installed(error, "synth")
    speed = (
        f"{done.made} made now at {done.images_per_second:.1f} images/s"
        if done.made
        else "all of them existed already"
    )
    console.print(
        f"{out}: {done.made + done.already} people, {speed}", markup=False, highlight=False, soft_wrap=True
    )
    if done.skipped:
        console.print(
            f"{len(done.skipped)} background images cannot be read, the first is {done.skipped[0]}; others "
            "were used",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    root = out.parent if out.name in ("train", "test") and (out.parent / "train").is_dir() else out
    console.print(
        f"Preview: poseling data preview synthetic --root {root}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def _told(line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)


class _Pace(ProgressColumn):
    """Frames a second."""

    def render(self, task: Task) -> Text:
        """Of the last seconds; at first, and at the end, of all."""
        speed = None if task.finished else task.speed
        speed = speed or (task.completed / task.elapsed if task.completed and task.elapsed else None)
        return Text("" if speed is None else f"{speed:.1f} frames/s")


def _frames_a_second() -> Progress:
    """A bar with the number of frames, frames a second and the time left; none where nobody looks at it."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Pace(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )


def _tell(progress: Progress, bar: TaskID, done: int, of: int) -> None:
    progress.update(bar, completed=done, total=of)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; an error that the user can correct is one line on stderr and exit code 1, not a
    traceback.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        with _own_recipe(words):
            app(words, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        _fail(f"{error} See `{' '.join(('poseling', *(error.command_chain or ())))} --help`.")
    except ImportError as error:
        _not_installed(error, "train")
    except (ValueError, OSError, KeyError, FloatingPointError) as error:
        _fail(_said(error))


def _said(error: Exception) -> object:
    """What an error says, without the quotes of a KeyError and the number of an OSError of ours."""
    if isinstance(error, KeyError) and error.args:
        return error.args[0]
    return (
        error.strerror if isinstance(error, OSError) and error.strerror and error.filename is None else error
    )


@contextmanager
def _own_recipe(words: Sequence[str]) -> Iterator[None]:
    """While the command runs, `distill` has the recipe of the user's file that `words` name, if they do, under the
    name that the command line gives it.
    """
    if len(words) < 2 or words[0] != "distill" or not own.is_file(words[1]):
        yield
        return
    word = words[1]
    try:
        function = own.load(word)
    except ImportError as error:
        if error.name and (error.name in TRAINING or error.name.partition(".")[0] == "poseling"):
            raise
        raise ValueError(f"{word}: cannot be imported: {error}") from error
    distill.command(function, name=word, help=own.help_of(function))
    try:
        yield
    finally:
        del distill[word]


def _not_installed(error: ImportError, extra: str) -> NoReturn:
    missing = (
        error.__cause__ if isinstance(error.__cause__, ImportError) else error
    )  # cyclopts wraps import errors of recipes
    if missing.name is None or missing.name.partition(".")[0] == "poseling":
        raise error
    extra = "" if missing.name.partition(".")[0] in BASE else extra
    _fail(f"{missing.name} is not installed; {_install(extra)} installs it")


def _install(extra: str) -> str:
    """The command that installs this Poseling again with `extra`, from its own source: the package index may
    have none, or another package of that name.
    """
    brackets = f"[{extra}]" if extra else ""
    try:
        about = distribution("poseling").read_text("direct_url.json")
    except PackageNotFoundError:  # run from its sources
        return f"in its checkout pip install '.{brackets}'"
    if about is None:  # from an index
        return f"pip install 'poseling{brackets}'"
    origin = jsons.loads(about)
    url = origin["url"]
    if "dir_info" in origin:
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f"pip install {editable}'{url2pathname(urlsplit(url).path)}{brackets}'"
    if "vcs_info" in origin:
        url = f"{origin['vcs_info']['vcs']}+{url}@{origin['vcs_info']['commit_id']}"
    return f"pip install 'poseling{brackets} @ {url}'"


def _fail(why: object) -> NoReturn:
    line = " ".join(str(why).split())
    Console(stderr=True).print(Text.assemble(("error", "bold red"), f": {line}"), soft_wrap=True)
    sys.exit(1)


if __name__ == "__main__":
    main()
