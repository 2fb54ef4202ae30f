"""The joints of one person in an image, by ONNX Runtime and OpenCV alone.

python pose.py poseling-n.onnx image.jpg [X0 Y0 X1 Y1]
"""

from __future__ import annotations

import json
import os
import sys

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # before onnxruntime is imported, which else reports home

import cv2
import numpy as np
import onnxruntime


def pose(
    model: str, image: np.ndarray, box: tuple[float, float, float, float] | None = None
) -> list[tuple[str, float, float, float]]:
    """The name, x, y and score of each joint of the person in `box` of an image (H, W, 3) as OpenCV reads it;
    in all of it without a box.
    """
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    spec = json.loads(session.get_modelmeta().custom_metadata_map["poseling"])
    width, height = spec["size"]
    x0, y0, x1, y1 = box or (0, 0, image.shape[1] - 1, image.shape[0] - 1)
    # The person's box, in the middle of the crop, as much larger as the network is used to.
    scale = min((width - 1) / max(x1 - x0, 1), (height - 1) / max(y1 - y0, 1)) / (
        spec["padding"] if box else 1
    )
    middle = np.array([(x0 + x1) / 2, (y0 + y1) / 2])
    offset = (np.array([width, height]) - 1) / 2 - scale * middle
    matrix = np.array([[scale, 0, offset[0]], [0, scale, offset[1]]])
    crop = cv2.warpAffine(image, matrix, (width, height))[..., ::-1]
    xy, score = session.run(["xy", "score"], {"crops": np.ascontiguousarray(crop[None])})
    there = (xy[0] - offset) / scale
    return [
        (name, float(x), float(y), float(s))
        for name, (x, y), s in zip(spec["skeleton"]["joints"], there, score[0], strict=True)
    ]


if __name__ == "__main__":
    if len(sys.argv) not in (3, 7):
        sys.exit(__doc__)
    read = cv2.imread(sys.argv[2])
    if read is None:
        sys.exit(f"{sys.argv[2]}: is no image that OpenCV reads")
    where = tuple(float(value) for value in sys.argv[3:7]) or None
    for name, x, y, s in pose(sys.argv[1], read, where):
        print(f"{name:16} {x:8.1f} {y:8.1f} {s:6.3f}")
