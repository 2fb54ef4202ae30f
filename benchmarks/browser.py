"""The page in Chromium beside the Python runtime, on the same frames of a video.

    python benchmarks/browser.py --video pose_squats.mp4

`max_error_px`: the largest difference of a joint, for the crops that the page looked at. `followed_px`: the mean
difference where each has followed the person by itself, from the first frame on. `max_error_m`: the largest
difference of a point of the body that both lift from the page's joints. `ms_per_frame`: from handing a frame to
the page's worker to its joints, in the median, of which `network_ms` is the network, in WebAssembly on `--threads`
threads; `python_ms` is the Python runtime on one thread, in the same run and in turn.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import statistics
import threading
import time
from pathlib import Path

import cv2
import numpy as np
from playwright.sync_api import sync_playwright

from poseling import zoo
from poseling.geometry import scaled_box
from poseling.live.server import Site, server
from poseling.live.turns import upright
from poseling.runtime.kinematics import forward
from poseling.runtime.lift import Lifter
from poseling.runtime.network import Network
from poseling.runtime.position import guessed_camera
from poseling.runtime.tracker import Tracker
from poseling.video import frames
from results import write

LOOK = """async ([data, seconds]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    return await poseling.look(new Blob([bytes], { type: "image/png" }), seconds);
}"""
SIZE = (360, 640)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--chromium", default=shutil.which("chromium"))
    options = parser.parse_args()
    shown = [
        np.asarray(cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA), np.uint8)
        for _, _, image in frames(options.video)
    ]
    network = Network(threads=1)
    tracker, lifter = Tracker(network), Lifter(network.spec.skeleton)
    made = server(Site(network.path, {"name": network.name, "terms": zoo.licence(network.name)}), port=0)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    same, followed, body, whole, inner, python = [], [], [], [], [], []
    with sync_playwright() as playwright:
        arguments = ["--use-gl=angle", "--use-angle=swiftshader", "--no-sandbox"]
        browser = playwright.chromium.launch(executable_path=options.chromium, args=arguments)
        page = browser.new_page(viewport={"width": 480, "height": 400})
        page.goto(f"http://127.0.0.1:{made.server_address[1]}/?threads={options.threads}")
        page.evaluate("poseling.ready")
        page.evaluate("poseling.estimator.smoothing = 0")
        for frame, image in enumerate(shown):
            seconds = 0.2 * frame
            data = base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
            found = page.evaluate(LOOK, [data, seconds])
            start = time.perf_counter()
            pose = tracker(image, seconds)
            python.append(1000 * (time.perf_counter() - start))
            joints, score = (np.array(found["person"][key]) for key in ("xy", "score"))
            looked = scaled_box(np.array(found["person"]["looked"]), 1 / network.spec.padding)
            same.append(float(np.abs(network(image, [looked]).xy[0] - joints).max()))
            followed.append(float(np.abs(pose.xy[0] - joints).mean()))
            mine = lifter.fit(joints, score, guessed_camera(SIZE), seconds)
            theirs = forward(np.array(found["body"]["rotations"]), np.array(found["body"]["lengths"]))
            body.append(
                float(np.linalg.norm(forward(upright(mine.rotations), mine.lengths) - theirs, axis=-1).max())
            )
            whole.append(found["latency"])
            inner.append(found["network"])
        browser.close()
    rows = [
        {"name": "max_error_px", "value": round(max(same), 3), "unit": "pixels"},
        {"name": "followed_px", "value": round(statistics.mean(followed), 3), "unit": "pixels"},
        {"name": "max_error_m", "value": round(max(body), 5), "unit": "m"},
        {"name": "ms_per_frame", "value": round(statistics.median(whole), 1), "unit": "ms"},
        {"name": "network_ms", "value": round(statistics.median(inner), 1), "unit": "ms"},
        {"name": "python_ms", "value": round(statistics.median(python), 1), "unit": "ms"},
    ]
    print(*rows, sep="\n")
    write(
        "browser",
        rows,
        f"{len(shown)} frames of {SIZE[0]}x{SIZE[1]}; no graphics card; other programs ran beside it",
    )


if __name__ == "__main__":
    main()
