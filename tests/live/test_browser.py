"""The page in a real browser: its joints against the Python runtime's, its avatar against the body, and what
it says when something is wrong.
"""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pybvh
import pytest
from tests.live.networks import level, sees
from tests.live.rigs import glb, humanoid

from poseling import zoo
from poseling.geometry import quaternion, rotation_matrix, scaled_box
from poseling.live.turns import upright
from poseling.pose import Pose
from poseling.runtime.kinematics import BONES, JOINTS, SHARES, forward
from poseling.runtime.lift import Lifter
from poseling.runtime.network import Network
from poseling.runtime.pipeline import Pipeline
from poseling.runtime.position import guessed_camera
from poseling.runtime.tracker import Tracker
from poseling.skeleton import BODY19, MOVNECT15, Skeleton
from poseling.video import frames

pytestmark = [pytest.mark.slow, pytest.mark.shared]

LOOK = """async ([data, seconds]) => {
    const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
    return await poseling.look(new Blob([bytes], { type: "image/png" }), seconds);
}"""
SETTLED = """async () => {
    for (let i = 0, last = ""; i < 600; i++) {
        await new Promise(requestAnimationFrame);
        const now = JSON.stringify(poseling.bones());
        if (i > 2 && now === last) return JSON.parse(now);
        last = now;
    }
    throw new Error("the avatar does not come to rest");
}"""
LIMBS = {
    "left_knee": ("left_hip", "left_ankle", "leftUpperLeg", "leftLowerLeg", "leftFoot"),
    "right_knee": ("right_hip", "right_ankle", "rightUpperLeg", "rightLowerLeg", "rightFoot"),
    "left_elbow": ("left_shoulder", "left_wrist", "leftUpperArm", "leftLowerArm", "leftHand"),
    "right_elbow": ("right_shoulder", "right_wrist", "rightUpperArm", "rightLowerArm", "rightHand"),
}


def look(page: Any, picture: np.ndarray, seconds: float) -> dict[str, Any]:
    """What the page makes of a picture (H, W, 3) BGR, given to it without loss."""
    data = base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()
    return page.evaluate(LOOK, [data, seconds])


def until(page: Any, true: str, given: Any = None) -> None:
    """Waits until a function of the page gives something true. Playwright's own way needs eval, which the
    page forbids.
    """
    end = time.monotonic() + 120
    while not page.evaluate(true, given):
        assert time.monotonic() < end, (
            f"{true} is not so after two minutes; the page says {page.text_content('#alert')!r}, {page.said}"
        )
        page.wait_for_timeout(50)


def bent(start: Any, hinge: Any, end: Any) -> float:
    """The angle at a hinge in degrees: 180 is straight."""
    a, b, c = (np.asarray(point, float) for point in (start, hinge, end))
    return float(np.rad2deg(np.arccos((a - b) @ (c - b) / np.linalg.norm(a - b) / np.linalg.norm(c - b))))


def of_body(points: np.ndarray) -> dict[str, float]:
    """Elbows and knees of a body (15, 3)."""
    at = {joint: points[i] for i, joint in enumerate(MOVNECT15.joints)}
    return {hinge: bent(at[start], at[hinge], at[end]) for hinge, (start, end, *_) in LIMBS.items()}


def of_avatar(bones: dict[str, Any]) -> dict[str, float]:
    """Elbows and knees of an avatar, from where its bones are in the scene."""
    return {hinge: bent(*(bones[bone] for bone in names)) for hinge, (_, _, *names) in LIMBS.items()}


def apart(first: dict[str, float], second: dict[str, float]) -> float:
    return max(abs(first[hinge] - second[hinge]) for hinge in first)


