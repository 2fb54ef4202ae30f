"""`poseling compress`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from poseling.cli.console import console, say


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
    say(f"{done.file}: try it with poseling track PICTURE --model {done.file}")
