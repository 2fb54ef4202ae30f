"""From images to poses: `Pipeline`, and `track`, a reader, a pipeline and sinks: `poseling track`."""

from __future__ import annotations

import json as jsons
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling.draw import draw, draw_ids, draw_space
from poseling.files import Draft, keep_apart, refuse_folders
from poseling.geometry import Box, joints_box, ray_rotation
from poseling.pose import Pose
from poseling.runtime.detector import Detector
from poseling.runtime.kinematics import BONES
from poseling.runtime.network import Network
from poseling.runtime.position import guessed_camera, position
from poseling.runtime.skeleton_fit import Fitted, Fitter
from poseling.runtime.smoothing import Smoother
from poseling.runtime.tracker import LOST, REMEMBERED, Detects, Tracker, settled
from poseling.runtime.video import Source, Writer, frames, images, source_of
from poseling.skeleton import MOVNECT15, Skeleton
from poseling.video import Tell, bare

Camera = tuple[float, float, float, float]  # fx fy cx cy in pixels
DETECT_EVERY = 10  # frames


@dataclass(frozen=True)
class Tracked:
    """The number of frames, the drawn file or folder, and the file of poses (None if not requested).

    `network` names the network, the detector if there is one, their permitted use, and the provider. `notes` are problems, one line each: see
    `video.frames`.
    """

    frames: int
    drawn: Path | None
    json: Path | None
    network: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Frame:
    """An image (H, W, 3) BGR at its time (None for a still image), its people, the position of their roots,
    and joint rotations.

    camera is fx fy cx cy in pixels, None before it is known; position (N, 3) metres in the camera's axes, NaN
    where unknown, None without xyz; rotations (N, 13, 4) and lengths (N, 8) as in `Fitted`, None without a fit.
    """

    index: int
    seconds: float | None
    image: NDArray[np.uint8]
    pose: Pose
    camera: NDArray[np.float64] | None = None
    position: NDArray[np.float64] | None = None
    rotations: NDArray[np.float64] | None = None
    lengths: NDArray[np.float64] | None = None

    def as_dict(self) -> dict[str, object]:
        """Plain lists, for JSON."""
        return {
            "frame": self.index,
            "seconds": self.seconds,
            **self.pose.as_dict(),
            "position": None
            if self.position is None
            else [p.round(4).tolist() if np.isfinite(p).all() else None for p in self.position],
            "camera": None if self.position is None or self.camera is None else self.camera.tolist(),
            "rotations": None if self.rotations is None else self.rotations.round(5).tolist(),
        }


