"""An ONNX file as a function from an image to a Pose. Everything it needs is read from that file."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling import zoo
from poseling.adapter import NAME, Adapter
from poseling.geometry import Crop
from poseling.onnx_pose import OnnxPose
from poseling.onnx_session import here, metadata, open_session, run
from poseling.pose import Pose
from poseling.runtime.region import region, windows
from poseling.spec import KEY, PoseSpec

OUTPUTS = (("xy", "score"), ("xy", "score", "xyz"))
SURE = 0.1  # joints with a lower score are ignored for the next crop
# below this mean score the person may be too small in the whole image: parts of it are searched as well
SMALL = 0.5
FAR = 1e6  # pixels: no joint is that far away


class Network:
    """`model` is the name of a network of the zoo, or a file: one that `poseling export` wrote, or any ONNX
    pose network with an adapter. `spec` is its contract.

    `adapter` is an `Adapter`, the name of a built-in one, or a JSON file; a file with a contract, or one that
    is recognised by its inputs and outputs, needs none. `threads` for the network, all cores if None.
    `provider` is one of `onnx_session.PROVIDERS`: ValueError or RuntimeError if it is not available.
    FileNotFoundError if there is no such file; ValueError that names it if it is not an ONNX file, has no
    joints, has loops (`onnx_limits`), predicts NaN for a black image, or does not fit its contract or the
    adapter.
    """

    def __init__(
        self,
        model: Path | str = zoo.DEFAULT,
        threads: int | None = None,
        provider: str = "cpu",
        adapter: Adapter | str | None = None,
    ) -> None:
        self.path = zoo.resolve(model)
        self._shipped = zoo.is_name(model)
        self.name = str(model) if self._shipped else self.path.stem
        # Converters leave harmless warnings behind: only errors are shown.
        self.session = open_session(self.path, provider, threads, log=3)
        said = metadata(self.session, self.path)
        self._foreign: OnnxPose | None = None
        spec = None
        if KEY in said and adapter is None:
            try:
                spec = PoseSpec.from_json(said[KEY])
            except ValueError as error:
                raise ValueError(f"{self.path}: {error}") from error
        if spec is None or spec.codec.get("name") == NAME or spec.outputs == ("maps",):
            self._foreign = OnnxPose(self.session, self.path, adapter)
            theirs = self._foreign.adapter.spec(self.path.stem, self._foreign.size)
            spec = theirs if spec is None else replace(spec, size=theirs.size, outputs=theirs.outputs)
        if not len(spec.skeleton):
            raise ValueError(
                f"{self.path}: has no joints; put a head on it first (GraphNetwork.with_head), as "
                f"docs/models.md shows, and export it again"
            )
        if spec.outputs not in OUTPUTS:
            raise ValueError(
                f"{self.path}: outputs are {', '.join(spec.outputs)}; the runtime needs xy and score, and "
                "optionally xyz; export it again"
            )
        self.spec = spec
        if self._foreign is None:
            black = self._answers(np.zeros((1, spec.size[1], spec.size[0], 3), np.uint8))
            if not all(np.isfinite(values).all() for values in black if values is not None):
                raise ValueError(
                    f"{self.path}: predicts NaN for a black image, so its weights are damaged; export it "
                    "again"
                )

    @property
    def licence(self) -> str:
        """What the network may be used for, in words: for the zoo's networks their use, for others the
        licences in the file.
        """
        if self._shipped:
            return zoo.licence(self.name)
        return ", ".join(f"{what} {words}" for what, words in self.spec.licences.items())

    def __call__(
        self, image: NDArray[np.uint8], boxes: ArrayLike | None = None, colour: Literal["bgr", "rgb"] = "bgr"
    ) -> Pose:
        """The people in the boxes (N, 4) x0, y0, x1, y1 in pixels of an image (H, W, 3) uint8, one run for
        each box.

        Without boxes the one person of the image: searched in the whole image, or in parts of it if the score
        is low, and then in closer crops as long as the score rises. `xyz` is set if the file gives it: metres
        from the root, in camera axes, since crops are never rotated. The network's outputs are returned as
        they are, NaN included. `colour` is the order of the image's channels: OpenCV reads bgr, most others
        rgb. ValueError for an invalid image, and for a box that is not finite, has no area or is outside the
        image; ValueError that names the file if it cannot be run.
        """
        image = _checked(image, colour)
        if boxes is not None:
            return self._looked(image, self._crops(image, boxes), colour)
        size = image.shape[1], image.shape[0]
        pose = self._nearer(image, self._looked(image, [Crop.whole(size, self.spec.size)], colour), colour)
        if pose.score.mean() < SMALL:
            crops = [Crop.from_box(window, self.spec.size, 1.0) for window in windows(size)]
            found = self._looked(image, crops, colour)
            smaller = self._nearer(image, found[int(found.score.mean(1).argmax())], colour)
            pose = smaller if smaller.score.mean() > pose.score.mean() else pose
        return Pose(
            pose.xy, pose.score, pose.skeleton, pose.xyz
        )  # the first of the image, whichever window it is from

    def _nearer(self, image: NDArray[np.uint8], pose: Pose, colour: str) -> Pose:
        """The pose of one person, or the result of up to two closer crops, as long as the score rises."""
        for _ in range(2):
            xy, score = pose.xy[0], pose.score[0]
            sure = (score >= SURE) & np.isfinite(xy).all(-1) & (np.abs(xy) < FAR).all(-1)
            if sure.sum() < 2:
                break
            # The region is final, so without padding.
            again = self._looked(
                image, [Crop.from_box(region(xy, sure, self.spec.skeleton), self.spec.size, 1.0)], colour
            )
            if not again.score.mean() > pose.score.mean():
                break
            pose = again
        return pose

    def _looked(self, image: NDArray[np.uint8], crops: list[Crop], colour: str) -> Pose:
        """The people (N) in the crops of an image."""
        if not crops:
            joints = len(self.spec.skeleton)
            xyz = np.zeros((0, joints, 3), np.float32) if "xyz" in self.spec.outputs else None
            return Pose(
                np.zeros((0, joints, 2), np.float32),
                np.zeros((0, joints), np.float32),
                self.spec.skeleton,
                xyz,
            )
        xy, score, xyz = self._answers(self._inputs(image, crops, colour))
        back = np.stack([crop.inverse for crop in crops])
        places = xy @ back[:, :, :2].swapaxes(1, 2) + back[:, None, :, 2]
        return Pose(places.astype(np.float32), score, self.spec.skeleton, xyz)

    def _inputs(self, image: NDArray[np.uint8], crops: list[Crop], colour: str) -> NDArray[np.uint8]:
        """(N, H, W, 3) RGB, what the crops show."""
        width, height = self.spec.size
        shown = np.empty((len(crops), height, width, 3), np.uint8)
        for crop, place in zip(crops, shown, strict=True):
            crop.warp(image, place)
        if colour == "bgr":  # many times as fast as numpy turns it round
            turned = cv2.cvtColor(shown.reshape(-1, width, 3), cv2.COLOR_BGR2RGB)
            shown = np.asarray(turned, np.uint8).reshape(shown.shape)
        return shown

    def _answers(
        self, inputs: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """xy, score and xyz of the network for crops (N, H, W, 3); ValueError that names the file if they do
        not fit its spec.
        """
        if self._foreign is not None:
            said = self._foreign(inputs)
            return said.xy, said.score, said.xyz
        outputs = run(self.session, self.path, self.spec.outputs, {"crops": inputs})
        for name, out in zip(self.spec.outputs, outputs, strict=True):
            wanted = (len(inputs), len(self.spec.skeleton), *{"xy": (2,), "score": (), "xyz": (3,)}[name])
            if not isinstance(out, np.ndarray) or out.shape != wanted or out.dtype != np.float32:
                got = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
                raise ValueError(
                    f"{self.path}: output {name} is {got}, but its PoseSpec says float32 {list(wanted)}; the "
                    "file is damaged or from another program"
                )
        xy, score, *space = outputs
        return xy, score, space[0] if space else None

    def _crops(self, image: NDArray[np.uint8], boxes: ArrayLike) -> list[Crop]:
        height, width = image.shape[:2]
        rows = np.asarray(boxes, np.float64)
        if rows.size and (rows.ndim != 2 or rows.shape[1] != 4):
            raise ValueError(
                f"boxes have shape {rows.shape}, expected (N, 4): a list of boxes x0, y0, x1, y1, also for "
                f"one person"
            )
        count, size = len(rows), self.spec.size
        if not rows.size:
            return []
        still = np.zeros(count), np.ones(count), np.zeros((count, 2)), np.zeros(count, bool)
        try:
            matrices = Crop.matrices(rows, size, self.spec.padding, *still)
        except ValueError as error:
            whole = np.isfinite(rows).all(1) & (rows[:, 2:] > rows[:, :2]).all(1)
            raise ValueError(f"person {whole.argmin()}: {error}") from error
        for i, (x0, y0, x1, y1) in enumerate(rows.tolist()):
            # Pixels have their centres at whole numbers, and so end half a pixel further.
            if x1 < -0.5 or y1 < -0.5 or x0 > width - 0.5 or y0 > height - 0.5:
                raise ValueError(
                    f"person {i}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) is outside the image of "
                    f"{width}x{height} pixels"
                )
        return [Crop(matrix, size) for matrix in matrices]


def fastest(
    model: Path | str, threads: int | None = None, adapter: Adapter | str | None = None, rounds: int = 20
) -> dict[str, float]:
    """Milliseconds of one black crop on each execution provider that is here and runs the network, the fastest
    first: the median of `rounds` runs. Errors as of `Network`, if it runs on none.
    """
    took: dict[str, float] = {}
    refused: Exception | None = None
    for provider in here():
        try:
            network = Network(model, threads, provider, adapter)
        except (RuntimeError, ValueError) as error:
            refused = refused or error
            continue
        crop = np.zeros((1, network.spec.size[1], network.spec.size[0], 3), np.uint8)
        each = []
        for _ in range(rounds):
            start = time.perf_counter()
            network._answers(crop)
            each.append(1000 * (time.perf_counter() - start))
        took[provider] = float(np.median(each[1:] or each))
    if refused is not None and not took:
        raise refused
    return dict(sorted(took.items(), key=lambda one: one[1]))


def _checked(image: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    if colour not in ("bgr", "rgb"):
        raise ValueError(
            f"colour {colour!r} is unknown; use 'bgr' for images read by OpenCV, 'rgb' for others"
        )
    if image is None:
        raise ValueError(
            "the image is None: cv2.imread returns None if it cannot read a file; check the file's name"
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = (
            f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        raise ValueError(
            f"the image is {what}, expected uint8 of shape (H, W, 3); cv2.cvtColor converts one or four "
            "channels to three"
        )
    return image
