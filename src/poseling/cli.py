"""The commands, in one table. Each is a function whose keyword parameters are its flags."""

from __future__ import annotations

import ast
import json as jsons
import sys
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Literal, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from cyclopts import App, CycloptsError, Parameter
from cyclopts.help import DefaultFormatter, HelpPanel
from rich.console import Console, ConsoleOptions
from rich.progress import Progress, TaskID
from rich.text import Text

from poseling import __version__
from poseling.recipes import UNTRAINED, UNTRAINED_IN_SHORT

FIRST, OWN, LAST = "What everybody needs", "This recipe", "The rest"
# Where recipes' flags stand in their help. What no group names is the recipe's own.
GROUPS: dict[str, tuple[str, ...]] = {
    FIRST: ("data", "root", "out", "teacher", "teachers", "student", "budget", "seeds"),
    OWN: (),
    "Training": (
        "epochs", "as_published", "size", "width", "batch", "learning_rate", "optimizer", "schedule", "weight_decay", "clip", "ema", "warmup", "milestones",
        "layer_decay", "drop_path", "loss", "sigma", "pretrained", "seed",
    ),
    "Augmentation": ("padding", "rotation", "scale", "shift", "light", "half_body", "occlusion"),
    LAST: ("smoke", "labels", "decoding", "flip_test", "evaluate_every", "speeds", "bf16", "workers", "resident", "tensorboard"),
}  # fmt: skip


def _grouped(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Prints the help of a recipe's sixty flags in GROUPS, each in its order. They are sorted here because half of them are inherited, and named in a dozen signatures."""
    if panel.format != "parameter":
        DefaultFormatter()(console, options, panel)
        return
    flags = {entry.positive_names[0].removeprefix("--").replace("-", "_"): entry for entry in panel.entries}
    named = {name for names in GROUPS.values() for name in names}
    for title, names in GROUPS.items():
        shown = [flags[name] for name in names if name in flags] if names else [entry for name, entry in flags.items() if name not in named]
        if shown:
            DefaultFormatter()(console, options, panel.copy(title=title, entries=shown))


BASE = ("numpy", "cv2", "onnxruntime", "av", "rich")  # what every installation has, or it is broken
console = Console()
app = App(
    name="poseling",
    help="Turns a big human-pose network into a small one that keeps its skill.",
    version=__version__,
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),  # --scales 0.9 1 1.1, and no --empty-scales
    result_action="return_value",
)
distill = App(
    name="distill",
    help="Train a student with a teacher, and an equal one without, and say what the teacher was worth. One paper, one recipe.",
    help_formatter=_grouped,
)
data = App(name="data", help="Look at a data set before training on it, or make one.")
app.command(distill)
app.command(data)

# Recipes are named here and imported when they are run: `poseling track` must start without torch. What is said about each stands at the top of its file.
RECIPES = (
    "baseline",
    "fpd",
    "unlabelled",
    "pseudo_labels",
    "kdlpn",
    "vitpose_mobile",
    "tokenpose_mobile",
    "dwpose",
    "okdhp",
    "distilpose",
    "sdpose",
    "knowledge_token",
    "multi_teacher",
    "movnect",
)


