"""`poseling live`."""

from __future__ import annotations

from pathlib import Path

from poseling.cli.console import say


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
        say,
    )
