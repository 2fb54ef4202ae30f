"""Half an hour of looped video through the Python pipeline, and some minutes of a looped camera in the page:
whether memory stays flat, and whether pictures are dropped where they come too fast, and not queued.

    python benchmarks/soak.py python --video pose_squats.mp4 --minutes 30
    python benchmarks/soak.py page --video pose_squats.mp4 --minutes 5

Memory is that of the processes (resident, so shared libraries too), in the median of the second tenth of the
time and of the last one; the first tenth fills caches. Ctrl-C ends it, and what was measured counts. `python`: the video is repeated until it has so many
minutes and goes through `track`, drawn and written as JSON and CSV, as fast as that goes. `page`: Chromium's
renderer, worker and GPU process together, and the page's JavaScript heap after a collection. `page_newer` is how
many pictures of the camera were newer than the one that was taken next, at most: above 1 there would be a queue.
`page_behind` is how many came, in the median, from taking one until its joints were drawn.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import cv2

from poseling import zoo
from poseling.live.server import Site, server
from poseling.live.table import Table
from poseling.pose import Pose
from poseling.runtime.pipeline import track
from poseling.video import frames
from results import write

PAGE = os.sysconf("SC_PAGE_SIZE")
EVERY = 5.0  # seconds between two looks at the memory
WATCH = """() => {
    const { estimator } = poseling, video = document.getElementById("video"), look = estimator.look.bind(estimator);
    let shown = [];  // when the camera took its last pictures
    const tell = (now, meta) => { shown = [...shown.slice(-99), meta.captureTime ?? now]; video.requestVideoFrameCallback(tell); };
    video.requestVideoFrameCallback(tell);
    const newer = (than) => shown.filter((taken) => taken > than).length;
    window.soak = { looks: 0, newer: 0, behind: [] };
    estimator.look = async (...given) => {
        soak.newer = Math.max(soak.newer, newer(given[4]));
        const found = await look(...given);
        soak.looks++;
        soak.behind = [...soak.behind.slice(-9999), newer(given[4])];
        return found;
    };
}"""


def looped(video: Path, out: Path, minutes: float) -> int:
    """Writes the video over and over until it has so many minutes; the number of times."""
    times, start = 0, 0
    with av.open(str(out), "w") as target:
        stream = None
        while True:
            with av.open(str(video)) as source:
                theirs = source.streams.video[0]
                stream = stream or target.add_stream_from_template(theirs)
                end = start
                for packet in source.demux(theirs):
                    if packet.dts is None or packet.pts is None:
                        continue
                    packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, stream
                    end = max(end, packet.pts + (packet.duration or 0))
                    target.mux(packet)
                start, times = end, times + 1
                if start * theirs.time_base >= 60 * minutes:
                    return times


def resident(*processes: int) -> float:
    """MB of these processes."""
    total = 0
    for process in processes:
        try:
            total += int(Path(f"/proc/{process}/statm").read_text().split()[1])
        except (FileNotFoundError, ProcessLookupError):  # ended meanwhile
            continue
    return total * PAGE / 1e6


def children(of: int) -> list[int]:
    """All processes that a process has started, and those that they have."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, new = list[int](), [of]
    while new:
        new = [process for process, parent in parents.items() if parent in new]
        found += new
    return found


