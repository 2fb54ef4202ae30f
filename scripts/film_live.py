"""Films what the page of `poseling live` makes of a video: its joints beside the avatar, as a GIF that repeats.

python scripts/film_live.py VIDEO OUT.gif [FIRST LAST]

FIRST and LAST are frames; the person should stand alike in both. The pictures themselves are not in the film.
Needs the built page (`make web`) and chromium.
"""

from __future__ import annotations

import base64
import io
import shutil
import sys
import threading
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from playwright.sync_api import sync_playwright

from poseling import zoo
from poseling.files import write_bytes
from poseling.live.server import Site, server
from poseling.video import frames

WIDE, HIGH = 720, 372  # the window in pixels
LARGEST = 640  # of the pictures that the page is shown
COLOURS = 96
JOINTS = ((84, 214, 196), (255, 184, 107))  # colours of web/src/overlay.ts, which have few pixels
BEFORE = 5  # frames that are looked at first, so that the filter has settled
# The page's clock goes on by a frame with each picture: else it draws coarsely where it takes long.
STEADY = """const raf = requestAnimationFrame; let now = performance.now();
window.requestAnimationFrame = (next) => raf(() => next(now += 16));"""
LOOK = """async ([data, seconds]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    await poseling.look(new Blob([bytes], { type: "image/png" }), seconds);
    for (let i = 0, last = ""; i < 300; i++) {
        await new Promise(requestAnimationFrame);
        const now = JSON.stringify(poseling.bones());
        if (i > 2 && now === last) break;
        last = now;
    }
}"""
BARE = """header, footer { display: none !important } main { padding: 0 !important }
body { grid-template: minmax(0, 1fr) / minmax(0, 1fr) !important }"""


def film(video: Path, out: Path, first: int, last: int | None) -> None:
    """Writes the GIF of frames `first` to before `last`, at the video's own speed."""
    shown = [(seconds, image) for _, seconds, image in frames(video)][max(0, first - BEFORE) : last]
    name = "poseling-n"
    made = server(Site(zoo.path(name), {"name": name, "terms": zoo.licence(name)}), port=0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    pictures = []
    with sync_playwright() as playwright:
        drawing = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=drawing)
        page = browser.new_page(viewport={"width": WIDE, "height": HIGH})
        page.set_default_timeout(300_000)
        page.add_init_script(STEADY)
        page.goto(f"http://127.0.0.1:{made.server_address[1]}/?threads=1")
        page.evaluate("poseling.ready")
        page.evaluate("document.body.classList.add('running')")
        page.evaluate("document.getElementById('mirror').click()")
        page.add_style_tag(content=BARE)
        for seconds, image in shown:
            shrink = min(1.0, LARGEST / max(image.shape[:2]))
            small = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
            data = base64.b64encode(cv2.imencode(".png", small)[1].tobytes()).decode()
            page.evaluate(LOOK, [data, seconds])
            pictures.append(Image.open(io.BytesIO(page.locator("main").screenshot())).convert("RGB"))
        browser.close()
    pictures = pictures[min(first, BEFORE) :]
    # One palette for all, without dithering, so that what stands still is stored once.
    swatches = [np.full((HIGH // 4, WIDE, 3), colour, np.uint8) for colour in JOINTS]
    every = Image.fromarray(np.concatenate([*swatches, *(np.asarray(picture) for picture in pictures[::4])]))
    palette = every.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    drawn = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    step = 1000 * float(np.median(np.diff([seconds for seconds, _ in shown])))
    file = io.BytesIO()
    drawn[0].save(file, "GIF", save_all=True, append_images=drawn[1:], duration=step, loop=0, optimize=True)
    write_bytes(out, file.getvalue())


if __name__ == "__main__":
    video, out, *part = sys.argv[1:]
    film(Path(video), Path(out), *(int(part[0]), int(part[1])) if part else (0, None))
