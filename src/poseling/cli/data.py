"""`poseling data`: data sets checked, previewed, downloaded and made."""

from __future__ import annotations

import json as jsons
from pathlib import Path
from typing import Literal

from cyclopts import App
from rich.progress import Progress

from poseling.cli.console import bar, console, say, stopped
from poseling.cli.errors import not_installed
from poseling.data.coco_files import NO_FILES, CocoFiles


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
        with bar(f"{part}: {len(dataset)} people") as tell:
            found = run(dataset, tell)
        if network is not None and len(whole := showable(dataset, found)):
            from poseling.evaluate.evaluator import Evaluator

            answers = np.full(dataset.joints.shape, np.nan, np.float32)
            answers[whole] = Evaluator.of(dataset[whole]).predict(network, flip=False).xy
            found += swapped_against(dataset, answers)
        findings += found
    for line in report(findings):
        say(line)
    if json is not None:
        write_bytes(json, jsons.dumps(summary(findings), indent=1).encode())


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
    say(f"{out}: {len(shown)} people of {name}")


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
    with bar("looking for people") as tell:
        found, of = write_boxes(root, network, tell)
    say(
        f"{root / 'boxes.json'}: a person in {found} of {of} images, by {network.name}. Check it: poseling "
        f"data preview images --root {root}"
    )


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
    with bar("packing") as tell:
        done = run(dataset, out, size, quality, tell)
    say(f"{out}: {len(done)} of {len(dataset)} people of {name}")


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
            task = progress.add_task("", total=None)
            done = run(
                name,
                root,
                lambda what, done, of: progress.update(task, description=what, completed=done, total=of),
                parts,
            )
    except KeyboardInterrupt:
        stopped(f"Stopped. Downloaded parts stay in {root}, and the same command continues.", highlight=True)
    for what, which in (("fetched now", done.fetched), ("there already", done.already)):
        if which:
            say(f"{root}: {', '.join(which)} {what}")


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
        A folder of images, at any depth, as backgrounds; drawn surfaces if not given.
    workers
        Processes that make images, each with 0.8 GB of memory; one a core if not given.
    """
    from poseling.synth.synthesize import synthesize as run

    try:
        with bar("making people") as tell:
            done = run(out, count, size, seed, split, backgrounds, workers, progress=tell)
    except KeyboardInterrupt:
        stopped(
            f"Stopped. Whole blocks of images stay in {out}, and the same command continues.", highlight=True
        )
    except ImportError as error:
        not_installed(error, "synth")
    speed = (
        f"{done.made} made now at {done.images_per_second:.1f} images/s"
        if done.made
        else "all of them existed already"
    )
    say(f"{out}: {done.made + done.already} people, {speed}")
    if done.skipped:
        say(
            f"{len(done.skipped)} background images cannot be read, the first is {done.skipped[0]}; others "
            "were used",
            "yellow",
            highlight=True,
        )
    root = out.parent if out.name in ("train", "test") and (out.parent / "train").is_dir() else out
    say(f"Preview: poseling data preview synthetic --root {root}")


data = App(name="data", help="Check, preview, download or make a data set.")
data.command(check)
data.command(preview)
data.command(boxes)
data.command(pack)
data.command(download)
data.command(synthesize)
