"""VMC: packets that are read back byte by byte, as OSC 1.0 says."""

from __future__ import annotations

import socket
import struct
from typing import Any

import numpy as np
import pytest

from poseling.geometry import quaternion, rotation_matrix
from poseling.live.vmc import BONES, Sender, address, bundle, message, packet
from poseling.runtime.kinematics import JOINTS

REST = np.tile([1.0, 0, 0, 0], (len(JOINTS), 1))


def read(data: bytes) -> list[tuple[str, list[Any]]]:
    """The messages of a bundle."""
    assert data[:8] == b"#bundle\0"
    assert struct.unpack(">Q", data[8:16]) == (1,)  # at once
    found, at = [], 16
    while at < len(data):
        (size,) = struct.unpack(">i", data[at : at + 4])
        assert size % 4 == 0
        found.append(_message(data[at + 4 : at + 4 + size]))
        at += 4 + size
    return found


def _message(data: bytes) -> tuple[str, list[Any]]:
    where, at = _text(data, 0)
    tags, at = _text(data, at)
    values: list[Any] = []
    for tag in tags[1:]:
        if tag == "s":
            text, at = _text(data, at)
            values.append(text)
        else:
            values.append(struct.unpack(f">{tag}", data[at : at + 4])[0])
            at += 4
    assert at == len(data)
    return where, values


def _text(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(b"\0", at)
    return data[at:end].decode(), end + 4 - end % 4 if end % 4 else end + 4


def test_a_frame_is_one_bundle_with_every_bone():
    turns = REST.copy()
    turns[JOINTS.index("left_elbow")] = quaternion(rotation_matrix(np.array([0.2, -0.9, 0.1])))
    turns[JOINTS.index("spine")] = quaternion(rotation_matrix(np.array([0.6, 0, 0])))
    sent = read(packet(turns, np.array([0.5, 0.9, -0.2]), 2.5))
    assert sent[:2] == [("/VMC/Ext/OK", [1]), ("/VMC/Ext/T", [2.5])]
    assert sent[2] == ("/VMC/Ext/Root/Pos", ["root", 0, 0, 0, 0, 0, 0, 1])
    bones = {values[0]: values[1:] for where, values in sent[3:] if where == "/VMC/Ext/Bone/Pos"}
    assert set(bones) == set(BONES)
    # Unity's x is the other way round: a mirror in x keeps a turn about x and reverses those about y and z.
    assert bones["Hips"] == pytest.approx([-0.5, 0.9, -0.2, 0, 0, 0, 1])
    w, x, y, z = turns[JOINTS.index("left_elbow")]
    assert bones["LeftLowerArm"] == pytest.approx([0, 0, 0, x, -y, -z, w], abs=1e-6)
    # The spine's turn of 0.6 radians is shared by two bones: sin(0.15) of each.
    assert bones["Spine"][3] == pytest.approx(np.sin(0.15), abs=1e-6)
    assert bones["Chest"] == bones["Spine"]
    assert len(packet(turns, np.zeros(3), 0.0)) < 1472  # one UDP packet on an Ethernet


def test_it_arrives():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as there:
        there.bind(("127.0.0.1", 0))
        there.settimeout(5)
        with Sender("127.0.0.1", there.getsockname()[1]) as sender:
            sender.send(REST, np.zeros(3), 1.0)
        assert there.recv(4096) == packet(REST, np.zeros(3), 1.0)


def test_nobody_has_to_listen():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with Sender("127.0.0.1", port) as sender:
        for _ in range(5):
            sender.send(REST, np.zeros(3), 1.0)


@pytest.mark.parametrize(
    ("rotations", "place", "seconds"),
    [
        (REST[:5], np.zeros(3), 0.0),
        (np.full((13, 4), np.nan), np.zeros(3), 0.0),
        (0 * REST, np.zeros(3), 0.0),
        (REST, np.zeros(2), 0.0),
        (REST, np.zeros(3), np.inf),
    ],
)
def test_what_is_no_frame_is_not_sent(rotations: np.ndarray, place: np.ndarray, seconds: float):
    with pytest.raises(ValueError, match=r"frame has finite|length above 0"):
        packet(rotations, place, seconds)


def test_messages_are_padded_to_four_bytes():
    assert message("/a", "bcd", 1, 0.5) == b"/a\0\0" + b",sif\0\0\0\0" + b"bcd\0" + b"\0\0\0\1" + struct.pack(
        ">f", 0.5
    )
    assert read(bundle([message("/four", "1234")])) == [("/four", ["1234"])]


@pytest.mark.parametrize("text", ["", ":1", "host:", "host:0", "host:70000", "a:b"])
def test_addresses_that_are_none(text: str):
    with pytest.raises(ValueError, match="--vmc"):
        address(text)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "." * 80])
def test_a_host_that_is_not_there_is_named(host: str):
    with pytest.raises(OSError, match=r"--vmc .*: there is no such host"):
        Sender(host, 39_539)
