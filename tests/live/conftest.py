"""A browser with a fake camera, and a server of the page."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from poseling import zoo
from poseling.live.server import PAGE, Server, Site, server
from poseling.video import frames

SIZE = (360, 640)  # of the video's pictures, half of what they are
SLOW = 180_000  # milliseconds: a machine may be busy


def lacking(what: str) -> None:
    """Skips, except in CI, where all that the browser's tests need has to be there."""
    if os.environ.get("CI"):
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def squats(shared: Path) -> list[np.ndarray]:
    """The frames (H, W, 3) BGR of a video of squats, five a second."""
    shown = frames(shared / "data" / "videos" / "pose_squats.mp4")
    return [np.asarray(cv2.resize(picture, SIZE, interpolation=cv2.INTER_AREA)) for _, _, picture in shown]


@pytest.fixture
def serving() -> Iterator[Callable[..., Server]]:
    """Starts servers of the built page, with a network's file or `poseling-n`, which end with the test."""
    if not (PAGE / "index.html").is_file():
        lacking("the page is not built; `make web` builds it")
    started: list[Server] = []

    def start(model: Path | None = None) -> Server:
        about = {"name": "poseling-n", "terms": zoo.licence("poseling-n")}
        if model is not None:
            about = {"name": model.stem, "terms": "made by hand"}
        made = server(Site(model or zoo.path("poseling-n"), about), port=0)
        threading.Thread(target=made.serve_forever, args=(0.05,), daemon=True).start()
        started.append(made)
        return made

    yield start
    for made in started:
        made.shutdown()
        made.server_close()


@pytest.fixture(scope="session")
def browser(squats: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium, whose camera shows the video of squats; without a graphics card, so that it draws as it does
    on every machine.
    """
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        lacking("playwright is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        lacking("there is no chromium; Debian has it under that name")
    film = tmp_path_factory.mktemp("camera") / "squats.mjpeg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, 95]
    film.write_bytes(b"".join(cv2.imencode(".jpg", picture, quality)[1].tobytes() for picture in squats))
    camera = [
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-video-capture={film}",
    ]
    drawing = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(
            executable_path=chromium, args=[*camera, *drawing, "--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield made
        made.close()


@pytest.fixture
def opened(browser: Any, serving: Callable[..., Server]) -> Iterator[Callable[..., Any]]:
    """Opens the page and waits for its network; whatever the console or an error says is in `page.said`, of
    which a test has to expect all.
    """
    contexts = []

    def start(
        width: int = 480,
        height: int = 400,
        script: str = "",
        query: str = "?threads=1",
        made: Server | None = None,
        **how: Any,
    ) -> Any:
        context = browser.new_context(
            viewport={"width": width, "height": height}, permissions=["camera"], accept_downloads=True, **how
        )
        context.set_default_timeout(SLOW)
        contexts.append(context)
        page = context.new_page()
        page.said = []
        page.on(
            "console", lambda message: page.said.append(message.text) if message.type == "error" else None
        )
        page.on("pageerror", lambda error: page.said.append(str(error)))
        if script:
            page.add_init_script(script)
        port = (made or serving()).server_address[1]
        page.goto(f"http://127.0.0.1:{port}/{query}")
        page.evaluate("poseling.ready")
        return page

    yield start
    for context in contexts:
        context.close()