def _help(recipe: str) -> str:
    """The docstring of a recipe's file; its first line, which lists show, says where nobody has trained it at length."""
    docstring = ast.get_docstring(ast.parse((Path(__file__).parent / "recipes" / f"{recipe}.py").read_text(encoding="utf-8"))) or ""
    first, _, rest = docstring.partition("\n")
    return f"{first}{f' {UNTRAINED_IN_SHORT}' if recipe in UNTRAINED else ''}\n{rest}"


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
    boxes: str | None = None,
    flip_test: bool = True,
    space: bool = False,
    rescale: bool = False,
    adapter: str | None = None,
    device: str = "cpu",
) -> None:
    """Evaluates any network, a checkpoint, an ONNX file or a ViTPose, on the test people of a data set. ONNX files are run as `poseling track` runs them.

    Parameters
    ----------
    model
        A network of the zoo by name (`poseling models`), a checkpoint (.safetensors), an ONNX file, or a folder or hub name of a ViTPose.
    data
        lsp, mpii, coco, crowdpose, ochuman, h36m, mpi_inf_3dhp, packed, synthetic or mini.
    root
        Where the data lies; mini needs none.
    boxes
        ground-truth, detections (the usual file under --root), or a detector's JSON file; for coco, crowdpose and ochuman. Not given: ground-truth.
    flip_test
        Average over the mirrored picture.
    space
        Measure where joints are in space, in mm: MPJPE, PA-MPJPE, N-MPJPE, 3DPCK@150 and its AUC, on Human3.6M by action as well. For h36m, mpi_inf_3dhp, synthetic
        and mini, and networks that answer in metres.
    rescale
        Scale the labels to pictures that were resized after they were labelled.
    adapter
        For an ONNX file that is not known: movenet, blazepose, blazepose-maps, or a JSON file that says how to feed and read it (docs/teachers.md).
    device
        Where the network runs: cpu, cuda or cuda:N.
    """
    from poseling.data import h36m, sets
    from poseling.data.sizes import differing, rescaled
    from poseling.evaluate.measure import Measure, by_action, table
    from poseling.evaluate.shipped import shipped

    network = shipped(model, adapter, device)
    people = sets.people_to_test(data, root, boxes, network.skeleton if space else None)
    people = rescaled(people) if rescale else people
    if wrong := differing(people):
        told = f"{len(wrong)} pictures are not as large as their annotation says, and count as they are; the first, {wrong[0].picture}: {wrong[0].message}"
        console.print(told, style="yellow", markup=False, highlight=False, soft_wrap=True)
    measure = Measure.of(people, space).known_to(network)
    found = measure.ask(network, flip_test)
    console.print(table(network, measure, *found))
    if space and people.name == "h36m":
        console.print(by_action(measure, found, h36m.actions(people)))


@app.command
def label(
    teacher: str,
    *,
    data: str = "images",
    root: Path | None = None,
    url: str,
    flip: bool = False,
    scales: tuple[float, ...] = (1.0,),
    shard: tuple[int, int] | None = None,
    adapter: str | None = None,
    device: str = "cpu",
) -> None:
    """Asks a teacher about every person of a data set and stores its answers; run it as often and in as many processes as you like.

    Parameters
    ----------
    teacher
        A network of the zoo by name (`poseling models`), a checkpoint (.safetensors), an ONNX file, or a folder or hub name of a ViTPose.
    data
        lsp, lspet, mpii, coco, crowdpose, h36m, mpi_inf_3dhp, images, packed, synthetic or mini.
    root
        Where the data lies; mini needs none.
    url
        Where the answers go: a folder, or any URL that fsspec knows.
    flip
        Average the answer over the mirrored picture.
    scales
        Average the answer over these zooms.
    shard
        I N: take process I's share of N, counted from 0; from the environment of accelerate, torchrun or SLURM if not given.
    adapter
        For an ONNX file that is not known: movenet, blazepose, blazepose-maps, or a JSON file that says how to feed and read it (docs/teachers.md).
    device
        Where the teacher runs: cpu, cuda (under torchrun or accelerate, each process's own GPU) or cuda:N.
    """
    from poseling.data import sets
    from poseling.teachers.labels import label as run
    from poseling.teachers.load import load
    from poseling.teachers.shards import deal_of_environment, device_of_environment, shard_of_environment

    mine = shard or shard_of_environment()
    deal = "" if shard else deal_of_environment()
    network, people = load(teacher, adapter, device_of_environment(device)), sets.load(data, root).train
    with Progress(console=console, disable=mine[0] > 0) as progress:  # bars of several processes would overwrite each other
        bar = progress.add_task(f"asking {network.name}", total=None)
        try:
            done = run(network, people, url, flip, scales, shard=mine, progress=partial(_tell, progress, bar), deal=deal)
        except KeyboardInterrupt:
            told = f"Stopped. The answers until here stay in {url}, and the same command goes on from there."
            console.print(told, markup=False, highlight=False, soft_wrap=True)
            sys.exit(130)
    which = f"shard {mine[0]} of {mine[1]}: " if mine[1] > 1 else ""
    console.print(f"{which}{done.asked} answers asked for, {done.already} were there already, in {done.store}", soft_wrap=True)
    for line in done.skipped:
        console.print(line, style="yellow", markup=False)


