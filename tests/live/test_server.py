"""The server: what it gives, what it refuses, and that it goes on afterwards."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from poseling import zoo
from poseling.live.open import serve
from poseling.live.server import BODY, HEADERS, Site, exposure, server
from poseling.live.vmc import Sender, packet
from poseling.runtime.kinematics import JOINTS

FRAME = {"rotations": np.tile([1.0, 0, 0, 0], (len(JOINTS), 1)).tolist(), "place": [0, 1, 0], "seconds": 1.5}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A built page, with something beside it that nobody may have."""
    folder = tmp_path / "page"
    (folder / "assets").mkdir(parents=True)
    (folder / "index.html").write_text("<title>page</title>")
    (folder / "assets" / "a.wasm").write_bytes(b"\0asm")
    (folder / ".hidden").write_text("hidden")
    (tmp_path / "secret.txt").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret.txt")
    (folder / "away").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "model.onnx").write_bytes(b"a network")
    return folder


@pytest.fixture
def heard() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.settimeout(5)
        yield there


@pytest.fixture
def port(page: Path, heard: socket.socket) -> Iterator[int]:
    """A server that runs."""
    with Sender("127.0.0.1", heard.getsockname()[1]) as sender:
        made = server(
            Site(page.parent / "model.onnx", {"name": "a", "terms": "for any use"}, sender, page), port=0
        )
        threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
        yield made.server_address[1]
        made.shutdown()
        made.server_close()