def test_joints_are_those_of_the_python_runtime(opened: Callable[..., Any], squats: list[np.ndarray]):
    """On the same frames: within 2 pixels where a person is searched for, and within half a pixel on average
    where it is followed. A crop depends on the joints of the frame before, so there a hundredth of a pixel
    doubles from frame to frame.
    """
    page, network = opened(), Network()
    for frame, image in enumerate(squats[8:40:4]):
        page.evaluate("poseling.estimator.reset()")
        found, pose = look(page, image, 10.0 * frame), Tracker(network)(image, 0.0)
        assert (found["width"], found["height"]) == image.shape[1::-1]
        assert np.array(found["person"]["xy"]) == pytest.approx(pose.xy[0], abs=2)
        assert np.array(found["person"]["score"]) == pytest.approx(pose.score[0], abs=0.1)
    page.evaluate("poseling.estimator.reset()")
    tracker, away = Tracker(network), []
    for frame, image in enumerate(squats[8:20]):
        found, pose = look(page, image, 200 + 0.2 * frame), tracker(image, 0.2 * frame)
        away.append(np.abs(np.array(found["person"]["xy"]) - pose.xy[0]))
        # What it was shown in this frame gives the same joints in Python.
        shown = scaled_box(np.array(found["person"]["looked"]), 1 / network.spec.padding)
        assert np.array(found["person"]["xy"]) == pytest.approx(network(image, [shown]).xy[0], abs=0.5)
    assert np.mean(away) < 0.5
    assert page.said == []


def test_elbows_and_knees_of_two_avatars_follow(
    opened: Callable[..., Any], squats: list[np.ndarray], shared: Path
):
    """The body is the one that Python lifts from the same joints, and the avatar's bones in the scene bend
    as it does.
    """
    page = opened()
    page.evaluate("poseling.estimator.smoothing = 0")
    page.evaluate("document.getElementById('mirror').click()")
    lifter, angles, followed = Lifter(BODY19), [], []
    for frame, image in enumerate(squats[8:40:3]):
        seconds = 0.4 * frame
        found = look(page, image, seconds)
        joints, score = (np.array(found["person"][key]) for key in ("xy", "score"))
        mine = lifter.fit(joints, score, guessed_camera(image.shape[1::-1]), seconds)
        rotations = np.array(found["body"]["rotations"])
        assert rotations.shape == (len(JOINTS), 4)
        points = forward(rotations, np.array(found["body"]["lengths"]))
        theirs = forward(upright(mine.rotations), mine.lengths)
        assert np.linalg.norm(points - theirs, axis=-1).max() < 0.02  # metres
        body = of_body(points)
        assert apart(body, of_body(theirs)) < 0.1
        angles.append(body["left_knee"])
        if frame == 5:
            avatar = shared / "data" / "avatars" / "White_M_1_Casual.glb"
            page.set_input_files("input[accept*='.vrm']", avatar)
            until(page, "() => document.getElementById('status').textContent.includes('is the avatar')")
        if frame % 3 == 2:
            followed.append(apart(of_avatar(page.evaluate(SETTLED)), body))
    assert max(followed) < 0.5  # degrees
    assert np.ptp(angles) > 35  # she squats: of somebody who stands still the test would see nothing
    assert page.text_content("#alert") == ""
    assert page.said == []


def turned(**degrees: tuple[float, float, float]) -> np.ndarray:
    """The points (15, 3) of a body 1.7 metres tall, upright, whose joints are turned about x, y and z."""
    turns = np.tile([1.0, 0, 0, 0], (len(JOINTS), 1))
    for joint, angles in degrees.items():
        turns[JOINTS.index(joint)] = quaternion(rotation_matrix(np.deg2rad(angles)))
    return forward(turns, np.array([1.7 * SHARES[bone] for bone in BONES]))