@app.command
def models(name: str | None = None) -> None:
    """Lists the networks that come with Poseling, or prints the card of one: scores, speed, licences, and how it was made.

    Parameters
    ----------
    name
        The network.
    """
    from poseling import zoo

    console.print(zoo.table() if name is None else zoo.card(name), markup=False, highlight=False, soft_wrap=True)


@app.command
def export(
    model: Path,
    *,
    out: Path | None = None,
    pictures: Path | None = None,
    raw: bool = False,
    half: bool = False,
    adapter: str | None = None,
    to: tuple[Literal["all", "onnx", "openvino", "executorch", "litert", "coreml"], ...] = (),
) -> None:
    """Writes one ONNX file with network, decoding and contract, and checks that it answers as the checkpoint does.

    Of somebody else's ONNX network it writes the same graph with its contract, and so how it is fed and read.

    Parameters
    ----------
    model
        A checkpoint (.safetensors), or somebody else's ONNX file.
    out
        The file to write; beside the model if not given.
    pictures
        A folder of pictures for the check of a checkpoint.
    raw
        Give the heatmaps of a checkpoint instead of joints.
    half
        Store the weights of a checkpoint as half floats: half the file, as fast.
    adapter
        For an ONNX file that is not known: movenet, blazepose, blazepose-maps, or a JSON file that says how to feed and read it (docs/teachers.md).
    to
        Of a checkpoint: write it for these runtimes, or for all, to the folder --out, and a report of which agree with PyTorch.
    """
    if to:
        _export_to(model, out or model.with_name(f"{model.stem}-targets"), to, pictures, raw or half or adapter is not None)
        return
    if model.suffix.lower() == ".onnx":
        if raw or half or pictures is not None:
            raise ValueError(f"{model}: is an ONNX file, of which only the contract is added; --raw, --half and --pictures are for checkpoints")
        from poseling.export.contract import with_contract

        out = out or model.with_name(f"{model.stem}-contract.onnx")
        spec = with_contract(model, out, adapter)
        told = f"{out}: {len(spec.skeleton)} joints of {spec.skeleton.name} at {spec.size[0]}x{spec.size[1]}. Try it: poseling track PICTURE --model {out}"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
        return
    if adapter is not None:
        raise ValueError(f"{model}: a checkpoint says itself how to be read; leave out the adapter {adapter!r}, which is for ONNX files")
    from poseling.data.images import images
    from poseling.export.onnx import export as run
    from poseling.export.parity import windows
    from poseling.files import keep_apart
    from poseling.models.checkpoint import load

    out = out or model.with_suffix(".onnx")
    keep_apart({"--out": out}, {"the checkpoint itself": [model]})
    crops = None
    if pictures is not None:
        crops = windows(images(pictures).pictures, load(model)[1].size)
    console.print(f"{out}: {run(model, out, raw, crops, half=half)}")


