"""Pictures without labels: a folder, or a video. Any teacher can label them.

A folder may hold `boxes.json`, `{"relative/path.jpg": [[x0, y0, x1, y1], ...], ...}` in pixels, one box a person; without it a person is as large as the
picture. A video's frames are written as JPEG to a folder beside it, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import av
import cv2
import numpy as np

from poseling import headers
from poseling.data.people import Finding, People, from_joints
from poseling.files import PICTURES, check_size, new_folder, read_picture, write_bytes
from poseling.records import read_json
from poseling.skeleton import COCO17, Skeleton

VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v")
TERMS = "unknown: your own pictures"
BOXES = "boxes.json"


def images(root: Path, every: float = 0.5, cache: Path | None = None, skeleton: Skeleton = COCO17) -> People:
    """The pictures under `root`, or of the video `root` the first frame and then one frame every `every` seconds; nobody has a label.

    Folders are searched to the bottom, hidden ones left out, in the order of the paths. `cache` is where a video's frames go (`.poseling-frames` beside the
    video by default). Pictures that cannot be read, and boxes that miss their picture, are left out and told in `found`.
    FileNotFoundError if there is nothing, ValueError if the video or `boxes.json` is broken, OSError if the frames cannot be written.
    """
    if root.is_file() and root.suffix.lower() not in PICTURES:
        root = frames(root, every, cache)
    paths = [root] if root.is_file() else _pictures(root)
    listed = _boxes(root / BOXES) if (root / BOXES).is_file() else None
    found: list[Finding] = []
    pictures: list[Path] = []
    boxes: list[Sequence[float]] = []
    for path in paths:
        try:
            width, height = picture_size(path)
        except OSError as error:
            found.append(Finding("unreadable picture", path, None, f"{error}; it is left out"))
            continue
        whole = (0.0, 0.0, width - 1.0, height - 1.0)
        name = path.relative_to(root).as_posix() if listed is not None else ""
        if listed is not None and not listed.get(name):
            found.append(Finding("nobody listed", path, None, f"{BOXES} lists no person for it; it is left out"))
        for box in [whole] if listed is None else listed.get(name, ()):
            if box[0] > whole[2] or box[1] > whole[3] or box[2] < 0 or box[3] < 0:
                found.append(
                    Finding(
                        "box outside", path, len(pictures), f"({', '.join(f'{v:g}' for v in box)}) misses its {width} x {height} picture; left out"
                    )
                )
                continue
            pictures.append(path)
            boxes.append(box)
    if listed is not None:
        there = {p.relative_to(root).as_posix() for p in paths}
        found += [Finding("missing picture", root / n, None, f"{BOXES} names it but it is not there") for n in listed if n not in there]
    if not pictures:
        raise FileNotFoundError(
            f"{root if listed is None else root / BOXES}: none of its {len(paths)} pictures can be used; the first: {found[0].picture}: {found[0].message}"
        )
    nothing, noted = np.zeros((len(pictures), len(skeleton)), np.uint8), root if listed is None else root / BOXES
    people = from_joints("images", skeleton, pictures, np.zeros((*nothing.shape, 2)), nothing, TERMS, boxes=np.array(boxes, np.float64), path=noted)
    return People(people.name, skeleton, people.pictures, people.boxes, people.joints, people.visible, None, TERMS, (*found, *people.found))


def frames(video: Path, every: float = 0.5, cache: Path | None = None) -> Path:
    """The folder with the frames of `video`, upright, as JPEG named by their time in milliseconds; decoded only if they are not there yet.

    The folder's name holds a hash of the video's size, its time of change and `every`. It appears when it is complete.
    """
    if every < 0:
        raise ValueError(f"every is {every} seconds; use 0 for all frames or a positive number")
    about = video.stat()
    key = hashlib.sha256(f"{video.name} {about.st_size} {about.st_mtime_ns} {every}".encode()).hexdigest()[:12]
    target = (cache or video.parent / ".poseling-frames") / f"{video.stem}-{key}"
    if target.is_dir():
        return target
    with new_folder(target) as folder:
        due, count = 0.0, 0
        try:
            with av.open(str(video)) as container:
                if not container.streams.video:
                    raise ValueError(f"{video}: holds no video")
                for frame in container.decode(video=0):
                    time = frame.time or 0.0
                    if time + 1e-6 < due:
                        continue
                    due = time + every
                    picture = np.ascontiguousarray(np.rot90(frame.to_ndarray(format="bgr24"), round(frame.rotation / 90)))
                    data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
                    write_bytes(folder / f"{round(1000 * time):09d}.jpg", data.tobytes())
                    count += 1
        except (av.FFmpegError, UnicodeDecodeError) as error:  # the latter of a name in the file that is no text
            raise ValueError(f"{video}: is no video that can be decoded ({error}); it may be cut short") from error
        if not count:
            raise ValueError(f"{video}: holds no frame")
    return target


def picture_size(path: Path) -> tuple[int, int]:
    """(W, H) as `read_picture` would give it, from the file's header where the header alone says it; OSError that names the file if it is no picture."""
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            tail = file.read()
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}") from error
    # A picture that may have to be turned (EXIF), or that may be cut, is decoded.
    whole = b"\xff\xd9" in tail if head[:2] == b"\xff\xd8" else head[:4] == b"\x89PNG" and b"IEND" in tail
    size = None if not whole or b"Exif" in head or b"eXIf" in head else headers.picture_size(head)
    if size is None:
        height, width = read_picture(path).shape[:2]
        return width, height
    check_size(path, size)
    return size


def _pictures(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder or video")
    inside = sorted(p for p in root.rglob("*") if not any(part.startswith(".") for part in p.relative_to(root).parts))
    if found := [p for p in inside if p.suffix.lower() in PICTURES and p.is_file()]:
        return found
    videos = [p for p in inside if p.suffix.lower() in VIDEOS]
    hint = f"; name one of its {len(videos)} videos itself, such as {videos[0]}" if videos else ""
    raise FileNotFoundError(f"{root}: holds no picture ({', '.join(PICTURES)}){hint}")


def _boxes(path: Path) -> dict[str, list[list[float]]]:
    listed = read_json(path)
    try:
        # A name that Windows wrote has backslashes for slashes.
        return {str(name).replace("\\", "/"): np.array(rows, np.float64).reshape(-1, 4).tolist() for name, rows in listed.items()}
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f'{path}: expected {{"picture.jpg": [[x0, y0, x1, y1], ...]}} in pixels ({error})') from error
