"""How help is printed: the data sets there are by name, and a recipe's flags in groups."""

from __future__ import annotations

from cyclopts.help import DefaultFormatter, HelpEntry, HelpPanel, InlineText
from rich.console import Console, ConsoleOptions

# Where recipes' flags stand in their help. What no group names is the recipe's own.
GROUPS: dict[str, tuple[str, ...]] = {
    "Main flags": ("data", "root", "annotations", "category", "sides", "out", "teacher", "teachers", "train_teacher", "student", "budget", "seeds"),
    "The teacher": ("teacher_epochs", "teacher_adapter", "teacher_flip", "teacher_scales", "alpha", "confidence"),
    "This recipe": (),
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


def plain(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
    """Prints help with the names of the data sets in it."""
    DefaultFormatter()(console, options, panel.copy(entries=[_filled(entry) for entry in panel.entries]))


def grouped(console: Console, options: ConsoleOptions, panel: HelpPanel) -> None:
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
            plain(console, options, panel.copy(title=title, entries=shown))