def _export_to(model: Path, out: Path, to: tuple[str, ...], pictures: Path | None, more: bool) -> None:
    from poseling.data.images import images
    from poseling.export.parity import windows
    from poseling.export.targets import export_to
    from poseling.models.checkpoint import load

    if model.suffix.lower() == ".onnx" or more:
        raise ValueError(f"{model}: --to is for checkpoints, and goes with --out and --pictures alone")
    crops = None if pictures is None else windows(images(pictures).pictures, load(model)[1].size)
    for one in export_to(model, out, to, crops):
        numbers = "" if one.pixels is None or one.ratio is None else f", {one.pixels:.3f} px, {one.ratio:.2f} of ONNX Runtime's time"
        console.print(f"{one.target}: {one.state}{numbers}", markup=False, highlight=False, soft_wrap=True)
    console.print(f"{out / 'report.md'}", markup=False, highlight=False, soft_wrap=True)


@app.command
def compress(
    model: str,
    *,
    data: tuple[str, ...] = (),
    root: tuple[Path, ...] = (),
    out: Path = Path("compressed"),
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
    seed: int = 0,
) -> None:
    """Makes any pose network smaller and faster: fewer channels, factorised layers, fewer bits; the original teaches what is left.

    Pictures without labels are enough. Each step's network, what it was measured to be, and a plot go to --out.

    Parameters
    ----------
    model
        A checkpoint (.safetensors), a network of the zoo by name, or an ONNX file that `poseling import` takes.
    data
        Pictures of people, as in recipes: images, lsp, coco, packed, ... several are mixed; the mini set if not given.
    root
        Where the data lie, one folder for all or one for each set.
    out
        The folder for what is made.
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
        Passes over the people to learn again from the original, after pruning and after factorising; 0: weights are only fitted in closed form.
    qat_epochs
        Passes over the people to learn to be rounded, for int8 and int4; 0 is calibration alone.
    rounds
        Steps in which channels go, with learning between them.
    importance
        By what channels are chosen: what the loss would change without them, or how large their weights are.
    everywhere
        Take channels where they matter least; else the same part of every layer.
    low_rank_by
        What --low-rank counts: the network's work, each weight's energy, or nothing, with ranks by variational Bayes.
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
    seed
        Of the crops and the order of the people.
    """
    from poseling.compress.command import Settings, table
    from poseling.compress.command import compress as run

    settings = Settings(
        prune, low_rank, low_rank_by, quantise, target_ms, target_gmac, importance, everywhere, rounds, epochs, labels_share, learning_rate,
        batch, qat_epochs, calibration, calibrate, judge, seed,
    )  # fmt: skip
    done = run(model, out, settings, data, root, console)
    console.print(table(done))
    console.print(f"{done.file}: try it with poseling track PICTURE --model {done.file}", markup=False, highlight=False, soft_wrap=True)


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
    pictures: Path | None = None,
) -> None:
    """Makes a checkpoint of ours, that can be trained, teach or be exported, from any ONNX network, or from one of FPD's or of VNect's authors.

    Of an ONNX file the graph is read up to the tensor --until and compared with ONNX Runtime. MoveNet, BlazePose and what `poseling export` wrote need no options.

    Parameters
    ----------
    checkpoint
        An .onnx file. Of FPD's authors, an hourglass trained on MPII at 256x256: a .pth or .pth.tar file from ilovepose/fast-human-pose-estimation.pytorch. Of
        VNect's: a .pkl or .npz file, made of their Caffe model by caffe2pkl.py of XinArkh/VNect.
    network
        Which network FPD's or VNect's file holds: hourglass-STACKSxCHANNELS or vnect-50.
    out
        The checkpoint to write (.safetensors); beside theirs if not given.
    until
        ONNX: the heatmaps, before a sigmoid or softmax, or a feature map that is to get a head. A tensor's name or an unambiguous part of it.
    size
        ONNX: width and height of the network's pictures; the file's own if not given.
    skeleton
        ONNX: whose joints the heatmaps are, in their order, by name: coco17, mpii16, lsp14, ...
    mean
        ONNX: what is taken from pixels of 0..1, where the file does not say.
    std
        ONNX: what they are then divided by.
    colour
        ONNX: the order of colours that the file wants; rgb if not given.
    pictures
        ONNX: a folder of pictures for the comparison.
    """
    if checkpoint.suffix.lower() == ".onnx":
        _import_onnx(checkpoint, out or checkpoint.with_suffix(".safetensors"), until, size, skeleton, mean, std, colour, pictures)
        return
    from poseling.codecs import Heatmap, LocationMap
    from poseling.codecs.location_map import VNECT_HEIGHT
    from poseling.files import keep_apart
    from poseling.models.checkpoint import load_fpd, save
    from poseling.skeleton import MPII16, VNECT21
    from poseling.spec import PoseSpec
    from poseling.teachers.vnect import load_vnect

    out = out or checkpoint.with_name(checkpoint.name.removesuffix(".tar")).with_suffix(".safetensors")
    keep_apart({"--out": out}, {"their checkpoint itself": [checkpoint]})
    licences = {"code": "Apache-2.0", "weights": "as its authors say"}
    if network == "vnect-50":
        # In training a person filled 0.7 to 1 of the picture. How wide their heatmaps are nobody says.
        maps = LocationMap((368, 368), decoding="quarter", unbiased=False, height=VNECT_HEIGHT)
        licences["data"] = "MPII, LSP, Human3.6M, MPI-INF-3DHP: research"
        spec = PoseSpec(
            network, VNECT21, maps.fields(), maps.size, 1.2, "bgr", (0.4,) * 3, (1.0,) * 3, licences=licences, recipe="imported from VNect's authors"
        )
        save(out, load_vnect(checkpoint), spec)
        console.print(f"{out}: {network}, {VNECT21.name}", soft_wrap=True)
        return
    codec = Heatmap((256, 256), decoding="quarter", unbiased=False)
    licences["data"] = "MPII: research"
    # Their MPII configuration: COLOR_RGB false, ImageNet's mean and std, boxes of 200 x scale pixels times 1.25.
    spec = PoseSpec(network, MPII16, codec.fields(), codec.size, 1.25, "bgr", licences=licences, recipe="imported from FPD's authors")
    save(out, load_fpd(checkpoint, network, len(MPII16)), spec)
    console.print(f"{out}: {network}, {MPII16.name}. Check it: poseling evaluate {out} --data mpii --root DIR", soft_wrap=True)


