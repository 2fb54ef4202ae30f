"""The commands, in one table. Each is a function whose keyword parameters are its flags."""

from __future__ import annotations

from cyclopts import App, Parameter

from poseling import __version__
from poseling.cli.benchmark import benchmark
from poseling.cli.compress import compress
from poseling.cli.data import data
from poseling.cli.distill import about, distill
from poseling.cli.evaluate import evaluate
from poseling.cli.export import export
from poseling.cli.help import grouped, plain
from poseling.cli.import_ import import_
from poseling.cli.label import label
from poseling.cli.live import live
from poseling.cli.models import models
from poseling.cli.track import track

app = App(
    name="poseling",
    help="Distils large human-pose networks into small ones, and measures what the teacher was worth.",
    version=__version__,
    # --scales 0.9 1 1.1, and no --empty-scales
    default_parameter=Parameter(consume_multiple=True, negative_iterable=()),
    result_action="return_value",
    help_formatter=plain,
)
app.command(distill)
app.command(data)
app.command("poseling.recipes.compare:compare", name="compare", help=about("compare"), help_formatter=grouped)
app.command(evaluate)
app.command(label)
app.command(models)
app.command(export)
app.command(compress)
app.command(import_, name="import")
app.command(track)
app.command(benchmark)
app.command(live)
