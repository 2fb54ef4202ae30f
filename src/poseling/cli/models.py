"""`poseling models`."""

from __future__ import annotations

from poseling.cli.console import say


def models(name: str | None = None) -> None:
    """List the networks that come with Poseling, or print the card of one: scores, speed, licences, and how
    it was trained.

    Parameters
    ----------
    name
        The network.
    """
    from poseling import zoo

    say(zoo.table() if name is None else zoo.card(name))