def _import_onnx(
    file: Path,
    out: Path,
    until: str | None,
    size: tuple[int, int] | None,
    skeleton: str | None,
    mean: tuple[float, float, float] | None,
    std: tuple[float, float, float] | None,
    colour: str | None,
    pictures: Path | None,
) -> None:
    from poseling.data.images import images
    from poseling.evaluate.cost import cost
    from poseling.export.parity import synthetic, windows
    from poseling.models.checkpoint import save
    from poseling.skeleton import SKELETONS
    from poseling.teachers.start import from_onnx

    if skeleton is not None and skeleton not in SKELETONS:
        raise ValueError(f"skeleton {skeleton!r} is unknown; there is {', '.join(SKELETONS)}")
    whose = None if skeleton is None else SKELETONS[skeleton]
    shown = images(pictures).pictures if pictures else None
    start = from_onnx(
        file, until, size, skeleton=whose, mean=mean, std=std, colour=colour, crops=lambda s: windows(shown, s) if shown else synthetic(s)
    )
    spec, network = start.spec, start.network
    save(out, network, spec)
    whole, shape = cost(network, spec.size), network.shapes(spec.size)[network.graph.output]
    joints = f"joints of {spec.skeleton.name}" if len(spec.skeleton) else "features, no joints yet"
    console.print(
        f"{out}: {whole.params:,} parameters, {whole.gmac:.2f} GMAC at {spec.size[0]}x{spec.size[1]}, {network.graph.output} {shape[1:]}, {joints}; "
        f"from ONNX Runtime on {'pictures' if shown else 'drawn figures'} it differs by {start.difference:.1g} of the range",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


@app.command
def track(
    source: Path,
    *,
    model: str = "poseling-n",
    adapter: str | None = None,
    out: Path | None = None,
    box: tuple[float, float, float, float] | None = None,
    json: Path | None = None,
    smooth: bool = True,
    lookahead: int = 0,
    camera: tuple[float, float, float, float] | None = None,
    height: float | None = None,
    fit: bool = True,
    provider: str = "cpu",
    threshold: float = 0.2,
) -> None:
    """Finds the pose in a picture, a folder of pictures or a video, and draws it. One person a picture; followed in a video. Needs no torch.

    Parameters
    ----------
    source
        A picture, a folder or a video.
    model
        A network of the zoo by name (`poseling models`), or an ONNX file: from `poseling export`, from a recipe, or any that --adapter tells how to feed and read.
    adapter
        For an ONNX file that is not known: movenet, blazepose, blazepose-maps, or a JSON file (docs/teachers.md).
    out
        Where the drawn pictures or the drawn video go; the folder `drawn` if neither --out nor --json is given.
    box
        X0 Y0 X1 Y1 around the person, in pixels, of a video in its first frame; searched for if not given.
    json
        Also write the poses, a JSON line a frame.
    smooth
        Filter the poses of a video over time.
    lookahead
        So many frames after each one are looked at to filter it, which leaves hardly any lag.
    camera
        FX FY CX CY of the camera in pixels, for the place of a person in metres; guessed from the picture's size if not given.
    height
        How tall the person is, in metres; the network's guess if not given.
    fit
        Fit a body with bones of constant length and joints within their limits to what a network says in space, in a video.
    provider
        What the network runs on: cpu, cuda, tensorrt, openvino, coreml, directml or xnnpack.
    threshold
        The score from which joints are drawn, and in a video from which a person, whose joints have it in the mean, is there.
    """
    from poseling.pose import Pose
    from poseling.runtime.pipeline import track as run

    if out is None and json is None:
        out = Path("drawn")
        told = f"Drawing into {out.resolve()}; --out names another place"
        console.print(told, markup=False, highlight=False, soft_wrap=True)
    empty = 0

    def seen(frame: int, pose: Pose) -> None:
        nonlocal empty
        empty += not len(pose)
        status.update(f"{frame + 1} frames")

    with console.status("0 frames") as status:
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
        )
    written = [str(path) for path in (done.drawn, done.json) if path is not None]
    told = f"{done.frames} frame{'' if done.frames == 1 else 's'}" + (f", {empty} of them without anybody" if empty else "")
    console.print(f"{told}: {', '.join(written)}, by {done.network}", markup=False, highlight=False, soft_wrap=True)
    for note in done.notes:
        console.print(note, style="yellow", markup=False, highlight=False, soft_wrap=True)