@pytest.mark.parametrize("aside", [0, 16])
def test_a_network_that_sees_depth_moves_the_avatar_itself(
    opened: Callable[..., Any], serving: Callable[..., Any], tmp_path: Path, aside: int
):
    """Another file, and no change of code: the page says that it sees depth, and the avatar does what the
    network says. An arm that points to the camera and one that points away look alike in the picture. Who
    stands `aside` is seen by another axis than the camera's.
    """
    bodies = [
        turned(left_shoulder=(0, -40, 0), right_shoulder=(0, 40, 0)),
        turned(left_shoulder=(0, 40, 0), right_shoulder=(0, -40, 0)),
        turned(left_elbow=(0, -90, 0), right_elbow=(0, 90, 0), right_knee=(70, 0, 0)),
    ]
    file = tmp_path / "sees.onnx"
    file.write_bytes(sees(np.array(bodies) * [1, -1, -1], aside=aside))
    page, network = opened(made=serving(file)), Network(file)
    assert "3D network" in page.inner_text("#note")
    page.evaluate("poseling.estimator.smoothing = 0")
    page.evaluate("document.getElementById('mirror').click()")
    wrist, shoulder = MOVNECT15.index("left_wrist"), MOVNECT15.index("left_shoulder")
    for pose, body in enumerate(bodies):
        page.evaluate("poseling.estimator.reset()")
        image = np.full((96, 72, 3), level(pose, len(bodies)), np.uint8)
        image[0] = 1  # the first one's picture is black, and a crop's margin is too
        found, seen = look(page, image, 10.0 * pose), Tracker(network)(image, 0.0)
        assert np.array(found["person"]["xyz"]) == pytest.approx(seen.xyz[0], abs=1e-5)
        frame = Pipeline(network, smooth=False, height=1.7)(image, 0.0)
        theirs = forward(np.array(found["body"]["rotations"]), np.array(found["body"]["lengths"]))
        lengths = np.array(found["body"]["lengths"])
        assert np.linalg.norm(theirs - forward(upright(frame.rotations[0]), lengths), axis=-1).max() < 0.02
        assert np.array(found["body"]["place"]) == pytest.approx(frame.position[0] * [1, -1, -1], abs=0.02)
        if not aside:
            assert np.linalg.norm(theirs - body, axis=-1).max() < 0.02
        bones = page.evaluate(SETTLED)
        assert apart(of_avatar(bones), of_body(theirs)) < 0.5
        forwards = bones["leftHand"][2] - bones["leftUpperArm"][2]
        assert forwards * (body[wrist] - body[shoulder])[2] > 0
        assert abs(forwards) > 0.1
    page.set_input_files("input[accept='.onnx']", zoo.path("poseling-n"))
    until(page, "() => document.getElementById('note').textContent.includes('a guess')")
    assert page.text_content("#alert") == ""
    assert page.said == []


def test_a_network_that_sees_no_body_has_its_joints_drawn(
    opened: Callable[..., Any], squats: list[np.ndarray], tmp_path: Path
):
    """Whatever the joints are called, and in 2D as in 3D; the avatar rests."""
    hands = Skeleton("hands", ("left_thumb", "right_thumb"), (0, 0))
    page = opened()
    look(page, squats[0], 0.0)
    for outputs in (("xy", "score"), ("xy", "score", "xyz")):
        file = tmp_path / f"hands-{len(outputs)}.onnx"
        file.write_bytes(sees(np.array([[[-0.3, -0.4, 0], [0.3, 0.4, 0]]] * 2), hands, outputs))
        page.set_input_files("input[accept='.onnx']", file)
        until(page, "(name) => document.getElementById('network').textContent.startsWith(name)", file.name)
        assert "sees no body" in page.inner_text("#note")
        before = page.evaluate("poseling.turns()")
        found = look(page, squats[0], 1.0)
        assert len(found["xy"]) == 2
        assert found["body"] is None
        assert page.evaluate("poseling.turns()") == before
    assert page.text_content("#alert") == ""
    assert page.said == []


@pytest.mark.parametrize(("kind", "arms"), [("vrm0", 45), ("vrm1", 0), ("mixamo", 45)])
def test_avatars_of_every_kind_follow(
    opened: Callable[..., Any], squats: list[np.ndarray], tmp_path: Path, kind: str, arms: float
):
    """VRM 0, which looks the other way, VRM 1, and a rig by its names; in an A-pose, and with axes at random."""
    document = humanoid(kind, arms, seed=3)
    terms = {"licenseUrl": "https://vrm.dev/licenses/1.0/", "name": "rig", "authors": ["nobody"]}
    for name, extension in document.get("extensions", {}).items():
        extension["meta"] = terms if name == "VRMC_vrm" else {"title": "rig"}
        document["extensionsUsed"] = [name]
    file = tmp_path / ("rig.glb" if kind == "mixamo" else "rig.vrm")
    file.write_bytes(glb(document))
    page = opened()
    page.set_input_files("input[accept*='.vrm']", file)
    until(page, "() => document.getElementById('status').textContent.includes('is the avatar')")
    found = look(page, squats[12], 0.0)
    bones = page.evaluate(SETTLED)
    rotations, lengths = (np.array(found["body"][key]) for key in ("rotations", "lengths"))
    assert apart(of_avatar(bones), of_body(mirrored_points(forward(rotations, lengths)))) < 0.5
    # It faces the viewer, whichever way its file looks: with the mirror on, its left is where the picture's left is.
    assert bones["leftUpperLeg"][0] - bones["rightUpperLeg"][0] > 0.05
    assert page.said == []


