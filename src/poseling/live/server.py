"""Serves the page to a browser: files of one folder, the network's file, and nothing else.

The headers make the page cross-origin isolated, without which the browser gives a network one thread; and
forbid it to load from or send to anywhere else.
"""

from __future__ import annotations

import json
import mimetypes
import socket
import ssl
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal
from urllib.parse import unquote, urlsplit

import numpy as np

from poseling.live.vmc import Sender

PAGE = Path(__file__).parent / "page"  # where `make web` puts the built page
MODEL, ABOUT, VMC = "/model/pose.onnx", "/model/about.json", "/vmc"
LOOPBACK = ("127.0.0.1", "localhost", "::1")
BODY = 16_384  # bytes that a frame for VMC has at most; 13 turns have about 1,000
PATIENCE = 30.0  # seconds that a connection may be silent
BLOCK = 1 << 16
TYPES = {
    **{
        ".js": "text/javascript",
        ".mjs": "text/javascript",
        ".wasm": "application/wasm",
        ".onnx": "application/octet-stream",
    },
    **{
        ".webmanifest": "application/manifest+json",
        ".glb": "model/gltf-binary",
        ".svg": "image/svg+xml",
        ".html": "text/html; charset=utf-8",
    },
}
HEADERS = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'wasm-unsafe-eval' blob:; worker-src 'self' blob:; connect-src 'self' blob: data:; "
    "img-src 'self' blob: data:; media-src 'self' blob:; style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self)",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True, eq=False)
class Site:
    """What is served: the folder of the built `page`, the network's file, what is said `about` it, and where
    frames for VMC go, if anywhere.

    FileNotFoundError if the page is not built.
    """

    model: Path
    about: dict[str, Any]
    sender: Sender | None = None
    page: Path = PAGE

    def __post_init__(self) -> None:
        if not (self.page / "index.html").is_file():
            raise FileNotFoundError(
                f"{self.page}: the page is not built; install Node.js 18 or newer, and run `pip install .` again "
                "or, where Poseling is installed to be edited, `make web`"
            )

    def file(self, path: str) -> Path | None:
        """The file that a request's path means; None if there is none, it lies outside, or is hidden."""
        if path == MODEL:
            return self.model
        parts = [part for part in path.split("/") if part]
        if any(part.startswith(".") or "\\" in part or "\0" in part or ":" in part for part in parts):
            return None
        root = self.page.resolve()
        found = root.joinpath(*parts).resolve()  # also through links
        found = found / "index.html" if found.is_dir() else found
        return found if found.is_relative_to(root) and found.is_file() else None


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of the site's files, POST of frames for VMC. Whatever is wrong is a line of text with its
    status.
    """

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "poseling", ""
    timeout = PATIENCE
    disable_nagle_algorithm = True  # else a short answer waits 40 ms for the acknowledgement of its head

    def __init__(self, site: Site, known: tuple[str, ...], *arguments: Any) -> None:
        self._site, self._known = site, known
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_POST(self) -> None:
        if not self._expected():
            return
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > BODY or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what follows is not read, and so no request
            self._say(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a frame has at most {BODY} bytes, and says how many"
            )
            return
        body = self.rfile.read(int(length))
        if _named(self.path, "path") != VMC or self._site.sender is None:
            self._say(HTTPStatus.NOT_FOUND, "nothing is sent on from here; start with --vmc HOST:PORT")
            return
        origin = _named(self.headers.get("Origin", ""), "netloc")
        if not origin or origin != self.headers.get("Host"):
            self._say(HTTPStatus.FORBIDDEN, "frames come from the page alone")
            return
        try:
            frame = json.loads(body)
            rotations, place = (np.array(frame[key], np.float64) for key in ("rotations", "place"))
            self._site.sender.send(rotations, place, float(frame["seconds"]))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError) as error:
            self._say(HTTPStatus.BAD_REQUEST, f"this is no frame: {str(error)[:200]}")
            return
        self._head(HTTPStatus.NO_CONTENT, 0)

    def _answer(self, body: bool) -> None:
        if not self._expected():
            return
        path = unquote(_named(self.path, "path"))
        if path == ABOUT:
            about = json.dumps({**self._site.about, "vmc": self._site.sender is not None}).encode()
            self._head(HTTPStatus.OK, len(about), "application/json")
            if body:
                self.wfile.write(about)
            return
        try:
            found = self._site.file(path)
            opened = None if found is None else found.open("rb")
        except (OSError, ValueError):  # a name that no file can have
            opened = found = None
        if opened is None or found is None:
            self._say(HTTPStatus.NOT_FOUND, "there is no such file", body)
            return
        with opened:
            size = opened.seek(0, 2)
            opened.seek(0)
            kind = (
                TYPES.get(found.suffix) or mimetypes.guess_type(found.name)[0] or "application/octet-stream"
            )
            self._head(HTTPStatus.OK, size, kind)
            while body and (block := opened.read(BLOCK)):
                self.wfile.write(block)

    def _expected(self) -> bool:
        """Whether the request is for this server: a page elsewhere whose name leads here (DNS rebinding) is
        none of ours.
        """
        right = not self._known or _named(f"//{self.headers.get('Host', '')}", "hostname") in self._known
        if not right:
            self.close_connection = True
            self._say(
                HTTPStatus.FORBIDDEN,
                f"this is served to {', '.join(self._known)} alone; --host opens it to others",
            )
        return right

    def _say(self, status: HTTPStatus, text: str, body: bool = True) -> None:
        data = f"{text}\n".encode()
        self._head(status, len(data), "text/plain; charset=utf-8")
        if body:
            self.wfile.write(data)

    def _head(self, status: HTTPStatus, size: int, kind: str | None = None) -> None:
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if kind is not None:
            self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(size))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class finds malformed, in a line of text as well."""
        self.close_connection = True
        self._say(HTTPStatus(code), message or HTTPStatus(code).phrase, self.command != "HEAD")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a line for each file would hide what the command says."""


def _named(url: str, what: Literal["hostname", "netloc", "path"]) -> str:
    """A part of an address, "" where it is none."""
    try:
        return getattr(urlsplit(url), what) or ""
    except ValueError:
        return ""


class Server(ThreadingHTTPServer):
    """A browser that goes away in the middle of a file is no error."""

    daemon_threads = True

    def __init__(self, family: int, *arguments: Any) -> None:
        self.address_family = family
        super().__init__(*arguments)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: the connection is closed, and others go on."""