class Pipeline:
    """From an image to its people: `Pipeline(network)(image, seconds)` is the `Frame`.

    The frames of a video come in their order. A `detector` finds people (`tracker.Tracker` says when; `every`
    is its), without one there is one person, who is searched for. Poses are filtered over time if `smooth`,
    and if the network gives xyz and `fit` is on a body is fitted, `height` metres tall if given. `camera` is
    fx, fy, cx, cy in pixels, guessed from the image's size if None. `threshold` as in `Tracker`. ValueError
    for flags that do not go together.
    """

    def __init__(
        self,
        network: Network,
        detector: Detects | None = None,
        every: int = 0,
        *,
        smooth: bool = True,
        camera: Camera | None = None,
        height: float | None = None,
        fit: bool = True,
        threshold: float = LOST,
    ) -> None:
        if camera is not None and not (np.isfinite(camera).all() and min(camera[:2]) > 0):
            raise ValueError(
                f"--camera {' '.join(f'{v:g}' for v in camera)} is not a camera; give FX FY CX CY in pixels, "
                "with focal lengths above 0"
            )
        self.network, self.detector, self.threshold = network, detector, threshold
        self.tracker = Tracker(network, threshold, detector, every)
        self.smoother = Smoother() if smooth else None
        self.camera = None if camera is None else np.array(camera, np.float64)
        self.deep = "xyz" in network.spec.outputs
        self.bodies = Bodies(network.spec.skeleton, height) if self.deep and fit else None
        self._count = 0

    def __call__(
        self, image: NDArray[np.uint8], seconds: float | None, boxes: ArrayLike | None = None
    ) -> Frame:
        """The people in an image (H, W, 3) BGR at a time in seconds, which increases from call to call; None
        for a still image, which has nothing to do with the one before.

        `boxes` (N, 4) x0, y0, x1, y1 of people that are known already: the detector is then not asked. Errors
        as of `Network`.
        """
        self._count += 1
        if seconds is None:
            return self.completed(Frame(self._count - 1, None, image, self.still(image, boxes)))
        pose = self.tracker(image, seconds, boxes)
        if self.smoother is not None:
            smoothed = self.smoother(pose, seconds)
            assert smoothed is not None
            pose = smoothed
        return self.completed(Frame(self._count - 1, seconds, image, pose))

    def still(self, image: NDArray[np.uint8], boxes: ArrayLike | None = None) -> Pose:
        """The people in a still image: those in `boxes`, else those that the detector finds, else the one
        person that the network finds.
        """
        if boxes is None and self.detector is not None:
            boxes = np.asarray(self.detector(image, "bgr"))[:, :4]
        pose = self.network(image, boxes)
        x0, y0, x1, y1 = (
            (
                np.array([[0, 0, image.shape[1] - 1, image.shape[0] - 1]])
                if boxes is None
                else np.asarray(boxes)
            )
            .reshape(-1, 4)
            .T
        )
        return settled(pose, np.stack([(x0 + x1) / 2, (y0 + y1) / 2], -1))

    def completed(self, frame: Frame) -> Frame:
        """The frame with all that follows from its pose: camera, xyz in its axes, bodies, positions."""
        camera = guessed_camera(frame.image.shape[1::-1]) if self.camera is None else self.camera
        frame = replace(frame, camera=camera, pose=faced(frame.pose, camera))
        if self.bodies is not None:
            frame = self.bodies(frame)
        return placed(frame) if self.deep else frame


