"""The examples run: in Python, and in C++ where ONNX Runtime's headers are: scripts/onnxruntime_headers.sh brings
them, or ORT_INCLUDE names their folder.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import pytest

from poseling import zoo
from poseling.runtime import Network

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PLACES = (
    str(EXAMPLES / "cpp" / "include"),
    "/usr/include/onnxruntime",
    "/usr/local/include/onnxruntime",
    "/usr/local/include",
    "/usr/include",
)


def image() -> np.ndarray:
    soft = np.random.default_rng(0).integers(0, 256, (9, 8, 3), np.uint8)
    return cv2.resize(soft, (200, 240), interpolation=cv2.INTER_CUBIC)


def test_the_python_example_says_what_the_runtime_says():
    about = importlib.util.spec_from_file_location("pose", EXAMPLES / "python" / "pose.py")
    module = importlib.util.module_from_spec(about)
    about.loader.exec_module(module)
    box = (30.0, 20.0, 160.0, 220.0)
    found = module.pose(str(zoo.path("poseling-n")), image(), box)
    pose = Network("poseling-n", threads=1)(image(), [box])
    assert [name for name, *_ in found] == list(pose.skeleton.joints)
    sure = pose.score[0] > 0.05
    there = np.array([[x, y] for _, x, y, _ in found])
    assert np.abs(there - pose.xy[0])[sure].max(initial=0) < 1.5


def headers() -> Path:
    for place in (os.environ.get("ORT_INCLUDE", ""), *PLACES):
        if place and (Path(place) / "onnxruntime_c_api.h").is_file():
            return Path(place)
    pytest.skip("onnxruntime_c_api.h is not here; run scripts/onnxruntime_headers.sh")


@pytest.mark.slow
def test_the_cpp_example_is_built_and_says_the_same(tmp_path):
    include, compiler = headers(), shutil.which("g++")
    if compiler is None:
        pytest.skip("there is no g++")
    [library] = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    program = tmp_path / "pose"
    (tmp_path / "libonnxruntime.so.1").symlink_to(library)
    command = [
        compiler,
        "-std=c++17",
        "-Wall",
        "-Werror",
        f"-I{include}",
        str(EXAMPLES / "cpp" / "pose.cpp"),
        str(library),
    ]
    subprocess.run([*command, f"-Wl,-rpath,{tmp_path}", "-o", str(program)], check=True)
    model = zoo.path("poseling-n")
    width, height = zoo.ENTRIES["poseling-n"].size
    crop = cv2.resize(image(), (width, height))
    run = subprocess.run([str(program), str(model)], input=crop.tobytes(), capture_output=True, check=True)
    found = np.array([line.split() for line in run.stdout.decode().splitlines()], float)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    xy, score = session.run(["xy", "score"], {"crops": crop[None]})
    assert np.allclose(found[:, :2], xy[0], atol=0.01)
    assert np.allclose(found[:, 2], score[0], atol=1e-3)
    short = subprocess.run([str(program), str(model)], input=b"no crop", capture_output=True, check=False)
    assert short.returncode == 1
    assert b"has to be 128 x 160 x 3 bytes" in short.stderr