def server(
    site: Site,
    host: str = "127.0.0.1",
    port: int = 8765,
    certificate: Path | None = None,
    key: Path | None = None,
) -> Server:
    """A server of the site that is bound and does not yet serve; port 0 takes a free one.

    With a `certificate` and its `key` (PEM) it speaks https, which browsers ask for before they give a page
    the camera, unless it is on the same machine. OSError if the port is taken or there is no such host;
    ValueError for a number that no port has, for a key alone, and for a certificate that cannot be used.
    """
    known = LOOPBACK if host in LOOPBACK else ()
    if not 0 <= port < 65536:
        raise ValueError(f"--port {port}: is a number from 0, which takes a free one, to 65535")
    if key is not None and certificate is None:
        raise ValueError(f"--key {key}: is of a certificate; give that too, by --certificate")
    try:
        family, _, _, _, place = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        made = Server(family, place, partial(Handler, site, known))
    except (OSError, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise OSError(f"{host}:{port}: cannot be listened on ({why}); --port takes another") from error
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(certificate, key)
        except (ssl.SSLError, OSError) as error:
            made.server_close()
            raise ValueError(
                f"{certificate}: is no certificate with its key that can be used ({error})"
            ) from error
        made.socket = context.wrap_socket(made.socket, server_side=True, do_handshake_on_connect=False)
    return made


def exposure(host: str, secure: bool) -> str:
    """In words what listening on `host` opens, and to whom."""
    if host in LOOPBACK:
        return "Only programs on this machine reach it."
    who = (
        "Everybody who reaches this machine by any of its addresses"
        if host in ("0.0.0.0", "::", "")
        else f"Everybody who reaches {host}"
    )
    camera = (
        ""
        if secure
        else " Other machines' browsers give the page no camera without https: add --certificate and --key."
    )
    return f"{who} can load the page and the network's file; pictures stay in the browser that takes them.{camera}"