def flat(name: str, values: list[float]) -> list[dict[str, object]]:
    """Rows of a series of MB over time."""
    tenth = max(1, len(values) // 10)
    early, late = statistics.median(values[tenth : 2 * tenth] or values), statistics.median(values[-tenth:])
    return [
        {"name": f"{name}_early", "value": round(early, 1), "unit": "MB"},
        {"name": f"{name}_late", "value": round(late, 1), "unit": "MB"},
        {"name": f"{name}_growth", "value": round(late - early, 1), "unit": "MB"},
    ]


def python(video: Path, minutes: float) -> tuple[list[dict[str, object]], str]:
    memory, people, last, count = list[float](), set[int](), [0.0], [0]

    def seen(index: int, pose: Pose) -> None:
        people.update(pose.ids.tolist())
        count[0] = index + 1
        if time.monotonic() - last[0] > EVERY:
            memory.append(resident(os.getpid()))
            last[0] = time.monotonic()
            print(f"{index} frames, {memory[-1]:.0f} MB", flush=True)

    with tempfile.TemporaryDirectory() as folder:
        long = Path(folder) / "long.mp4"
        times = looped(video, long, minutes)
        start = time.monotonic()
        with Table(Path(folder) / "poses.csv") as table, suppress(KeyboardInterrupt):
            drawn, json = Path(folder) / "drawn.mp4", Path(folder) / "poses.json"
            track(zoo.DEFAULT, long, drawn, json=json, threads=1, seen=seen, sinks=[table])
        took = time.monotonic() - start
    rows: list[dict[str, object]] = [
        *flat("python", memory),
        {"name": "python_frames", "value": count[0], "unit": "frames"},
        {"name": "python_people", "value": len(people), "unit": "ids"},
    ]
    return (
        rows,
        f"{video.name} {times} times at most, in {took / 60:.0f} minutes of the clock; other programs ran beside it",
    )


def page(video: Path, minutes: float) -> tuple[list[dict[str, object]], str]:
    from playwright.sync_api import sync_playwright

    made = server(
        Site(zoo.path(zoo.DEFAULT), {"name": zoo.DEFAULT, "terms": zoo.licence(zoo.DEFAULT)}), port=0
    )
    threading.Thread(target=made.serve_forever, daemon=True).start()
    memory, heap = list[float](), list[float]()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        film = Path(folder) / "camera.mjpeg"
        shown = [cv2.resize(image, (360, 640), interpolation=cv2.INTER_AREA) for _, _, image in frames(video)]
        film.write_bytes(b"".join(cv2.imencode(".jpg", image)[1].tobytes() for image in shown))
        camera = [
            "--use-fake-ui-for-media-stream",
            "--use-fake-device-for-media-stream",
            f"--use-file-for-fake-video-capture={film}",
        ]
        drawing = ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--no-sandbox"]
        before = set(children(os.getpid()))
        browser = playwright.chromium.launch(
            executable_path=shutil.which("chromium"), args=[*camera, *drawing, "--disable-dev-shm-usage"]
        )
        context = browser.new_context(viewport={"width": 480, "height": 400}, permissions=["camera"])
        context.set_default_timeout(180_000)
        tab = context.new_page()
        said = list[str]()
        tab.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
        tab.on("pageerror", lambda error: said.append(str(error)))
        tab.goto(f"http://127.0.0.1:{made.server_address[1]}/?threads=1")
        tab.evaluate("poseling.ready")
        tab.click("#camera")
        tab.evaluate(WATCH)
        inside = context.new_cdp_session(tab)
        end = time.monotonic() + 60 * minutes
        while time.monotonic() < end:
            tab.wait_for_timeout(1000 * EVERY)
            inside.send("HeapProfiler.collectGarbage")
            heap.append(tab.evaluate("performance.memory.usedJSHeapSize") / 1e6)
            memory.append(resident(*(set(children(os.getpid())) - before)))
            print(
                f"{tab.evaluate('soak.looks')} looks, {memory[-1]:.0f} MB, heap {heap[-1]:.1f} MB", flush=True
            )
        found = tab.evaluate("soak")
        browser.close()
    rows: list[dict[str, object]] = [
        *flat("page", memory),
        *flat("page_heap", heap),
        {"name": "page_frames", "value": found["looks"], "unit": "frames"},
        {"name": "page_newer", "value": found["newer"], "unit": "pictures"},
        {"name": "page_behind", "value": statistics.median(found["behind"]), "unit": "pictures"},
        {"name": "page_errors", "value": len(said), "unit": "lines"},
    ]
    return rows, f"{minutes:g} minutes, no graphics card; other programs ran beside it"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=("python", "page"))
    parser.add_argument("--video", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=30)
    options = parser.parse_args()
    rows, notes = {"python": python, "page": page}[options.part](options.video, options.minutes)
    print(*rows, sep="\n")
    write("soak", rows, notes, options.part)


if __name__ == "__main__":
    main()
