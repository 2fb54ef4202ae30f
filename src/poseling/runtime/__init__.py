"""Runs exported networks with numpy, OpenCV and ONNX Runtime, without torch.

import cv2
from poseling.runtime import Network

pose = Network("student.onnx")(cv2.imread("image.jpg"))
"""

from poseling.draw import draw
from poseling.pose import Pose
from poseling.runtime.detector import Detector
from poseling.runtime.network import Network

__all__ = ["Detector", "Network", "Pose", "draw"]