def ask(
    port: int, path: str, method: str = "GET", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    found = answer.status, dict(answer.getheaders()), answer.read()
    connection.close()
    return found


def raw(port: int, data: bytes) -> bytes:
    """All that the server answers to these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
        found = b""
        try:
            while block := connection.recv(65536):
                found += block
        except ConnectionError:
            pass
        return found


def test_the_page_is_isolated_and_can_send_to_nobody_else(port: int):
    status, headers, body = ask(port, "/")
    assert (status, body) == (200, b"<title>page</title>")
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert headers["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert "connect-src 'self'" in headers["Content-Security-Policy"]
    assert HEADERS.items() <= headers.items()


@pytest.mark.parametrize(
    ("path", "kind", "body"),
    [
        ("/index.html?threads=1", "text/html; charset=utf-8", b"<title>page</title>"),
        ("/assets/a.wasm", "application/wasm", b"\0asm"),
        ("/model/pose.onnx", "application/octet-stream", b"a network"),
    ],
)
def test_files(port: int, path: str, kind: str, body: bytes):
    status, headers, found = ask(port, path)
    assert (status, headers["Content-Type"], found) == (200, kind, body)
    status, headers, found = ask(port, path, "HEAD")
    assert (status, headers["Content-Length"], found) == (200, str(len(body)), b"")


def test_what_the_network_is(port: int):
    assert json.loads(ask(port, "/model/about.json")[2]) == {"name": "a", "terms": "for any use", "vmc": True}


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt",
        "/assets/../../secret.txt",
        "/%2e%2e/secret.txt",
        "/..%2fsecret.txt",
        "/assets/%2e%2e%2f%2e%2e%2fsecret.txt",
        "/..\\secret.txt",
        "/%5c..%5csecret.txt",
        "//etc/passwd",
        "/%00",
        "/assets/a.wasm%00.html",
        "/%252e%252e/secret.txt",
        "/%252e%252e%252fsecret.txt",
        "/..%255csecret.txt",
        "/%c0%ae%c0%ae/secret.txt",
        "/....//secret.txt",
        "/link",
        "/away/secret.txt",
        "/away",
        "/.hidden",
        "/C:/secret.txt",
        "/assets/",
        "/nothing",
        "/" + "a" * 5000,
        "/%ff%fe",
        "//[",
    ],
)
def test_nothing_else_is_given(port: int, path: str):
    status, headers, body = ask(port, path)
    assert (status, body) == (404, b"there is no such file\n")
    assert HEADERS.items() <= headers.items()


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "[", ""])
def test_a_name_that_was_led_here_gets_nothing(port: int, host: str):
    assert ask(port, "/", Host=host)[0] == 403
    assert ask(port, "/", Host=f"localhost:{port}")[0] == 200


def test_frames_are_sent_on(port: int, heard: socket.socket):
    status, _, body = ask(port, "/vmc", "POST", json.dumps(FRAME).encode(), Origin=f"http://127.0.0.1:{port}")
    assert (status, body) == (204, b"")
    assert heard.recv(4096) == packet(np.array(FRAME["rotations"]), np.array(FRAME["place"]), 1.5)


def test_frames_of_other_pages_are_not(port: int, heard: socket.socket):
    heard.settimeout(0.2)
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://["}):
        assert ask(port, "/vmc", "POST", json.dumps(FRAME).encode(), **headers)[0] == 403
    with pytest.raises(TimeoutError):
        heard.recv(4096)


def test_a_thousand_malformed_frames(port: int, heard: socket.socket):
    """Each is refused, on one connection, and the one after them is sent on."""
    rng = np.random.default_rng(0)
    whole = json.dumps(FRAME).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    headers = {"Origin": f"http://127.0.0.1:{port}"}
    kinds = [
        lambda: rng.bytes(int(rng.integers(0, 200))),
        lambda: whole[: int(rng.integers(0, len(whole) - 1))],
        lambda: json.dumps(
            {**FRAME, "rotations": rng.normal(0, 1, (int(rng.integers(0, 12)), 4)).tolist()}
        ).encode(),
        lambda: json.dumps({**FRAME, "place": [None, "a", {}]}).encode(),
        lambda: json.dumps({**FRAME, "seconds": [1]}).encode(),
        lambda: whole.replace(b"1.5", b"NaN"),
        lambda: b"[" * 5000,
        lambda: b"null",
    ]
    for i in range(1000):
        connection.request("POST", "/vmc", kinds[i % len(kinds)](), headers)
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 400
    connection.request("POST", "/vmc", whole, headers)
    assert connection.getresponse().status == 204
    connection.close()
    assert heard.recv(4096)


def test_malformed_requests_are_refused_and_others_go_on(port: int):
    """Whatever is written to the socket: no traceback, and the page is served after it."""
    rng = np.random.default_rng(1)
    head = f"Host: 127.0.0.1:{port}\r\n".encode()
    requests = [
        b"",
        b"\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\n" + head + b"\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + head + b"\r\n",
        b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: 1\r\n" % i for i in range(300)) + b"\r\n",
        b"POST /vmc HTTP/1.1\r\n" + head + b"Content-Length: -5\r\n\r\n",
        b"POST /vmc HTTP/1.1\r\n" + head + b"Content-Length: 99999999999\r\n\r\n",
        b"POST /vmc HTTP/1.1\r\n" + head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"POST /vmc HTTP/1.1\r\n" + head + b"\r\n",
        b"POST /elsewhere HTTP/1.1\r\n" + head + b"Content-Length: 2\r\n\r\n{}",
    ]
    # A thousand in all: noise, and good requests of which some bytes are others.
    good = b"GET /index.html HTTP/1.1\r\n" + head + b"\r\n"
    while len(requests) < 1000:
        if len(requests) % 2:
            requests.append(rng.bytes(int(rng.integers(1, 300))))
            continue
        changed = np.frombuffer(good, np.uint8).copy()
        changed[rng.integers(0, len(b"GET"), 2)] = rng.integers(128, 256, 2)
        requests.append(changed.tobytes()[: int(rng.integers(4, len(good) + 1))])
    for request in requests:
        answer = raw(port, request)
        assert not answer or b" 200 " not in answer.split(b"\r\n")[0], request[:80]
        assert b"Traceback" not in answer
    assert ask(port, "/")[0] == 200


def test_connections_that_say_nothing_hold_nobody_up(port: int):
    silent = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(100)]
    for connection in silent[::2]:
        connection.sendall(b"GET / HT")
    assert ask(port, "/")[0] == 200
    for connection in silent:
        connection.close()
    assert ask(port, "/")[0] == 200


def test_a_frame_that_is_too_long_is_not_read(port: int):
    assert ask(port, "/vmc", "POST", b" " * (BODY + 1), Origin=f"http://127.0.0.1:{port}")[0] == 413


def test_without_the_page_it_is_said_what_builds_it(tmp_path: Path):
    with pytest.raises(FileNotFoundError, match="make web"):
        Site(tmp_path / "model.onnx", {}, page=tmp_path)


def test_a_port_that_is_taken_is_told(page: Path, port: int):
    with pytest.raises(OSError, match=f"127.0.0.1:{port}: cannot be listened on .*--port"):
        server(Site(page.parent / "model.onnx", {}, page=page), port=port)


def test_a_certificate_that_is_none_is_told(page: Path):
    with pytest.raises(ValueError, match="no certificate"):
        server(Site(page.parent / "model.onnx", {}, page=page), port=0, certificate=page / "index.html")


def test_what_a_host_opens_is_said():
    assert exposure("127.0.0.1", False) == "Only programs on this machine reach it."
    assert "Everybody who reaches this machine" in exposure("0.0.0.0", False)
    assert "--certificate" in exposure("0.0.0.0", False)
    assert "--certificate" not in exposure("192.168.0.7", True)


def test_a_file_without_a_contract_is_refused_before_anything_is_served(tmp_path: Path):
    onnx = pytest.importorskip("onnx")
    model = onnx.load(zoo.path("poseling-n"))
    del model.metadata_props[:]
    bare = tmp_path / "bare.onnx"
    onnx.save(model, bare)
    with pytest.raises(ValueError, match=r"bare\.onnx"):
        serve(str(bare), "127.0.0.1", 0, None, None, None, False, lambda line: None)


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ({"port": 99_999}, "--port 99999: is a number from 0"),
        ({"port": -1}, "--port -1"),
        ({"key": Path("key.pem")}, r"--key key\.pem: is of a certificate; give that too"),
        ({"host": "." * 80}, r"cannot be listened on"),
    ],
)
def test_where_nothing_can_be_listened_on(tmp_path: Path, how: dict[str, Any], told: str):
    (tmp_path / "index.html").write_text("")
    with pytest.raises((ValueError, OSError), match=told):
        server(Site(tmp_path / "a.onnx", {}, page=tmp_path), **how)


def test_an_address_of_version_six_can_be_listened_on(page: Path):
    site = Site(page.parent / "model.onnx", {}, None, page)
    try:
        made = server(site, "::1", 0)
    except OSError as error:
        pytest.skip(f"this machine has no IPv6 ({error})")
    with made:
        assert made.server_address[0] == "::1"