def mirrored_points(points: np.ndarray) -> np.ndarray:
    """(15, 3) of the person in a mirror, whose left is right."""
    names = MOVNECT15.joints
    other = {"left_": "right_", "right_": "left_"}
    swapped = [
        names.index(other.get(j[: j.find("_") + 1], j[: j.find("_") + 1]) + j[j.find("_") + 1 :])
        for j in names
    ]
    return points[swapped] * [-1, 1, 1]


def test_the_camera_moves_the_avatar_and_a_picture_of_it_has_the_same_joints(opened: Callable[..., Any]):
    page = opened()
    page.click("button.main")
    until(page, "() => poseling.last()?.body")
    shot = page.evaluate(
        """async () => {
            const found = await poseling.snapshot();
            const bytes = new Uint8Array(found.picture.buffer);
            let text = "";
            for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i
            + 32768)); return { ...found, picture: btoa(text) }; }"""
    )
    pixels = np.frombuffer(base64.b64decode(shot["picture"]), np.uint8).reshape(
        shot["height"], shot["width"], 4
    )
    assert pixels[..., :3].std() > 20  # a picture, and no black one
    network = Network()
    looked = scaled_box(np.array(shot["person"]["looked"]), 1 / network.spec.padding)
    pose: Pose = network(np.ascontiguousarray(pixels[..., :3]), [looked], colour="rgb")
    sure = pose.score[0] > 0.1
    assert sure.sum() >= 12
    assert np.abs(pose.xy[0] - np.array(shot["person"]["xy"]))[sure].max() < 2
    turns = page.evaluate("poseling.turns()")
    until(page, "(before) => JSON.stringify(poseling.turns()) !== JSON.stringify(before)", turns)
    assert float(page.inner_text("#latency")) > 0
    assert page.inner_text("#alert") == ""
    assert page.said == []


SLOWED = """() => {
    const { estimator } = poseling, video = document.getElementById("video"), look = estimator.look.bind(estimator);
    const shown = [];  // when the camera took each picture
    const tell = (now, meta) => { shown.push(meta.captureTime ?? now); video.requestVideoFrameCallback(tell); };
    video.requestVideoFrameCallback(tell);
    window.watched = { newer: [], passed: [], inside: 0, most: 0 };
    estimator.look = async (...given) => {
        watched.most = Math.max(watched.most, ++watched.inside);
        watched.newer.push(shown.filter((taken) => taken > given[4]).length);
        const before = shown.length;
        const found = await look(...given);
        while (shown.length < before + 4) await new Promise((done) => setTimeout(done, 10));
        watched.passed.push(shown.length - before);
        watched.inside--;
        return found;
    };
}"""


def test_pictures_that_come_while_one_is_looked_at_are_dropped(opened: Callable[..., Any]):
    """A network that takes longer than the camera: each look is at the newest picture, one at a time, and what
    is drawn is the picture that was looked at.
    """
    page = opened()
    page.click("#camera")
    until(page, "() => poseling.last()")
    page.evaluate(SLOWED)
    until(page, "() => watched.passed.length >= 5")
    watched = page.evaluate("watched")
    assert min(watched["passed"]) >= 4
    assert watched["most"] == 1
    assert max(watched["newer"][1:]) <= 1
    opaque = """() => { const canvas = document.getElementById("overlay");
        return canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.every((v, i) => i % 4 < 3 || v === 255); }"""
    assert page.evaluate(opaque)
    page.evaluate("document.getElementById('joints').click()")  # without joints there is the video as it is
    until(page, f"() => !({opaque})()")
    assert page.said == []


