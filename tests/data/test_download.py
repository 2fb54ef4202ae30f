"""Downloading, from a server of our own on this machine: in one go, cut off and gone on with, spoilt."""

from __future__ import annotations

import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest

from poseling.data import download as module
from poseling.data.download import COCO, Archive, download

NAMES = [f"val2017/{i:03d}.jpg" for i in range(5)]


def packed(names=NAMES, seed: int = 0) -> bytes:
    """A zip of some 300 kB."""
    out, rng = io.BytesIO(), np.random.default_rng(seed)
    with zipfile.ZipFile(out, "w") as file:
        for name in names:
            file.writestr(name, rng.bytes(60_000))
    return out.getvalue()


class Server:
    """Serves `files` by path. `cuts` are how many bytes of a body go out before the connection breaks, one
    for each request to come.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.cuts: list[int] = []
        self.asked: list[tuple[str, str | None]] = []
        self.knows_range = True
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                server.asked.append((self.path, wanted))
                if self.path not in server.files:
                    self.send_error(404)
                    return
                body = server.files[self.path]
                if wanted and server.knows_range:
                    start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])
                    self.send_response(206)
                    self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
                    body = body[start:]
                else:
                    self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: server.cuts.pop(0)] if server.cuts else body)
                self.close_connection = True

            def log_message(self, *_: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    one = Server()
    monkeypatch.setattr(module, "PAUSE", 0.0)
    offer(one, packed(), monkeypatch)
    yield one
    one.http.shutdown()
    one.http.server_close()


def offer(server: Server, data: bytes, monkeypatch, **more) -> None:
    archive = {
        "part": "val",
        "path": "zips/val2017.zip",
        "size": len(data),
        "md5": hashlib.md5(data).hexdigest(),
        "members": "val2017/",
        "count": 5,
    }
    monkeypatch.setattr(module, "DOWNLOADS", {"coco": (Archive(**(archive | more)),)})
    server.files["/zips/val2017.zip"] = data


def test_the_official_files():
    assert [a.part for a in COCO] == ["annotations", "val", "train"]  # the small ones first
    assert all(re.fullmatch("[0-9a-f]{32}", a.md5) for a in COCO)
    assert [a.count for a in COCO] == [2, 5000, 118287]


def test_fetches_unpacks_and_tidies_up(server, tmp_path):
    told: list[tuple[str, int, int]] = []
    done = download("coco", tmp_path, lambda *what: told.append(what), server=server.url)
    assert (done.fetched, done.already) == (("val",), ())
    assert sorted(p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*")) == ["val2017", *NAMES]
    with zipfile.ZipFile(io.BytesIO(server.files["/zips/val2017.zip"])) as file:
        assert all((tmp_path / name).read_bytes() == file.read(name) for name in NAMES)
    size = len(server.files["/zips/val2017.zip"])
    assert ("val2017.zip", size, size) in told
    assert ("val2017.zip, checking", size, size) in told
    assert told[-1] == ("val2017.zip, unpacking", 5, 5)
    again = download("coco", tmp_path, server=server.url)
    assert (again.fetched, again.already) == ((), ("val",))
    assert len(server.asked) == 1


def test_images_in_images_are_there_as_well(server, tmp_path):
    download("coco", tmp_path, server=server.url)
    (tmp_path / "images").mkdir()
    (tmp_path / "val2017").rename(tmp_path / "images" / "val2017")
    assert download("coco", tmp_path, server=server.url).already == ("val",)


def test_goes_on_where_the_connection_broke(server, tmp_path):
    server.cuts = [100_000, 50_000]
    download("coco", tmp_path, server=server.url)
    assert [wanted for _, wanted in server.asked] == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / NAMES[4]).stat().st_size == 60_000


def test_goes_on_in_the_next_call_after_ctrl_c(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", 10_000)

    def stop(what: str, done: int, of: int) -> None:
        if done > 120_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("coco", tmp_path, stop, server=server.url)
    have = (tmp_path / ".download" / "val2017.zip.part").stat().st_size
    assert 120_000 < have < 150_000
    assert not (tmp_path / "val2017").exists()
    download("coco", tmp_path, server=server.url)
    assert server.asked[-1][1] == f"bytes={have}-"
    assert (tmp_path / NAMES[0]).is_file()


def test_ctrl_c_while_unpacking_leaves_whole_files_only(server, tmp_path, monkeypatch):
    extract = module._extract
    monkeypatch.setattr(
        module,
        "_extract",
        lambda source, member, target: stop() if "003" in target.name else extract(source, member, target),
    )

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        download("coco", tmp_path, server=server.url)
    assert sorted(p.name for p in (tmp_path / "val2017").iterdir()) == ["000.jpg", "001.jpg", "002.jpg"]
    monkeypatch.undo()
    monkeypatch.setattr(module, "DOWNLOADS", {"coco": (archive_of(server),)})
    first = (tmp_path / NAMES[0]).stat().st_mtime_ns
    download("coco", tmp_path, server=server.url)
    assert len(server.asked) == 1  # the zip was kept
    assert (tmp_path / NAMES[0]).stat().st_mtime_ns == first
    assert (tmp_path / NAMES[4]).is_file()


def archive_of(server: Server) -> Archive:
    data = server.files["/zips/val2017.zip"]
    return Archive("val", "zips/val2017.zip", len(data), hashlib.md5(data).hexdigest(), "val2017/", 5)


def test_a_server_without_range_begins_anew(server, tmp_path):
    server.cuts, server.knows_range = [100_000], False
    download("coco", tmp_path, server=server.url)
    assert (tmp_path / NAMES[4]).stat().st_size == 60_000


def test_a_connection_that_brings_nothing_is_given_up(server, tmp_path):
    server.cuts = [80_000, *[0] * 9]
    with pytest.raises(
        OSError,
        match=r"val2017\.zip: cannot be fetched \(the connection was cut\); 80000 of \d+ bytes are there and stay",
    ):
        download("coco", tmp_path, server=server.url)
    assert len(server.asked) == 1 + module.ATTEMPTS
    server.cuts = []
    download("coco", tmp_path, server=server.url)
    assert server.asked[-1][1] == "bytes=80000-"


def test_without_a_network(server, tmp_path):
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(
        OSError,
        match=r"cannot be fetched \(.*refused\); 0 of .* call it again to go on, or put val2017\.zip into",
    ):
        download("coco", tmp_path, server=server.url)


def test_another_file_is_refused(server, tmp_path, monkeypatch):
    server.files["/zips/val2017.zip"] = packed(seed=1)  # of the same size
    with pytest.raises(
        ValueError,
        match=r"its MD5 is [0-9a-f]{32}, that of the official val2017\.zip [0-9a-f]{32}; it is removed, call it again",
    ):
        download("coco", tmp_path, server=server.url)
    assert not (tmp_path / ".download" / "val2017.zip.part").exists()
    assert not (tmp_path / "val2017").exists()
    server.files["/zips/val2017.zip"] += b"more"
    with pytest.raises(
        ValueError,
        match=r"val2017\.zip: has \d+ bytes, but the official val2017\.zip has \d+; it is another file",
    ):
        download("coco", tmp_path, server=server.url)
    del server.files["/zips/val2017.zip"]
    with pytest.raises(OSError, match="the server answers 404"):
        download("coco", tmp_path, server=server.url)


def test_a_broken_member_is_named_without_a_digest(server, tmp_path, monkeypatch):
    data = bytearray(packed())
    data[150_000] ^= 1
    offer(server, bytes(data), monkeypatch, md5=None)
    with pytest.raises(
        ValueError,
        match=r"val2017\.zip: is broken \(val2017/002\.jpg: Bad CRC-32.*remove it and call this again",
    ):
        download("coco", tmp_path, server=server.url)
    assert sorted(p.name for p in (tmp_path / "val2017").iterdir()) == ["000.jpg", "001.jpg"]
    offer(server, b"no zip at all", monkeypatch, md5=None)
    (tmp_path / ".download" / "val2017.zip").unlink()
    with pytest.raises(ValueError, match="is broken"):
        download("coco", tmp_path, server=server.url)


def test_a_zip_with_other_things_is_refused(server, tmp_path, monkeypatch):
    offer(server, packed(NAMES[:4]), monkeypatch)
    with pytest.raises(ValueError, match=r"holds 4 files val2017/\*, expected 5"):
        download("coco", tmp_path / "few", server=server.url)
    offer(server, packed([*NAMES[:4], "val2017/../../out.jpg"]), monkeypatch)
    with pytest.raises(ValueError, match=r"val2017/\.\./\.\./out\.jpg would lie outside"):
        download("coco", tmp_path / "deep" / "out", server=server.url)
    assert not list(tmp_path.rglob("out.jpg"))


def test_a_zip_that_is_already_there_is_used_and_left(server, tmp_path):
    own = tmp_path / "val2017.zip"
    own.write_bytes(server.files["/zips/val2017.zip"])
    download("coco", tmp_path, server=server.url)
    assert server.asked == []
    assert own.is_file()
    assert (tmp_path / NAMES[2]).is_file()
    (tmp_path / NAMES[2]).unlink()
    own.write_bytes(b"half")
    with pytest.raises(ValueError, match="has 4 bytes, the official"):
        download("coco", tmp_path, server=server.url)
    assert own.is_file()


def test_only_some_parts(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "DOWNLOADS", {"coco": (COCO[2], *module.DOWNLOADS["coco"])})
    assert download("coco", tmp_path, parts=["val"], server=server.url).fetched == ("val",)
    with pytest.raises(ValueError, match="coco has no part 'test'; there are train, val"):
        download("coco", tmp_path, parts=["test"], server=server.url)
    with pytest.raises(ValueError, match="mpii cannot be downloaded, only coco"):
        download("mpii", tmp_path)


def test_too_little_disk_space_is_an_error_before_the_download(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _: SimpleNamespace(free=400_000))
    with pytest.raises(OSError, match=r"val2017\.zip takes 0\.0 GB, unpacked too"):
        download("coco", tmp_path, server=server.url)
    assert server.asked == []
