"""An exported file as a function from a picture to a Pose. All it knows, it reads from that file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from poseling.geometry import Crop
from poseling.onnx_limits import beyond, bound_memory, refuse_loops
from poseling.pose import Pose
from poseling.spec import KEY, PoseSpec

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "coreml": "CoreMLExecutionProvider",
    "directml": "DmlExecutionProvider",
    "xnnpack": "XnnpackExecutionProvider",
}
OUTPUTS = (("xy", "score"), ("xy", "score", "xyz"))
WIDTHS: dict[str, tuple[int, ...]] = {"xy": (2,), "score": (), "xyz": (3,)}  # of each joint
UNRUNNABLE = (failures.Fail, failures.InvalidArgument, failures.RuntimeException, UnicodeDecodeError)
UNREADABLE = (failures.Fail, failures.InvalidArgument, failures.InvalidGraph, failures.InvalidProtobuf, failures.NotImplemented, UnicodeDecodeError)


class Network:
    """`path` is a file that `poseling export` wrote; `spec` is its contract.

    `threads` for the network, all cores if None. `provider` is what it runs on, as `PROVIDERS` names it: ValueError or RuntimeError if it cannot be
    had. FileNotFoundError if there is no such file; ValueError that names it if it is no ONNX file, has no PoseSpec, has loops (`onnx_limits`), gives maps instead of joints, or
    says of a black picture what is no number.
    """

    def __init__(self, path: Path | str, threads: int | None = None, provider: str = "cpu") -> None:
        self.path = Path(path)
        self.session = _session(self.path, threads, provider)
        try:
            metadata = self.session.get_modelmeta().custom_metadata_map
            if KEY not in metadata:
                raise ValueError("has no PoseSpec in its metadata; only files that `poseling export` wrote can be run")
            self.spec = PoseSpec.from_json(metadata[KEY])
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error
        if self.spec.outputs not in OUTPUTS:
            raise ValueError(
                f"{path}: gives {', '.join(self.spec.outputs)}, the runtime needs xy and score, and xyz if it has it; export it without --raw"
            )
        width, height = self.spec.size
        black = self._run(np.zeros((1, height, width, 3), np.uint8))
        if not all(np.isfinite(values).all() for values in black):
            raise ValueError(f"{path}: what it says of a black picture is no number, so its weights are damaged; export it again")

    def __call__(self, picture: NDArray[np.uint8], boxes: ArrayLike | None = None, colour: Literal["bgr", "rgb"] = "bgr") -> Pose:
        """The people in the boxes (N, 4) x0, y0, x1, y1 in pixels of a picture (H, W, 3) uint8; the one who fills it if `boxes` is None.

        `xyz` is there if the file gives it: metres from the root, in camera axes, since crops are never turned. What the network says is handed on as it is, NaN
        included. `colour` is the order of the picture's channels: OpenCV reads bgr, everyone else rgb. ValueError for what is no such picture, and for a box
        that is not finite, has no area or lies outside.
        """
        crops = self._crops(_checked(picture, colour), boxes)
        if not crops:
            joints = len(self.spec.skeleton)
            xyz = np.zeros((0, joints, 3), np.float32) if "xyz" in self.spec.outputs else None
            return Pose(np.zeros((0, joints, 2), np.float32), np.zeros((0, joints), np.float32), self.spec.skeleton, xyz)
        inputs = np.stack([crop.warp(picture) for crop in crops])
        if colour == "bgr":
            inputs = np.ascontiguousarray(inputs[..., ::-1])
        xy, score, *deep = self._run(inputs)
        xy = np.stack([crop.invert(joints) for crop, joints in zip(crops, xy, strict=True)])
        return Pose(xy, score, self.spec.skeleton, deep[0] if deep else None)

    def _run(self, crops: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
        """What it says of crops (B, H, W, 3): xy (B, K, 2), score (B, K) and, if it has it, xyz (B, K, 3). ValueError if it does not."""
        try:
            outputs = self.session.run(self.spec.outputs, {"crops": crops})
        except UNRUNNABLE as error:
            raise ValueError(f"{self.path}: cannot be run on {len(crops)} crops ({error}{beyond(error)})") from error
        for name, values in zip(self.spec.outputs, outputs, strict=True):
            shape = (len(crops), len(self.spec.skeleton), *WIDTHS[name])
            if not isinstance(values, np.ndarray) or values.dtype.kind != "f" or values.shape != shape:
                got = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else type(values).__name__
                raise ValueError(f"{self.path}: its output {name} is {got}, expected float {shape}; export it again")
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


def _session(path: Path, threads: int | None, provider: str) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such file; `poseling export` makes it from a checkpoint")
    available = onnxruntime.get_available_providers()
    if provider not in PROVIDERS or PROVIDERS[provider] not in available:
        here = ", ".join(name for name, full in PROVIDERS.items() if full in available)
        raise ValueError(f"provider {provider!r} is not in this onnxruntime, which has {here}; choose one, or install the onnxruntime that has it")
    refuse_loops(path)
    options = onnxruntime.SessionOptions()
    bound_memory(options)
    if threads is not None:
        if threads < 1:
            raise ValueError(f"threads is {threads}; give 1 or more, or None for all cores")
        options.intra_op_num_threads = threads
    try:
        session = onnxruntime.InferenceSession(path, options, providers=[PROVIDERS[provider]])
    except UNREADABLE as error:
        raise ValueError(
            f"{path}: is cut short or no ONNX file that this onnxruntime can read ({error}); `poseling export` makes one of a checkpoint"
        ) from error
    # onnxruntime takes the CPU, with no more than a line on stderr, where a provider that it lists cannot start.
    if (first := session.get_providers()[0]) != PROVIDERS[provider]:
        raise RuntimeError(f"{path}: provider {provider!r} is listed but did not start, onnxruntime took {first} instead; look at its drivers")
    session.disable_fallback()
    return session