@data.command
def check(name: str, *, root: Path | None = None, teacher: str | None = None, json: Path | None = None) -> None:
    """Finds unreadable pictures, joints outside, swapped sides, empty boxes; names each file.

    Parameters
    ----------
    name
        lsp, lspet, mpii, coco, crowdpose, ochuman, h36m, mpi_inf_3dhp, images, packed, synthetic or mini.
    root
        Where the data lies; mini needs none.
    teacher
        Also compare the labels' sides with this network's answers: a checkpoint (.safetensors), an ONNX file, or a folder or hub name of a ViTPose.
    json
        Also write the findings to this file.
    """
    import numpy as np

    from poseling.data import sets
    from poseling.data.check import check as run
    from poseling.data.check import report, showable, summary, swapped_against
    from poseling.files import keep_apart, write_bytes

    if teacher is not None:
        keep_apart({"--json": json}, {"the teacher itself": [Path(teacher)]})
    split, network, findings = sets.load(name, root), None, []
    if teacher is not None:
        from poseling.teachers.load import load

        network = load(teacher)
    for part, people in split.parts:
        with Progress(console=console) as progress:
            bar = progress.add_task(f"{part}: {len(people)} people", total=None)
            found = run(people, partial(_tell, progress, bar))
        if network is not None and len(whole := showable(people, found)):
            from poseling.evaluate.measure import Measure

            answers = np.full(people.joints.shape, np.nan, np.float32)
            answers[whole] = Measure.of(people[whole]).answers(network, flip=False)
            found += swapped_against(people, answers)
        findings += found
    for line in report(findings):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if json is not None:
        write_bytes(json, jsons.dumps(summary(findings), indent=1).encode())