def test_it_has_threads_and_says_that_depth_is_a_guess(opened: Callable[..., Any]):
    page = opened(query="")
    assert page.evaluate("crossOriginIsolated")
    threads = page.evaluate("Math.min(4, navigator.hardwareConcurrency)")
    assert (
        page.evaluate("poseling.estimator.threads") == threads
        or page.evaluate("poseling.estimator.provider") == "webgpu"
    )
    assert "depth" in page.inner_text("#note").lower()
    assert "for research only" in page.text_content("#network")


def test_it_works_when_the_server_is_gone(
    opened: Callable[..., Any], serving: Callable[..., Any], squats: list[np.ndarray]
):
    made = serving()
    page = opened(made=made)
    page.evaluate("navigator.serviceWorker.ready")
    until(page, "() => navigator.serviceWorker.controller !== null")
    page.reload()
    page.evaluate("poseling.ready")  # the network's file goes through the worker, and is kept
    made.shutdown()
    made.server_close()
    page.reload()
    page.evaluate("poseling.ready")
    assert page.evaluate("crossOriginIsolated")
    assert look(page, squats[0], 0)["person"]["score"]
    assert [
        line for line in page.said if "ERR_CONNECTION_REFUSED" not in line and "Failed to fetch" not in line
    ] == []


def test_a_camera_that_is_refused_missing_or_unplugged_is_told(opened: Callable[..., Any]):
    """And what was recorded until it was unplugged can be saved."""
    page = opened()
    for name, told in (
        ("NotAllowedError", "was refused"),
        ("NotFoundError", "no camera"),
        ("NotReadableError", "another program"),
    ):
        page.evaluate(
            "(name) => { navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', name)); }",
            name,
        )
        page.click("#camera")
        until(page, "(told) => document.getElementById('alert').textContent.includes(told)", told)
        assert page.locator("#bvh").is_disabled()
    page.evaluate("delete navigator.mediaDevices.getUserMedia")
    page.click("#camera")
    until(page, "() => poseling.last()?.body")
    page.click("#bvh")
    page.evaluate(
        "async () => { const seen = new Set(); while (seen.size < 3) { seen.add(poseling.last().seconds); await new Promise(requestAnimationFrame); } }"
    )
    page.evaluate(
        "document.getElementById('video').srcObject.getTracks()[0].dispatchEvent(new Event('ended'))"
    )
    until(page, "() => document.getElementById('alert').textContent.includes('stopped')")
    assert not page.evaluate("document.body.classList.contains('running')")
    assert page.locator("#film").is_disabled()
    with page.expect_download() as download:
        page.click("#bvh")
    assert Path(download.value.path()).read_text().startswith("HIERARCHY")
    page.click("#camera")  # it is plugged in again
    until(page, "() => document.body.classList.contains('running')")
    assert page.text_content("#alert") == ""
    assert page.said == []


