"""`poseling live`: the page in the browser."""

from __future__ import annotations

import webbrowser
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from poseling.adapter import NAME
from poseling.live.server import Site, exposure, server
from poseling.live.vmc import Sender, address
from poseling.onnx_session import metadata
from poseling.runtime.network import OUTPUTS, Network
from poseling.spec import KEY


def serve(
    model: str,
    host: str,
    port: int,
    vmc: str | None,
    certificate: Path | None,
    key: Path | None,
    browser: bool,
    tell: Callable[[str], None],
) -> None:
    """Serves the page until Ctrl-C, with the network that `model` names; `tell` is given lines for the user.

    The network is opened here once, so that a file that is none fails here and not in the browser. Errors as
    of `Network`, `Site`, `server` and `vmc.address`; ValueError for a file without a contract, which the
    page cannot read.
    """
    network = Network(model, threads=1)
    spec = network.spec
    if (
        KEY not in metadata(network.session, network.path)
        or spec.outputs not in OUTPUTS
        or spec.codec.get("name") == NAME  # a foreign network, which is fed and read in its own way
    ):
        raise ValueError(
            f"{network.path}: has no contract that the page can read; take a file that `poseling export` wrote of "
            f"a checkpoint, which `poseling import` makes of another network"
        )
    with ExitStack() as stack:
        to = None if vmc is None else address(vmc)
        sender = None if to is None else stack.enter_context(Sender(*to))
        site = Site(network.path, {"name": network.name, "terms": network.licence}, sender)
        made = stack.enter_context(server(site, host, port, certificate, key))
        shown = "127.0.0.1" if host in ("0.0.0.0", "::", "") else host
        url = f"http{'s' if certificate else ''}://{f'[{shown}]' if ':' in shown else shown}:{made.server_address[1]}/"
        tell(
            f"{url} with {network.name} ({network.licence}). {exposure(host, certificate is not None)} Ctrl-C ends it."
        )
        if to is not None:
            tell(f"What the page finds goes to {to[0]}:{to[1]} by VMC.")
        if browser:
            webbrowser.open(url)
        try:
            made.serve_forever()
        except KeyboardInterrupt:
            tell("Ended.")