@data.command
def preview(name: str, *, root: Path | None = None, out: Path = Path("preview.png"), count: int = 24, seed: int = 0) -> None:
    """Draws a contact sheet of labelled people: those to train on, or where there are none those to test on.

    Parameters
    ----------
    name
        lsp, lspet, mpii, coco, crowdpose, ochuman, h36m, mpi_inf_3dhp, images, packed, synthetic or mini.
    root
        Where the data lies; mini needs none.
    out
        The PNG to write.
    count
        How many people.
    seed
        Which people.
    """
    from poseling.data import sets
    from poseling.data.preview import preview as run

    split = sets.load(name, root)
    shown = run(split.test if split.training is None and split.test is not None else split.train, out, count, seed)
    console.print(f"{out}: {len(shown)} people of {name}", soft_wrap=True)


@data.command
def boxes(root: Path, *, model: str | None = None, adapter: str | None = None) -> None:
    """Looks for the person in each picture of a folder and writes boxes.json beside them: for training on pictures that people do not fill.

    Parameters
    ----------
    root
        The folder with the pictures.
    model
        The network that looks: a name of `poseling models`, or an ONNX file; poseling-n if not given.
    adapter
        For an ONNX file that is not known: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file (docs/teachers.md).
    """
    from poseling import zoo
    from poseling.runtime.boxes import write_boxes
    from poseling.runtime.network import Network

    network = Network(model or zoo.DEFAULT, adapter=adapter)
    with Progress(console=console) as progress:
        bar = progress.add_task("looking for people", total=None)
        found, of = write_boxes(root, network, partial(_tell, progress, bar))
    console.print(
        f"{root / 'boxes.json'}: a person in {found} of {of} pictures, by {network.name}. Look: poseling data preview images --root {root}",
        soft_wrap=True,
    )


@data.command
def pack(
    name: str, *, root: Path | None = None, out: Path, split: Literal["train", "val", "test"] = "train", size: int = 256, quality: int = 80
) -> None:
    """Cuts each person out of a data set as one small image, so that a set of gigabytes fits into memory (--data packed --resident) or through a thin line.

    Parameters
    ----------
    name
        lsp, lspet, mpii, coco, crowdpose, ochuman, h36m, mpi_inf_3dhp, images, synthetic or mini.
    root
        Where the data lies; mini needs none.
    out
        The new folder for the people. A folder that holds train/, val/ and test/ is taken as one set.
    split
        Which of the set's people.
    size
        The images' width and height in pixels.
    quality
        Of the images' compression (WebP), 1 to 100.
    """
    from poseling.data import sets
    from poseling.data.packed import pack as run

    found = sets.load(name, root)
    people = found.train if split == "train" else found.val if split == "val" else found.test
    if people is None:
        raise ValueError(f"--split {split}: {name} under {root} has no such people; take train")
    with Progress(console=console) as progress:
        bar = progress.add_task("packing", total=None)
        done = run(people, out, size, quality, partial(_tell, progress, bar))
    console.print(f"{out}: {len(done)} of {len(people)} people of {name}", soft_wrap=True)


