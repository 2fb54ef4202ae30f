"""`poseling label`."""

from __future__ import annotations

from pathlib import Path

from poseling.cli.console import bar, say, stopped
from poseling.data.coco_files import NO_FILES, CocoFiles


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
        For an unknown ONNX file: movenet, blazepose, blazepose-maps, rtmpose, or a JSON file with its preprocessing
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
    first = mine[0] == 0  # bars of several processes would overwrite each other
    with bar(f"asking {network.name}", shown=first) as tell:
        try:
            done = run(network, dataset, url, flip, scales, shard=mine, progress=tell, deal=deal)
        except KeyboardInterrupt:
            stopped(
                f"Stopped. The predictions so far are in {url}, and the same command continues from there."
            )
    which = f"shard {mine[0]} of {mine[1]}: " if mine[1] > 1 else ""
    say(f"{which}{done.predicted} predictions made, {done.stored} stored already, in {done.store}")
    for line in done.skipped:
        say(line, "yellow")