@pytest.mark.parametrize("degrees", [0, 90, 270])
def test_a_video_of_a_turned_phone_is_upright(
    opened: Callable[..., Any], squats: list[np.ndarray], tmp_path: Path, degrees: int
):
    """As the Python reader has it: the person is found upright, in a picture of the same shape."""
    path = tmp_path / "phone.mp4"
    lying = [np.ascontiguousarray(np.rot90(image, -degrees // 90)) for image in squats[:4]]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width = lying[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        if degrees:
            stream.set_display_rotation(degrees)
        for image in lying:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode())
    (_, _, first), *_ = frames(path)
    assert first.shape == squats[0].shape
    assert np.abs(first.astype(int) - squats[0]).mean() < 5
    page = opened()
    page.set_input_files("#video-file", path)
    until(page, "() => poseling.last()?.person")
    found = page.evaluate("poseling.last()")
    assert (found["width"], found["height"]) == first.shape[1::-1]
    mine = Tracker(Network())(first, 0.0)
    assert np.abs(np.array(found["person"]["xy"]) - mine.xy[0]).mean() < 10  # it may be a frame later
    assert page.said == []


def test_mirror_smoothing_and_height_do_what_they_say(opened: Callable[..., Any], squats: list[np.ndarray]):
    page = opened(900, 600)
    page.evaluate("poseling.estimator.smoothing = 0")

    def stand() -> tuple[dict[str, Any], dict[str, Any]]:
        page.evaluate("poseling.estimator.reset()")
        found = look(page, squats[10], 0.0)
        return found, page.evaluate(SETTLED)

    found, bones = stand()
    page.evaluate("document.getElementById('mirror').click()")
    again, plain = stand()
    assert again["xy"] == found["xy"]
    # Left is where right was, on the other side of the middle.
    hips = np.array(plain["hips"])
    for side, other in (("left", "right"), ("right", "left")):
        for bone in ("LowerArm", "Hand", "LowerLeg", "Foot"):
            mirrored = (np.array(bones[other + bone]) - np.array(bones["hips"])) * [-1, 1, 1]
            np.testing.assert_allclose(np.array(plain[side + bone]) - hips, mirrored, atol=0.03)
    # Twice the height: bones that are twice as long, twice as far away.
    page.fill("#height", "0.85")
    page.keyboard.press("Tab")
    small, _ = stand()
    np.testing.assert_allclose(small["body"]["lengths"], np.array(found["body"]["lengths"]) / 2, rtol=1e-6)
    assert small["body"]["place"][2] == pytest.approx(found["body"]["place"][2] / 2, rel=0.1)
    page.fill("#height", "9")
    page.keyboard.press("Tab")
    until(page, "() => document.getElementById('alert').textContent.includes('0.5 to 2.5')")
    # Of a jump between two pictures, smoothing shows a part: the more of it, the less.
    shares = []
    for much in ("0", "1", "4"):
        page.evaluate(
            "(much) => { const input = document.getElementById('smoothing'); input.value = much; input.dispatchEvent(new Event('input')); }",
            much,
        )
        assert page.text_content("#settings output") == much
        page.evaluate("poseling.estimator.reset()")
        first, then = (look(page, image, seconds) for image, seconds in ((squats[5], 0.0), (squats[7], 0.1)))
        raw = np.array(then["person"]["xy"]) - np.array(first["person"]["xy"])
        shown = np.array(then["xy"]) - np.array(first["xy"])
        shares.append(float((shown * raw).sum() / (raw * raw).sum()))
    assert shares[0] == pytest.approx(1)
    assert 0.05 < shares[2] < shares[1] < 0.95
    assert page.said == []


def test_without_webgl_the_joints_are_still_found(opened: Callable[..., Any], squats: list[np.ndarray]):
    script = """const get = HTMLCanvasElement.prototype.getContext;
        HTMLCanvasElement.prototype.getContext = function (kind, ...rest) { return kind.startsWith("webgl") ? null : get.call(this, kind, ...rest); };"""
    page = opened(script=script)
    assert "There is no WebGL" in page.inner_text("#avatar")
    assert look(page, squats[0], 0)["body"]["rotations"]


def test_the_avatar_comes_back_when_the_graphics_do(opened: Callable[..., Any]):
    page = opened()
    sharp = """() => { const small = Object.assign(document.createElement("canvas"), { width: 60, height: 60 }), to = small.getContext("2d");
        to.drawImage(document.getElementById("stage"), 0, 0, 60, 60);
        return new Set(to.getImageData(0, 0, 60, 60).data).size > 40; }"""
    until(page, sharp)
    page.evaluate(
        "window.lost = document.getElementById('stage').getContext('webgl2').getExtension('WEBGL_lose_context'); lost.loseContext()"
    )
    page.wait_for_timeout(200)
    page.evaluate("lost.restoreContext()")
    until(page, sharp)
    assert [line for line in page.said if "Context" not in line] == []


def test_bad_files_are_told_and_nothing_is_lost(
    opened: Callable[..., Any], squats: list[np.ndarray], tmp_path: Path
):
    onnx = pytest.importorskip("onnx")
    whole = zoo.path("poseling-n").read_bytes()
    bare = onnx.load(zoo.path("poseling-n"))
    del bare.metadata_props[:]
    other = onnx.load(zoo.path("poseling-n"))
    del other.graph.node[5:]
    chair: dict[str, Any] = {"asset": {"version": "2.0"}, "nodes": [{"name": "chair"}]}
    files = {
        "chair.glb": (glb(chair), "no humanoid: no node is its hips"),
        "cut.glb": (glb(humanoid())[:300], "cut short"),
        "text.vrm": (b"hello", "neither VRM nor GLB"),
        "empty.onnx": (b"", "no ONNX file"),
        "noise.onnx": (np.random.default_rng(0).bytes(5000), "no ONNX file|has no contract"),
        "cut.onnx": (whole[: len(whole) // 2], "no ONNX file"),
        "bare.onnx": (bare.SerializeToString(), "has no contract"),
        "broken.onnx": (other.SerializeToString(), "cannot be run"),
        "text.mp4": (b"hello", "cannot play it"),
        "notes.txt": (b"hello", "neither an avatar"),
    }
    page = opened()
    for name, (data, why) in files.items():
        (tmp_path / name).write_bytes(data)
        page.evaluate("document.getElementById('alert').textContent = ''")
        page.set_input_files("input[data-file] >> nth=0", tmp_path / name)
        until(page, "() => document.getElementById('alert').textContent")
        told = page.text_content("#alert")
        assert told.startswith(f"{name}: "), told
        assert re.search(why, told), told
        assert "\n" not in told
    assert look(page, squats[0], 0)["person"]["score"]
    assert page.evaluate("Object.keys(poseling.bones()).length") > 15


def test_what_is_recorded_can_be_read(opened: Callable[..., Any], squats: list[np.ndarray], tmp_path: Path):
    page = opened()
    page.click("#camera")
    until(page, "() => poseling.last()?.body")
    page.click("#bvh")
    page.click("#film")
    page.evaluate(
        "async () => { const seen = new Set(); while (seen.size < 4) { seen.add(poseling.last().seconds); await new Promise(requestAnimationFrame); } }"
    )
    saved = {}
    for button in ("#bvh", "#film"):
        with page.expect_download() as download:
            page.click(button)
        saved[button] = tmp_path / download.value.suggested_filename
        download.value.save_as(saved[button])
    clip = pybvh.read_bvh_file(saved["#bvh"], world_up="+y")
    assert len(clip.joint_positions()) >= 2
    assert clip.joint_names[0] == "pelvis"
    with av.open(saved["#film"]) as film:
        (first, *_) = film.decode(video=0)
    assert first.to_ndarray(format="rgb24").std() > 10
    assert page.said == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (390, 844), (844, 390), (320, 568)])
def test_it_fits_the_screen_and_can_be_used_by_keyboard(
    opened: Callable[..., Any], width: int, height: int, tmp_path: Path
):
    page = opened(width, height)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    for name in ("picture", "avatar"):
        box = page.locator(f"#{name}").bounding_box()
        assert box["width"] > 140, name
        assert box["height"] > 90, name
        assert box["x"] >= 0, name
        assert box["y"] + box["height"] <= height, name
    for button in page.locator("nav button:visible").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width
        assert button.evaluate("(of) => of.scrollWidth <= of.clientWidth")  # its words fit
    # Every control has a name, and is reached by the tab key.
    names, order = [], []
    for _ in range(40):
        page.keyboard.press("Tab")
        who = page.evaluate(
            "[document.activeElement.id || document.activeElement.dataset.action || document.activeElement.accept, document.activeElement.tagName]"
        )
        if who[1] == "BODY":
            break
        order.append(who[0])
        names.append(
            page.evaluate(
                "(document.activeElement.labels?.[0]?.innerText || document.activeElement.ariaLabel || document.activeElement.innerText).trim()"
            )
        )
    assert all(names), dict(zip(order, names, strict=True))
    assert {"camera", "stage"} <= set(order)
    if page.locator("#more").is_visible():
        page.focus("#more")
        page.keyboard.press("Enter")
        assert page.locator("#more").get_attribute("aria-expanded") == "true"
    assert page.locator("#smoothing").is_visible()
    before = page.evaluate("document.getElementById('stage').toDataURL().length")
    page.focus("#stage")
    for _ in range(5):
        page.keyboard.press("ArrowLeft")
    until(page, "(before) => document.getElementById('stage').toDataURL().length !== before", before)
    page.screenshot(path=tmp_path / f"{width}x{height}.png")
    assert page.said == []
