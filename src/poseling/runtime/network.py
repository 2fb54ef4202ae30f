"""An exported file as a function from a picture to a Pose. All it knows, it reads from that file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from poseling.geometry import Crop
from poseling.onnx_session import metadata, open_session, run
from poseling.pose import Pose
from poseling.spec import KEY, PoseSpec

OUTPUTS = (("xy", "score"), ("xy", "score", "xyz"))


class Network:
    """`path` is a file that `poseling export` wrote; `spec` is its contract.

    `threads` for the network, all cores if None. `provider` is what it runs on, as `onnx_session.PROVIDERS`
    names it: ValueError or RuntimeError if it cannot be had. FileNotFoundError if there is no such file;
    ValueError that names it if it is no ONNX file, has no PoseSpec, or gives maps instead of joints.
    """

    def __init__(self, path: Path | str, threads: int | None = None, provider: str = "cpu") -> None:
        self.path = Path(path)
        self.session = open_session(self.path, provider, threads)
        said = metadata(self.session, self.path)
        if KEY not in said:
            raise ValueError(f"{path}: has no PoseSpec in its metadata; only files that `poseling export` wrote can be run")
        try:
            self.spec = PoseSpec.from_json(said[KEY])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if self.spec.outputs not in OUTPUTS:
            raise ValueError(
                f"{path}: gives {', '.join(self.spec.outputs)}, the runtime needs xy and score, and xyz if it has it; export it without --raw"
            )

    def __call__(self, picture: NDArray[np.uint8], boxes: ArrayLike | None = None, colour: Literal["bgr", "rgb"] = "bgr") -> Pose:
        """The people in the boxes (N, 4) x0, y0, x1, y1 in pixels of a picture (H, W, 3) uint8; the one who fills it if `boxes` is None.

        `xyz` is there if the file gives it: metres from the root, in camera axes, since crops are never turned. What the network says is handed on as it is, NaN
        included. `colour` is the order of the picture's channels: OpenCV reads bgr, everyone else rgb. ValueError for what is no such picture, and for a box
        that is not finite, has no area or lies outside; ValueError that names the file if it cannot be run.
        """
        crops = self._crops(_checked(picture, colour), boxes)
        if not crops:
            joints = len(self.spec.skeleton)
            xyz = np.zeros((0, joints, 3), np.float32) if "xyz" in self.spec.outputs else None
            return Pose(np.zeros((0, joints, 2), np.float32), np.zeros((0, joints), np.float32), self.spec.skeleton, xyz)
        inputs = np.stack([crop.warp(picture) for crop in crops])
        if colour == "bgr":
            inputs = np.ascontiguousarray(inputs[..., ::-1])
        xy, score, *space = self._answers(inputs)
        xy = np.stack([crop.invert(joints) for crop, joints in zip(crops, xy, strict=True)])
        return Pose(xy, score, self.spec.skeleton, space[0] if space else None)

    def _answers(self, inputs: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """What the file gives for crops (N, H, W, 3), in the order of its spec's outputs; ValueError that
        names it where that is not what the spec says.
        """
        outputs = run(self.session, self.path, self.spec.outputs, {"crops": inputs})
        for name, out in zip(self.spec.outputs, outputs, strict=True):
            wanted = (len(inputs), len(self.spec.skeleton), *{"xy": (2,), "score": (), "xyz": (3,)}[name])
            if not isinstance(out, np.ndarray) or out.shape != wanted or out.dtype != np.float32:
                got = f"{out.dtype} {list(out.shape)}" if isinstance(out, np.ndarray) else type(out).__name__
                raise ValueError(f"{self.path}: gives {got} as {name}, and its PoseSpec says float32 {list(wanted)}; the file is damaged or not ours")
        return outputs

    def _crops(self, picture: NDArray[np.uint8], boxes: ArrayLike | None) -> list[Crop]:
        height, width = picture.shape[:2]
        if boxes is None:
            return [Crop.whole((width, height), self.spec.size)]
        rows = np.asarray(boxes, np.float64)
        if rows.size and (rows.ndim != 2 or rows.shape[1] != 4):
            raise ValueError(f"boxes have shape {rows.shape}, expected (N, 4): a list of boxes x0, y0, x1, y1, also for one person")
        crops = []
        for i, box in enumerate(rows):
            try:
                crops.append(Crop.from_box(box, self.spec.size, self.spec.padding))
            except ValueError as error:
                raise ValueError(f"person {i}: {error}") from error
            x0, y0, x1, y1 = box
            if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
                raise ValueError(f"person {i}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) lies outside the picture of {width}x{height} pixels")
        return crops


def _checked(picture: NDArray[np.uint8], colour: str) -> NDArray[np.uint8]:
    if colour not in ("bgr", "rgb"):
        raise ValueError(f"colour {colour!r} is unknown; use 'bgr' for what OpenCV reads, 'rgb' for what others do")
    if picture is None:
        raise ValueError("the picture is None, which is how cv2.imread says that it could not read a file; look at the file's name")
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
        what = f"{picture.dtype} of shape {picture.shape}" if isinstance(picture, np.ndarray) else type(picture).__name__
        raise ValueError(f"the picture is {what}, expected uint8 of shape (H, W, 3); cv2.cvtColor makes three channels of one or four")
    return picture
