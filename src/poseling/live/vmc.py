"""VMC: a body's turns to VTuber programs (VSeeFace, Warudo, VMC itself), as OSC messages in UDP packets.

The protocol is at protocol.vmc.info, OSC 1.0 at opensoundcontrol.stanford.edu. Axes are Unity's: as ours,
but x to the right of the person.
"""

from __future__ import annotations

import socket
import struct
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from poseling.live.turns import part
from poseling.runtime.kinematics import JOINTS

PORT = 39539  # where programs that show an avatar listen
# Each of Unity's bones with the joint of the body and how much of its turn it takes: the body has one spine
# and one neck, and a rig two bones for each.
BONES = {
    "Hips": ("pelvis", 1.0),
    **{"Spine": ("spine", 0.5), "Chest": ("spine", 0.5), "Neck": ("neck", 0.5), "Head": ("neck", 0.5)},
    **{f"{side}{bone}": (f"{side.lower()}_{joint}", 1.0) for side in ("Left", "Right") for bone, joint in (
        ("Shoulder", "collar"), ("UpperArm", "shoulder"), ("LowerArm", "elbow"), ("UpperLeg", "hip"), ("LowerLeg", "knee"))},
}  # fmt: skip


def message(address: str, *values: str | int | float) -> bytes:
    """An OSC message: strings, 32 bit integers and floats.

    >>> message("/ok", 1)
    b'/ok\\x00,i\\x00\\x00\\x00\\x00\\x00\\x01'
    """
    tags, body = ",", b""
    for value in values:
        if isinstance(value, str):
            tags, body = tags + "s", body + _padded(value)
        elif isinstance(value, int):
            tags, body = tags + "i", body + struct.pack(">i", value)
        else:
            tags, body = tags + "f", body + struct.pack(">f", value)
    return _padded(address) + _padded(tags) + body


def bundle(messages: list[bytes]) -> bytes:
    """Messages that belong together, to be done at once."""
    return b"#bundle\x00" + struct.pack(">Q", 1) + b"".join(struct.pack(">i", len(m)) + m for m in messages)


def packet(rotations: NDArray[np.floating], place: NDArray[np.floating], seconds: float) -> bytes:
    """One frame: upright turns (13, 4) of `kinematics.JOINTS`, the pelvis in metres (3,), y up, and the
    time. ValueError for what is not finite or of another shape.
    """
    turns, at = np.asarray(rotations, np.float64), np.asarray(place, np.float64)
    if (
        turns.shape != (len(JOINTS), 4)
        or at.shape != (3,)
        or not (np.isfinite(turns).all() and np.isfinite(at).all() and np.isfinite(seconds))
    ):
        raise ValueError(
            f"a frame has finite rotations (13, 4), a place (3,) and a time, got {turns.shape} and {at.shape}"
        )
    sizes = np.linalg.norm(turns, axis=-1)
    if not (sizes > 1e-6).all():
        raise ValueError("a rotation is a quaternion with a length above 0")
    turns = turns / sizes[:, None]
    sent = [message("/VMC/Ext/OK", 1), message("/VMC/Ext/T", float(seconds))]
    sent.append(message("/VMC/Ext/Root/Pos", "root", 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0))
    for bone, (joint, share) in BONES.items():
        # Only the hips are moved. A receiver that takes the others' places too would pull its model together.
        x, y, z = at * [-1, 1, 1] if bone == "Hips" else (0.0, 0.0, 0.0)
        w, qx, qy, qz = part(turns[JOINTS.index(joint)], share) * [1, 1, -1, -1]
        sent.append(message("/VMC/Ext/Bone/Pos", bone, *(float(v) for v in (x, y, z, qx, qy, qz, w))))
    return bundle(sent)


class Sender:
    """Sends frames to `host` and `port`; used in a `with`. Nobody has to listen there. OSError if there is
    no such host.
    """

    def __init__(self, host: str = "127.0.0.1", port: int = PORT) -> None:
        try:
            family, kind, _, _, to = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise OSError(f"--vmc {host}:{port}: there is no such host ({why})") from error
        self._to: tuple[object, ...] = to
        self._socket = socket.socket(family, kind)
        self._socket.setblocking(False)

    def __enter__(self) -> Sender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()

    def send(self, rotations: NDArray[np.floating], place: NDArray[np.floating], seconds: float) -> None:
        """A frame, as `packet` says. What cannot be sent at once is lost, as UDP's packets may be."""
        try:
            self._socket.sendto(packet(rotations, place, seconds), self._to)
        except OSError:
            return


def address(text: str) -> tuple[str, int]:
    """HOST:PORT, HOST or PORT, to both; ValueError if it is none.

    >>> address("192.168.0.7:39540"), address("39541"), address("localhost")
    (('192.168.0.7', 39540), ('127.0.0.1', 39541), ('localhost', 39539))
    """
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = ("127.0.0.1", text) if text.isdecimal() else (text, str(PORT))
    if not host or not port.isdecimal() or not 0 < int(port[:9]) < 65536:
        raise ValueError(f"--vmc {text}: give HOST:PORT, such as 127.0.0.1:{PORT}")
    return host, int(port)


def _padded(text: str) -> bytes:
    """ASCII with zeros behind it, at least one, to a multiple of four bytes."""
    data = text.encode("ascii") + b"\0"
    return data + b"\0" * (-len(data) % 4)
