"""Images without labels: a folder, or a video. Any teacher can label them.

A folder may hold `boxes.json`, `{"relative/path.jpg": [[x0, y0, x1, y1], ...], ...}` in pixels, one box a
person; without it an image is shown whole (`geometry.whole_box`). A video's frames are written as JPEG to a
folder beside it, once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from poseling import headers, video
from poseling.data.dataset import Finding, PoseDataset, from_joints
from poseling.files import IMAGES, check_size, images_of, new_folder, read_image, shown, write_bytes
from poseling.geometry import whole_box
from poseling.records import read_json
from poseling.skeleton import COCO17, Skeleton
from poseling.video import VIDEOS

LICENCE = "unknown: your own images"
BOXES = "boxes.json"
NOTES = "notes.txt"


def images(
    root: Path, every: float = 0.5, cache: Path | None = None, skeleton: Skeleton = COCO17
) -> PoseDataset:
    """The images under `root`, or of the video `root` the first frame and then one frame every `every`
    seconds, without labels.

    Folders are searched to the bottom, hidden ones left out, in the order of the paths. `cache` is where a
    video's frames go (`.poseling-frames` beside the video by default). Images that cannot be read, and
    boxes that miss their image, are left out and listed in `findings`, as are the notes of `video.frames`.
    FileNotFoundError if there is nothing, ValueError if `boxes.json` is broken, OSError if the video is or
    the frames cannot be written.
    """
    found: list[Finding] = []
    if root.is_file() and root.suffix.lower() not in IMAGES:
        film, root = root, frames(root, every, cache)
        if (root / NOTES).is_file():
            notes = (root / NOTES).read_text(encoding="utf-8").splitlines()
            found.append(Finding("odd video", film, None, "; ".join(notes)))
    paths = [root] if root.is_file() else _images(root)
    listed = _boxes(root / BOXES) if (root / BOXES).is_file() else None
    images: list[Path] = []
    boxes: list[Sequence[float]] = []
    for path in paths:
        try:
            width, height = image_size(path)
        except OSError as error:
            found.append(Finding("unreadable image", path, None, f"{error}; it is left out"))
            continue
        right, below = width - 1.0, height - 1.0
        name = path.relative_to(root).as_posix() if listed is not None else ""
        if listed is not None and not listed.get(name):
            found.append(Finding("not listed", path, None, f"{BOXES} has no box for it; it is left out"))
        for box in [whole_box((width, height))] if listed is None else listed.get(name, ()):
            if box[0] > right or box[1] > below or box[2] < 0 or box[3] < 0:
                found.append(
                    Finding(
                        "box outside",
                        path,
                        len(images),
                        f"({', '.join(f'{v:g}' for v in box)}) misses its {width} x {height} image; left out",
                    )
                )
                continue
            images.append(path)
            boxes.append(box)
    if listed is not None:
        there = {p.relative_to(root).as_posix() for p in paths}
        found += [
            Finding("missing image", root / n, None, f"named by {BOXES} but not found")
            for n in listed
            if n not in there
        ]
    if not images:
        raise FileNotFoundError(
            f"{root if listed is None else root / BOXES}: none of its {len(paths)} images can be used; the "
            f"first: {found[0].image}: {found[0].message}"
        )
    nothing, noted = (
        np.zeros((len(images), len(skeleton)), np.uint8),
        root if listed is None else root / BOXES,
    )
    dataset = from_joints(
        "images",
        skeleton,
        images,
        np.zeros((*nothing.shape, 2)),
        nothing,
        LICENCE,
        boxes=np.array(boxes, np.float64),
        path=noted,
    )
    return PoseDataset(
        dataset.name,
        skeleton,
        dataset.images,
        dataset.boxes,
        dataset.joints,
        dataset.visible,
        None,
        LICENCE,
        (*found, *dataset.findings),
    )


def frames(path: Path, every: float = 0.5, cache: Path | None = None) -> Path:
    """The folder with the frames of the video `path`, upright and as they are shown, as JPEG; decoded only if
    they are not there yet.

    A frame's name is its number among all that can be decoded, and its time in milliseconds. `notes.txt`
    beside them holds the notes of `video.frames`, a line each, if there are any. The folder's name holds a
    hash of the video's size, its time of change and `every`. It appears when it is complete. ValueError for
    `every` below 0; OSError that names the video if no frame can be decoded, or the frames cannot be written.
    """
    if not every >= 0:
        raise ValueError(f"every is {every} seconds; use 0 for all frames or a positive number")
    about = path.stat()
    identity = f"numbered {path.name} {about.st_size} {about.st_mtime_ns} {every}"
    key = hashlib.sha256(identity.encode()).hexdigest()[:12]
    target = (cache or path.parent / ".poseling-frames") / f"{path.stem}-{key}"
    if target.is_dir():
        return target
    with new_folder(target) as folder:
        due, notes = 0.0, list[str]()
        for index, seconds, image in video.frames(path, notes.append):
            if seconds + 1e-6 < due:
                continue
            due = seconds + every
            data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])[1]
            write_bytes(folder / f"{index:08d}-{round(1000 * seconds):09d}ms.jpg", data.tobytes())
        if notes:
            lines = "".join(note.removeprefix(f"{path}: ") + "\n" for note in notes)
            write_bytes(folder / NOTES, lines.encode())
    return target


def image_size(path: Path) -> tuple[int, int]:
    """(W, H) as `read_image` would give it, from the file's header where the header alone says it; OSError
    that names the file if it is no image.
    """
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 4096))
            tail = file.read()
    except OSError as error:
        raise OSError(f"{path}: cannot be read: {error.strerror}") from error
    # An image that may have to be turned (EXIF), or that may be cut, is decoded.
    whole = b"\xff\xd9" in tail if head[:2] == b"\xff\xd8" else head[:4] == b"\x89PNG" and b"IEND" in tail
    size = None if not whole or b"Exif" in head or b"eXIf" in head else headers.image_size(head)
    if size is None:
        height, width = read_image(path).shape[:2]
        return width, height
    check_size(path, size)
    return size


def _images(root: Path) -> list[Path]:
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: there is no such folder or video")
    inside = shown(root)
    if found := images_of(inside):
        return found
    videos = [p for p in inside if p.suffix.lower() in VIDEOS]
    hint = f"; name one of its {len(videos)} videos itself, such as {videos[0]}" if videos else ""
    raise FileNotFoundError(f"{root}: holds no image ({', '.join(IMAGES)}){hint}")


def _boxes(path: Path) -> dict[str, list[list[float]]]:
    listed = read_json(path)
    try:
        # A name that Windows wrote has backslashes for slashes.
        return {
            str(name).replace("\\", "/"): np.array(rows, np.float64).reshape(-1, 4).tolist()
            for name, rows in listed.items()
        }
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f'{path}: expected {{"image.jpg": [[x0, y0, x1, y1], ...]}} in pixels ({error})'
        ) from error