def track(
    model: Path | str,
    source: Path | str,
    out: Path | None = None,
    box: Box | None = None,
    json: Path | None = None,
    threads: int | None = None,
    provider: str = "cpu",
    seen: Callable[[int, Pose], None] | None = None,
    *,
    smooth: bool = True,
    lookahead: int = 0,
    camera: Camera | None = None,
    height: float | None = None,
    fit: bool = True,
    threshold: float = LOST,
    adapter: str | None = None,
    detector: Path | str | None = None,
    detector_adapter: str | None = None,
    detect_every: int = DETECT_EVERY,
    measured: Callable[[int], None] | None = None,
    sinks: Sequence[Callable[[Frame], None]] = (),
    sunk: Mapping[str, Path] = MappingProxyType({}),
    lifts: bool = False,
) -> Tracked:
    """The pose in every frame of `source`, a video, an image, a folder of images, the number of a camera or a
    URL (`video.source_of`), by the network that `model` and `adapter` name (`Network`).

    An image has one person, in `box` (x0, y0, x1, y1) or searched for, or all that a `detector` finds (a name
    or a file, with a `detector_adapter` where it is unknown, `Detector`). In a video the box is for the first frame, and people are tracked from there on
    (`tracker.Tracker`); the detector runs every `detect_every` frames, and where somebody is lost or nobody
    is there. Then, if `smooth`, poses are filtered over time, each with `lookahead` frames after it; and if
    the network gives xyz and `fit` is on, a body is fitted (`skeleton_fit.Fitter`), `height` metres tall if
    given. With a `lookahead` all bodies are measured before any is fitted, drawn or written, so that bones
    have one length from the first frame on; frames are then read twice, and `measured` is called with the
    index of each that is read the first time. With xyz the root's position is computed as well, with `camera`
    (fx, fy, cx, cy in pixels), by default guessed from the image's size.

    Drawn to `out` (see `video.Writer`), with a side view if there is xyz, and written to `json`, one line for
    each frame: `Frame.as_dict` and image (its name, null in a video). Joints are drawn from a score of
    `threshold` on, and in a video a person is kept while the mean score reaches it. `seen` is called with
    each frame's index and pose, and each of `sinks` with the whole frame;
    `sunk` are the files that they write, by the flag that names each, and `lifts` says that one of them uses
    `height` for a 2D network. Both outputs appear under their names when
    they are finished. However it ends, Ctrl-C included, video and lines are complete up to that frame,
    unless they cannot be written: then an earlier file stays. ValueError for flags that do not go together,
    and for an output that is an input, another output or a folder; errors as of `Network`, `Detector`,
    `video.frames` and `video.Writer`.
    """
    place = source_of(source)
    stills = images(place)
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold {threshold:g} is not a score; give a value from 0 to 1")
    if detect_every < 0:
        raise ValueError(f"--detect-every {detect_every} is no number of frames; 0 is only when it is needed")
    if lookahead and (stills or not smooth):
        raise ValueError(
            "--lookahead smooths a video: the source has to be a video, and --no-smooth cannot be given"
        )
    if height is not None and (stills or not fit):
        raise ValueError(
            "--height is for the body that is fitted to a video: the source has to be a video, and --no-fit "
            "cannot be given"
        )
    if "--bvh" in sunk and stills:
        raise ValueError("--bvh: a picture has no motion; give a video")
    network = Network(model, threads, provider, adapter=adapter)
    if "--bvh" in sunk and "xyz" in network.spec.outputs and not fit:
        raise ValueError("--bvh needs the body that is fitted; leave --no-fit out")
    finds = None if detector is None else Detector(detector, threads, provider, detector_adapter)
    pipeline = Pipeline(
        network,
        finds,
        detect_every,
        smooth=smooth and not lookahead,
        camera=camera,
        height=height,
        fit=fit and not stills,
        threshold=threshold,
    )
    if height is not None and not pipeline.deep and not lifts:
        raise ValueError(
            f"--height needs a 3D network; the outputs of {model} are {', '.join(network.spec.outputs)}"
        )
    if lookahead and pipeline.bodies is not None and not isinstance(place, Path):
        raise ValueError(
            f"--lookahead reads a video twice, to measure the body first, and {bare(str(source))} can be read once; leave "
            "it out, or give --no-fit"
        )
    count, empty, notes = 0, 0, list[str]()
    with ExitStack() as stack:
        writer = stack.enter_context(Writer(place, out, notes.append)) if out is not None else None
        target = writer.target if writer is not None else None
        read = {
            "the model itself": [network.path],
            "the adapter itself": [Path(one) for one in (adapter, detector_adapter) if one is not None],
            "the detector itself": [] if finds is None else [finds.path],
            "the source itself": [place] if isinstance(place, Path) else [],
            "one of the images": stills,
        }
        written = {"--json": json, **sunk}
        keep_apart({"--out": target, **written}, read)
        if target is not None and isinstance(place, Path) and place.is_dir():
            images_drawn = [target / still.name for still in stills]
            keep_apart(written, {"one of the images that are drawn": images_drawn})
        refuse_folders(written)
        lines = stack.enter_context(_lines(json)) if json is not None else None
        tell = notes.append
        found = (
            _stills(pipeline, place, box, tell)
            if stills
            else _followed(
                pipeline, place, box, Smoother(lookahead) if lookahead else pipeline.smoother, tell
            )
        )
        if pipeline.bodies is not None and lookahead:
            found, pipeline.bodies = _measured(found, place, network.spec.skeleton, height, measured)
        for frame in found:
            frame = pipeline.completed(frame)
            if lines is not None:
                name = stills[frame.index].name if stills else None
                lines(jsons.dumps({**frame.as_dict(), "image": name}, allow_nan=False))
            if writer is not None:
                shown = drawn(frame, threshold)[..., ::-1]  # draw's colours are RGB
                writer.write(frame.index, shown, frame.seconds)
            for sink in sinks:
                sink(frame)
            count += 1
            empty += not len(frame.pose)
            if seen is not None:
                seen(frame.index, frame.pose)
    refused = pipeline.tracker.refused
    if empty and refused > threshold / 4:
        notes.append(
            f"in {empty} of {count} frames no person reached a mean score of {threshold:g}, the highest was "
            f"{refused:.2g}; --threshold {refused / 2:.1g} finds more people, and more false ones"
        )
    by = f"{network.name} ({network.licence})"
    if finds is not None:
        by += f" and {finds.name} ({finds.licence})"
    return Tracked(
        count, writer.target if writer is not None else None, json, f"{by} on {provider}", tuple(notes)
    )


