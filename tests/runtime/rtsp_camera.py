"""A camera of the network as a test has it: an RTSP server (RFC 2326) on 127.0.0.1 that sends one motion JPEG
video to one viewer, in the connection itself.
"""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections.abc import Sequence

import av
import numpy as np

SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=door\r\nt=0 0\r\nm=video 0 RTP/AVP 26\r\na=control:video\r\n"


class NetworkCamera:
    """Sends frames (H, W, 3) BGR at a rate a second, and then closes the connection.

    `url` is where. A `login` of name:password is asked for if given. `asked` holds the viewer's methods.
    """

    def __init__(self, images: Sequence[np.ndarray], rate: int = 5, login: str = "") -> None:
        self.packets, self.login, self.asked = packets(images, rate), login, list[str]()
        self.listens = socket.create_server(("127.0.0.1", 0))
        address = f"127.0.0.1:{self.listens.getsockname()[1]}/door"
        self.url = f"rtsp://{login}@{address}" if login else f"rtsp://{address}"
        self.thread = threading.Thread(target=self.serve, daemon=True)

    def __enter__(self) -> NetworkCamera:
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.listens.close()
        self.thread.join(10)

    def serve(self) -> None:
        try:
            viewer, _ = self.listens.accept()
        except OSError:  # nobody looked
            return
        with viewer, viewer.makefile("rb") as lines:
            while request := lines.readline().decode().strip():
                method, _, _ = request.partition(" ")
                fields = dict(iter(lambda: lines.readline().decode().strip().split(": ", 1), [""]))
                self.asked.append(method)
                known = f"Basic {base64.b64encode(self.login.encode()).decode()}"
                if self.login and method != "OPTIONS" and fields.get("Authorization") != known:
                    answer(viewer, fields, "401 Unauthorized", 'WWW-Authenticate: Basic realm="door"')
                elif method == "DESCRIBE":
                    answer(viewer, fields, "200 OK", "Content-Type: application/sdp", body=SDP)
                elif method == "SETUP":
                    how = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1"
                    answer(viewer, fields, "200 OK", how, "Session: 1")
                else:
                    answer(viewer, fields, "200 OK", "Public: DESCRIBE, SETUP, PLAY", "Session: 1")
                if method == "PLAY":
                    for packet in self.packets:
                        viewer.sendall(b"$" + struct.pack(">BH", 0, len(packet)) + packet)
                    return


def answer(viewer: socket.socket, fields: dict[str, str], status: str, *more: str, body: str = "") -> None:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {fields['CSeq']}", *more, f"Content-Length: {len(body)}", "", body]
    viewer.sendall("\r\n".join(lines).encode())


def packets(images: Sequence[np.ndarray], rate: int) -> list[bytes]:
    """The video as RTP packets (RFC 2435), each of one frame, made by FFmpeg."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(1)
        found = []
        with av.open(f"rtp://127.0.0.1:{receiver.getsockname()[1]}", "w", format="rtp") as container:
            as_the_rfc_wants = {"huffman": "default", "force_duplicated_matrix": "1"}
            stream = container.add_stream("mjpeg", rate=rate, options=as_the_rfc_wants)
            stream.codec_context.thread_count = 1  # several write restart markers, which RTP leaves out
            stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "yuvj420p"
            for image in images:
                for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")):
                    container.mux(packet)
                    found.append(receiver.recv(1 << 16))
        return found
