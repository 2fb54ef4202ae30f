"""COCO from its own server: fetched where it was left off, checked, unpacked, and none of it twice.

What is on the way lies in ROOT/.download; an image or an annotation file appears in its place when it is
whole. An official zip that already lies in ROOT is used instead of the network, and left where it is.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import shutil
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from poseling.files import Draft

Progress = Callable[[str, int, int], object]
SERVER = "http://images.cocodataset.org"
WAY = ".download"
CHUNK = 1 << 20
ATTEMPTS = 5  # without a single byte between them
PAUSE = 1.0  # seconds before the second of them; then twice as long, and so on to eight times


@dataclass(frozen=True)
class Archive:
    """One zip on the server: where, how many bytes, its MD5 (None where none is published; then its size and
    the CRC of each member have to do), and which of its members are wanted, by how their names start and how
    many there are.
    """

    part: str
    path: str
    size: int
    md5: str | None
    members: str
    count: int

    @property
    def name(self) -> str:
        """Of the file."""
        return self.path.rpartition("/")[2]


# COCO's site gives no digests. These MD5 are what many who fetched the files wrote down alike (Paddle's and
# JAX's loaders, FiftyOne, LVIS kits, ...).
COCO = (
    Archive(
        "annotations",
        "annotations/annotations_trainval2017.zip",
        252907541,
        "f4bbac642086de4f52a3fdda2de5fa2c",
        "annotations/person_keypoints_",
        2,
    ),
    Archive("val", "zips/val2017.zip", 815585330, "442b8da7639aecaf257c1dceb8ba8c80", "val2017/", 5000),
    Archive(
        "train", "zips/train2017.zip", 19336861798, "cced6f7f71b7629ddf16f17bbcfab6b2", "train2017/", 118287
    ),
)
DOWNLOADS = {"coco": COCO}


@dataclass(frozen=True)
class Done:
    """Which parts were fetched or unpacked now, and which were present before."""

    fetched: tuple[str, ...]
    already: tuple[str, ...]


def download(
    name: str, root: Path, progress: Progress | None = None, parts: Sequence[str] = (), server: str = SERVER
) -> Done:
    """The data set `name` into `root`, in the layout that `data/coco.py` reads: all of it, or the `parts`
    annotations (0.25 GB), val (0.8 GB) and train (19 GB).

    Call it again to go on where it was stopped. `progress` is called with the file, the bytes (in unpacking:
    the members) that are done, and of how many. `server` may be a mirror with the same paths. ValueError for
    a name or a part that there is not, or a file that is not the official one (it is removed); OSError where
    there is no connection or no room: what was fetched stays.
    """
    if name not in DOWNLOADS:
        raise ValueError(
            f"{name} cannot be downloaded, only {', '.join(DOWNLOADS)}; docs/data.md says where the other "
            f"sets come from"
        )
    archives = DOWNLOADS[name]
    known = [a.part for a in archives]
    if unknown := [part for part in parts if part not in known]:
        raise ValueError(f"{name} has no part {unknown[0]!r}; there are {', '.join(known)}")
    tell = progress or (lambda what, done, of: None)
    fetched, already = [], []
    for archive in archives:
        if parts and archive.part not in parts:
            continue
        if _there(archive, root):
            already.append(archive.part)
            continue
        own, path = root / archive.name, root / WAY / archive.name
        if own.is_file():
            _check(own, archive, tell)
            unpack(own, root, archive, tell)
        else:
            if not path.is_file():
                fetch(f"{server.rstrip('/')}/{archive.path}", path, archive, tell)
            unpack(path, root, archive, tell)
            path.unlink()
        fetched.append(archive.part)
    with suppress(OSError):  # something else is still on its way there
        (root / WAY).rmdir()
    return Done(tuple(fetched), tuple(already))


def fetch(url: str, path: Path, archive: Archive, tell: Progress) -> None:
    """The zip at `url` to `path`, which appears when it is whole and right. What came of it so far is `path`
    with .part behind it.
    """
    part = path.with_name(f"{path.name}.part")
    part.parent.mkdir(parents=True, exist_ok=True)
    have = part.stat().st_size if part.is_file() else 0
    # Images do not shrink in a zip: it takes as much again to unpack it.
    _room(part.parent, 2 * archive.size - have, archive.name)
    failed = 0
    while have < archive.size:
        try:
            _transfer(url, part, archive, tell)
        except (http.client.HTTPException, OSError) as error:
            if (
                isinstance(error, urllib.error.HTTPError)
                and 400 <= error.code < 500
                and error.code not in (408, 416, 429)
            ):
                raise OSError(f"{url}: the server answers {error.code} {error.reason}") from error
            reason, before = error, have
        else:
            reason, before = ConnectionError("the connection was cut"), have
        have = part.stat().st_size if part.is_file() else 0
        if have >= archive.size:
            break
        failed = 0 if have > before else failed + 1
        if failed == ATTEMPTS:
            raise OSError(
                f"{url}: cannot be fetched ({getattr(reason, 'reason', reason)}); {have} of {archive.size} "
                f"bytes are there and stay: call it again to go on, or put "
                f"{archive.name} into {path.parent.parent} yourself"
            ) from reason
        if failed:
            time.sleep(min(2 ** (failed - 1), 8) * PAUSE)
    try:
        _check(part, archive, tell)
    except ValueError as error:
        part.unlink()
        raise ValueError(f"{error}; it is removed, call it again for another try") from None
    os.replace(part, path)


def unpack(path: Path, root: Path, archive: Archive, tell: Progress) -> None:
    """The wanted members of a zip into `root`, each whole or not at all; those that are there in their full
    size are left alone.

    ValueError that names the zip and the member for a broken one, or for a zip that holds other things than
    it should.
    """
    try:
        with zipfile.ZipFile(path) as source:
            members = [
                m for m in source.infolist() if m.filename.startswith(archive.members) and not m.is_dir()
            ]
            if len(members) < archive.count:
                raise ValueError(
                    f"{path}: holds {len(members)} files {archive.members}*, expected {archive.count}; it is "
                    f"not the official {archive.name}"
                )
            _room(root, sum(m.file_size for m in members if not _whole(root / m.filename, m)), archive.name)
            for i, member in enumerate(members):
                if ".." in PurePosixPath(member.filename).parts:
                    raise ValueError(f"{path}: {member.filename} would lie outside of {root}")
                target = root / member.filename
                if not _whole(target, member):
                    _extract(source, member, target)
                if i % 100 == 99 or i + 1 == len(members):
                    tell(f"{archive.name}, unpacking", i + 1, len(members))
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ValueError(f"{path}: is broken ({error}); remove it and call this again") from error


def _there(archive: Archive, root: Path) -> bool:
    """Whether all members are in place; images may also lie in images/."""
    folder, _, start = archive.members.rpartition("/")
    for place in (root / folder, root / "images" / folder):
        if (
            place.is_dir()
            and sum(
                entry.name.startswith(start) and not entry.name.startswith(".") for entry in os.scandir(place)
            )
            >= archive.count
        ):
            return True
    return False


def _whole(path: Path, member: zipfile.ZipInfo) -> bool:
    return path.is_file() and path.stat().st_size == member.file_size


def _extract(source: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path) -> None:
    # It does not wait for the disk, which for 118,287 images takes an hour. The zip is only removed when all
    # are there in full size.
    draft = Draft(target, durable=False)
    try:
        with source.open(member) as packed:
            shutil.copyfileobj(packed, draft.file, CHUNK)  # compares the CRC at the end
        draft.keep()
    except zipfile.BadZipFile as error:
        raise zipfile.BadZipFile(f"{member.filename}: {error}") from error
    finally:
        draft.drop()


def _transfer(url: str, part: Path, archive: Archive, tell: Progress) -> None:
    """Appends what the server sends from where the file ends; from the start where the server knows no Range."""
    have = part.stat().st_size if part.is_file() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})
    with urllib.request.urlopen(request, timeout=60) as answer:
        range_ = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", ""))
        begins = int(range_[1]) if answer.status == 206 and range_ else 0
        total = (
            range_[2] if answer.status == 206 and range_ else answer.headers.get("Content-Length")
        ) or "*"
        if total.isdigit() and int(total) != archive.size:
            raise ValueError(
                f"{url}: has {total} bytes, but the official {archive.name} has {archive.size}; it is "
                f"another file"
            )
        if begins not in (0, have):
            raise ConnectionError(f"the server sends from byte {begins}, not {have}")
        with part.open("ab" if begins else "wb") as file:
            done = begins
            while data := answer.read(CHUNK):
                file.write(data)
                done += len(data)
                tell(archive.name, done, archive.size)


def _check(path: Path, archive: Archive, tell: Progress) -> None:
    """ValueError if a file is not the official one."""
    if (size := path.stat().st_size) != archive.size:
        raise ValueError(f"{path}: has {size} bytes, the official {archive.name} has {archive.size}")
    if archive.md5 is None:
        return
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as file:
        while data := file.read(16 * CHUNK):
            digest.update(data)
            done += len(data)
            tell(f"{archive.name}, checking", done, archive.size)
    if digest.hexdigest() != archive.md5:
        raise ValueError(
            f"{path}: its MD5 is {digest.hexdigest()}, that of the official {archive.name} {archive.md5}"
        )


def _room(folder: Path, wanted: int, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if (free := shutil.disk_usage(folder).free) < wanted:
        raise OSError(
            f"{folder}: {name} takes {wanted / 1e9:.1f} GB, unpacked too, and {free / 1e9:.1f} GB are free; "
            f"choose another --root"
        )