class Bodies:
    """A fitted body for each person, by id, from `Fitter`. A person who is away for longer than people are
    remembered starts again.

    `measured` are the lengths (8,) from a first pass, by id. Joints that the fitted body does not have move
    with their neighbours in the skeleton. Errors as of `Fitter`.
    """

    def __init__(
        self, skeleton: Skeleton, height: float | None, measured: dict[int, NDArray[np.float64]] | None = None
    ) -> None:
        self._skeleton, self._height, self._measured = skeleton, height, measured or {}
        Fitter(skeleton, height)  # says at once what is wrong with them
        self._fitters: dict[int, tuple[Fitter, float]] = {}
        self._how = MOVNECT15.to(skeleton)
        self._pull = _pull(skeleton, self._how.known)

    def __call__(self, frame: Frame) -> Frame:
        """The frame of a video with fitted xyz, positions and rotations; unchanged if there is no xyz."""
        pose, seconds = frame.pose, frame.seconds
        if pose.xyz is None or seconds is None:
            return frame
        fitted = []
        for row, person in enumerate(pose.ids.tolist()):
            fitter, _ = self._fitters.get(person) or (
                Fitter(self._skeleton, self._height, self._measured.get(person)),
                seconds,
            )
            self._fitters[person] = fitter, seconds
            fitted.append(fitter.fit(pose.xyz[row], pose.xy[row], pose.score[row], frame.camera, seconds))
        self._fitters = {
            person: (fitter, last)
            for person, (fitter, last) in self._fitters.items()
            if 0 <= seconds - last <= REMEMBERED
        }
        bodies = self._how.joints(np.array([f.xyz for f in fitted]).reshape(-1, len(MOVNECT15), 3))
        moved = np.where(self._how.known[:, None], bodies - pose.xyz, 0)
        return replace(
            frame,
            pose=replace(pose, xyz=(pose.xyz + self._pull @ moved).astype(np.float32)),
            position=np.array([np.full(3, np.nan) if f.root is None else f.root for f in fitted]).reshape(
                -1, 3
            ),
            rotations=np.array([f.rotations for f in fitted]).reshape(-1, len(Fitted.joints), 4),
            lengths=np.array([f.lengths for f in fitted]).reshape(-1, len(BONES)),
        )


def faced(pose: Pose, camera: NDArray[np.floating] | None) -> Pose:
    """The pose with `xyz` in the camera's axes: a network says them in those of a camera that looks straight
    at the person (`geometry.ray_rotation`). Unchanged without xyz or a camera, and for a person without
    joints.
    """
    if pose.xyz is None or camera is None:
        return pose
    boxes = np.array([joints_box(xy, score > 0) for xy, score in zip(pose.xy, pose.score, strict=True)])
    middle = boxes.reshape(-1, 2, 2).mean(1)
    known = np.isfinite(middle).all(-1)
    xyz = pose.xyz.copy()
    xyz[known] = np.einsum("nij,nkj->nki", ray_rotation(middle[known], camera), xyz[known])
    return replace(pose, xyz=xyz)


def placed(frame: Frame) -> Frame:
    """The frame with the position of each person that has xyz, unless it is set already."""
    pose = frame.pose
    if pose.xyz is None or frame.camera is None or frame.position is not None:
        return frame
    places = [
        position(xyz, xy, score, frame.camera)
        for xyz, xy, score in zip(pose.xyz, pose.xy, pose.score, strict=True)
    ]
    return replace(frame, position=np.array(places).reshape(-1, 3))


def drawn(frame: Frame, threshold: float = LOST) -> NDArray[np.uint8]:
    """(H, W, 3) RGB: the image with its poses and, if there is xyz, the 3D joints from the side beside it;
    joints from a score of `threshold` on, and ids where there are several people.
    """
    pose = frame.pose
    flat = draw(frame.image[..., ::-1], pose, threshold)
    flat = draw_ids(flat, pose, threshold) if len(pose) > 1 else flat
    if pose.xyz is None:
        return flat
    height, width = flat.shape[:2]
    roots = np.zeros((len(pose), 1, 3))
    if len(pose) > 1:  # a single person stays in the middle
        apart = np.arange(len(pose))[:, None] * (1.0, 0.0, 0.0)  # side by side where the position is unknown
        roots[:, 0] = (
            frame.position if frame.position is not None and np.isfinite(frame.position).all() else apart
        )
    # A fitted body has all joints, whatever the network found.
    shown = np.ones(pose.score.shape, bool) if frame.rotations is not None else pose.score >= threshold
    beside = draw_space(
        pose.xyz + roots, pose.skeleton, (min(width, round(0.75 * height)), height), shown=shown
    )
    return np.concatenate([flat, beside], axis=1)


