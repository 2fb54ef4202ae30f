"""A network's file as a function from an image to a Pose. All it knows, it reads from that file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling import zoo
from poseling.adapter import NAME, Adapter
from poseling.geometry import Crop
from poseling.onnx_pose import OnnxPose
from poseling.onnx_session import metadata, open_session, run
from poseling.pose import Pose
from poseling.runtime.region import region, windows
from poseling.spec import KEY, PoseSpec

OUTPUTS = (("xy", "score"), ("xy", "score", "xyz"))
SURE = 0.1  # joints of a lower score do not say where to look again
# a mean score below this may be of somebody too small to be seen in the whole image: parts of it are looked
# at as well
SMALL = 0.5
FAR = 1e6  # pixels: no joint lies there


class Network:
    """`model` is the name of a network of the zoo, or a file: one that `poseling export` wrote, or any ONNX
    pose network that an adapter says how to feed and read. `spec` is its contract.

    `adapter` is an `Adapter`, the name of a built-in one, or a JSON file; it is not needed for a file that
    carries its contract or is known by its inputs and outputs. `threads` for the network, all cores if None.
    `provider` is what it runs on, as `onnx_session.PROVIDERS` names it: ValueError or RuntimeError if it
    cannot be had. FileNotFoundError if there is no such file; ValueError that names it if it is no ONNX file,
    has no joints, has loops (`onnx_limits`), says of a black image what is no number, or does not fit its
    contract or the adapter.
    """

    def __init__(
        self,
        model: Path | str = zoo.DEFAULT,
        threads: int | None = None,
        provider: str = "cpu",
        adapter: Adapter | str | None = None,
    ) -> None:
        self.path = zoo.resolve(model)
        self.name = str(model) if zoo.is_name(model) else self.path.stem
        # Converters leave harmless warnings behind: only errors are told.
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
                f"{self.path}: gives {', '.join(spec.outputs)}, the runtime needs xy and score, and xyz if "
                f"it has it; export it again"
            )
        self.spec = spec
        if self._foreign is None:
            black = self._answers(np.zeros((1, spec.size[1], spec.size[0], 3), np.uint8))
            if not all(np.isfinite(values).all() for values in black if values is not None):
                raise ValueError(
                    f"{self.path}: what it says of a black image is no number, so its weights are damaged; "
                    f"export it again"
                )

    @property
    def licence(self) -> str:
        """In words what the network may be used for: of the zoo's the use, of others the licences that the
        file says.
        """
        if zoo.is_name(self.name):
            return zoo.licence(self.name)
        return ", ".join(f"{what} {words}" for what, words in self.spec.licences.items())

    def __call__(
        self, image: NDArray[np.uint8], boxes: ArrayLike | None = None, colour: Literal["bgr", "rgb"] = "bgr"
    ) -> Pose:
        """The people in the boxes (N, 4) x0, y0, x1, y1 in pixels of an image (H, W, 3) uint8, each looked at
        once.

        Without boxes the one person of the image: found in all of it, or in a part if nobody can be seen well
        in all of it, and looked at again from nearer as long as the network becomes surer. `xyz` is there if
        the file gives it: metres from the root, in camera axes, since crops are never turned. What the
        network says is handed on as it is, NaN included. `colour` is the order of the image's channels:
        OpenCV reads bgr, everyone else rgb. ValueError for what is no such image, and for a box that is not
        finite, has no area or lies outside; ValueError that names the file if it cannot be run.
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
        )  # the first of the image, whichever window showed it

    def _nearer(self, image: NDArray[np.uint8], pose: Pose, colour: str) -> Pose:
        """The pose of one person, or what two looks from nearer make of it, as long as they are surer of it."""
        for _ in range(2):
            xy, score = pose.xy[0], pose.score[0]
            sure = (score >= SURE) & np.isfinite(xy).all(-1) & (np.abs(xy) < FAR).all(-1)
            if sure.sum() < 2:
                break
            # The region is what shall be seen, and so without padding.
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
        inputs = np.stack([crop.warp(image) for crop in crops])
        if colour == "bgr":
            inputs = np.ascontiguousarray(inputs[..., ::-1])
        xy, score, xyz = self._answers(inputs)
        return Pose(
            np.stack([crop.invert(joints) for crop, joints in zip(crops, xy, strict=True)]),
            score,
            self.spec.skeleton,
            xyz,
        )

    def _answers(
        self, inputs: NDArray[np.uint8]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32] | None]:
        """xy, score and xyz that the network gives for crops (N, H, W, 3); ValueError that names the file
        where that is not what its spec says.
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
                    f"{self.path}: gives {got} as {name}, and its PoseSpec says float32 {list(wanted)}; the "
                    f"file is damaged or not ours"
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
        crops = []
        for i, box in enumerate(rows):
            try:
                crops.append(Crop.from_box(box, self.spec.size, self.spec.padding))
            except ValueError as error:
                raise ValueError(f"person {i}: {error}") from error
            x0, y0, x1, y1 = box
            if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
                raise ValueError(
                    f"person {i}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) lies outside the image of "
                    f"{width}x{height} pixels"
                )
        return crops


def _checked(image: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    if colour not in ("bgr", "rgb"):
        raise ValueError(
            f"colour {colour!r} is unknown; use 'bgr' for what OpenCV reads, 'rgb' for what others do"
        )
    if image is None:
        raise ValueError(
            "the image is None, which is how cv2.imread says that it could not read a file; look at the "
            "file's name"
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        what = (
            f"{image.dtype} of shape {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
        )
        raise ValueError(
            f"the image is {what}, expected uint8 of shape (H, W, 3); cv2.cvtColor makes three channels of "
            f"one or four"
        )
    return image