@data.command
def download(name: str = "coco", *, root: Path, parts: tuple[str, ...] = ()) -> None:
    """Fetches a data set from its own server. Run it again to go on where it was stopped.

    It needs a network, and about 20 GB for train2017 and val2017 (twice that while they are unpacked). Each file is checked before it is unpacked; what is there
    already is not fetched again, and an official zip in --root is used instead of the network.

    Parameters
    ----------
    name
        coco.
    root
        The folder for the set.
    parts
        annotations (0.25 GB), val (0.8 GB) and train (19 GB); all if not given. The first two are enough to evaluate.
    """
    from poseling.data.download import download as run

    try:
        with Progress(console=console) as progress:
            bar = progress.add_task("", total=None)
            done = run(name, root, lambda what, done, of: progress.update(bar, description=what, completed=done, total=of), parts)
    except KeyboardInterrupt:
        console.print(f"Stopped. What was fetched stays in {root}, and the same command goes on.", markup=False, soft_wrap=True)
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
    """Makes pictures of people who do not exist, with exact joints in 2D and 3D. Run it again to go on where it was stopped, or with a larger count for more.

    The very first time, Anny builds its model, which takes a minute.

    Parameters
    ----------
    count
        How many pictures there shall be.
    out
        The folder for the set.
    size
        The pictures' width and height in pixels.
    split
        train, val and test share no body and no motion. A folder that holds train/ and test/ is taken as one set.
    seed
        The same seed gives the same pictures.
    backgrounds
        A folder of pictures, in whatever depth, to put people before; made-up places if not given.
    workers
        Processes that make pictures, each with 0.8 GB of memory; one a core if not given.
    """
    from poseling.synth.synthesize import synthesize as run

    try:
        with Progress(console=console) as progress:
            bar = progress.add_task("making people", total=None)
            done = run(out, count, size, seed, split, backgrounds, workers, progress=partial(_tell, progress, bar))
    except KeyboardInterrupt:
        console.print(f"Stopped. Whole blocks of pictures stay in {out}, and the same command goes on.", markup=False, soft_wrap=True)
        sys.exit(130)
    except ImportError as error:
        _not_installed(error, "synth")
    speed = f"{done.made} made now at {done.pictures_per_second:.1f} pictures/s" if done.made else "all of them were there already"
    console.print(f"{out}: {done.made + done.already} people, {speed}", markup=False, highlight=False, soft_wrap=True)
    if done.skipped:
        console.print(
            f"{len(done.skipped)} background pictures cannot be read, the first is {done.skipped[0]}; others were taken",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
    root = out.parent if out.name in ("train", "test") and (out.parent / "train").is_dir() else out
    console.print(f"Look at them: poseling data preview synthetic --root {root}", markup=False, highlight=False, soft_wrap=True)


def _tell(progress: Progress, bar: TaskID, done: int, of: int) -> None:
    progress.update(bar, completed=done, total=of)


def main(arguments: list[str] | None = None) -> None:
    """Runs a command; an error that the user can mend is one line on stderr and exit code 1, not a traceback."""
    try:
        app(arguments, print_error=False, exit_on_error=False)
    except CycloptsError as error:
        _fail(f"{error} See `{' '.join(('poseling', *(error.command_chain or ())))} --help`.")
    except ImportError as error:
        _not_installed(error, "train")
    except (ValueError, OSError, KeyError, FloatingPointError) as error:
        _fail(error.args[0] if isinstance(error, KeyError) and error.args else error)


def _not_installed(error: ImportError, extra: str) -> NoReturn:
    missing = error.__cause__ if isinstance(error.__cause__, ImportError) else error  # cyclopts wraps what a recipe could not import
    if missing.name is None or missing.name.partition(".")[0] == "poseling":
        raise error
    extra = "" if missing.name.partition(".")[0] in BASE else extra
    _fail(f"{missing.name} is not installed; {_install(extra)} brings it")


def _install(extra: str) -> str:
    """The command that installs this Poseling again with `extra`, from where it came: the package index may have another of that name, or none."""
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