@contextmanager
def _lines(path: Path) -> Iterator[Callable[[str], None]]:
    """Writes line after line of the file; however the block ends, the lines written so far are kept, unless
    there are none or one cannot be written.
    """
    draft, any_ = Draft(path), False

    def write(line: str) -> None:
        nonlocal any_
        draft.write(f"{line}\n".encode())
        any_ = True

    try:
        yield write
    except BaseException:
        if not any_:
            draft.drop()
        raise
    finally:
        draft.keep()


def _stills(pipeline: Pipeline, source: Source, box: Box | None, tell: Tell) -> Iterator[Frame]:
    names = images(source)
    for index, _, image in frames(source, tell):
        try:
            pose = pipeline.still(image, None if box is None else [box])
        except ValueError as error:
            if str(error).startswith(str(pipeline.network.path)):
                raise
            raise ValueError(
                f"{names[index]}: {error}"
            ) from error  # about the box, or an image that is only a line
        yield Frame(index, None, image, pose)


def _followed(
    pipeline: Pipeline, source: Source, box: Box | None, smoother: Smoother | None, tell: Tell
) -> Iterator[Frame]:
    """The frames of a video in their order."""
    waiting: deque[Frame] = deque()
    for index, seconds, image in frames(source, tell):
        assert seconds is not None
        pose = pipeline.tracker(image, seconds, None if box is None or index else [box])
        frame = Frame(index, seconds, image, pose)
        if smoother is None:
            yield frame
            continue
        waiting.append(frame)
        if (smoothed := smoother(pose, seconds)) is not None:
            yield replace(waiting.popleft(), pose=smoothed)
    for smoothed in smoother.rest() if smoother is not None else ():
        yield replace(waiting.popleft(), pose=smoothed)


def _measured(
    found: Iterator[Frame],
    source: Source,
    skeleton: Skeleton,
    height: float | None,
    measured: Callable[[int], None] | None,
) -> tuple[Iterator[Frame], Bodies]:
    """The frames of a video again, all of them tracked and kept without their images, and bodies whose bones
    were measured in all of them.
    """
    fitters: dict[int, Fitter] = {}
    kept: list[Frame] = []
    for frame in found:
        kept.append(replace(frame, image=_NOTHING))
        pose = frame.pose
        for row, person in enumerate(pose.ids.tolist()):
            if person not in fitters:
                fitters[person] = Fitter(skeleton, height)
            assert pose.xyz is not None
            fitters[person].measure(pose.xyz[row], pose.score[row])
        if measured is not None:
            measured(frame.index)

    def again() -> Iterator[Frame]:
        for frame, (_, _, image) in zip(kept, frames(source), strict=False):
            yield replace(frame, image=image)

    return again(), Bodies(skeleton, height, {person: fitter.measured for person, fitter in fitters.items()})


_NOTHING = np.zeros((0, 0, 3), np.uint8)


def _pull(skeleton: Skeleton, known: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(K, K) the weight of each known joint's move in every joint's move: 1 for a known one itself, and for
    others the mean of the neighbours that are nearer to known ones.
    """
    bones = {(a, b) for a, b in skeleton.bones} | {(b, a) for a, b in skeleton.bones}
    pull, reached = np.diag(known.astype(np.float64)), known.copy()
    while not reached.all():
        ring = {
            j: near
            for j in np.flatnonzero(~reached).tolist()
            if (near := [b for a, b in bones if a == j and reached[b]])
        }
        if not ring:
            break
        for joint, near in ring.items():
            pull[joint] = pull[near].mean(0)
        reached[list(ring)] = True
    return pull
