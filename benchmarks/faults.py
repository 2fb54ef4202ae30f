"""How the readers handle damaged and malicious files: read correctly, or refused in one line that names the
file.

python benchmarks/faults.py --cases ../shared/cases/malformed --seeds 20

Inputs are the files of `--cases`, named reader-kind-number, each replacing the valid one in a small generated
set, and valid files changed at random, a fixed number of each. Each is read in its own process, with a memory
and a time limit. tests/test_faults.py does the same with fewer.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import re
import resource
import signal
import struct
import tempfile
import traceback
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from scipy.io import savemat

from poseling.adapter import Adapter
from poseling.codecs import Heatmap
from poseling.data import coco, h36m, images, lsp, mocap, mpi_inf_3dhp, mpii, synthetic
from poseling.data.check import check
from poseling.data.coco_json import coco_json
from poseling.data.dataset import LARGEST, PoseDataset
from poseling.data.packed import packed
from poseling.files import read_image
from poseling.live.retarget import REQUIRED, Retarget, Rig
from poseling.models import checkpoint, registry
from poseling.models.importers import imagenet
from poseling.models.importers.fpd import load_fpd
from poseling.models.importers.vnect import _arrays as vnect_arrays
from poseling.pickled import read_pickle
from poseling.runtime.pipeline import track
from poseling.skeleton import COCO17, CROWDPOSE14, SYNTH28, Skeleton
from poseling.spec import PoseSpec
from poseling.teachers.base import Prediction
from poseling.teachers.checkpoint import checkpoint_teacher
from poseling.teachers.onnx import OnnxTeacher
from poseling.teachers.store import MAPS_VERSION, Manifest, Store
from poseling.train import log

MEMORY, SECONDS = 3 << 30, 20  # more than a process had before, and of time of the clock
Bytes = dict[str, bytes]  # a small set: paths, and what is in the files
rng = partial(np.random.default_rng, 0)


@dataclass(frozen=True)
class Reader:
    """A reader: `make` gives a good set of files, of which the one called `file` is changed; `read` gives
    what is in the folder, People or anything else.
    """

    make: Callable[[tuple[str, ...]], Bytes]
    file: str
    read: Callable[[Path], object]
    weight: float = 1.0  # how much of the random changes it gets


def image(width: int = 40, height: int = 30, suffix: str = ".jpg") -> bytes:
    return cv2.imencode(suffix, rng().integers(0, 255, (height, width, 3), np.uint8))[1].tobytes()


def npz(**arrays: Any) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def mat(packed: bool = False, **variables: Any) -> bytes:
    file = io.BytesIO()
    savemat(file, variables, do_compression=packed)
    return file.getvalue()


def text(value: object) -> bytes:
    return json.dumps(value).encode()


def named(folder: str, names: tuple[str, ...], *usual: str) -> Bytes:
    """Images of these names, or of the usual ones."""
    return {f"{folder}/{name}": image() for name in names or usual}


def points(count: int, joints: int, low: float = 2, high: float = 28) -> np.ndarray:
    return rng().uniform(low, high, (count, joints, 2))


def make_lsp(names: tuple[str, ...]) -> Bytes:
    joints = np.concatenate([points(5, 14), np.zeros((5, 14, 1))], -1).transpose(2, 1, 0)
    return {"joints.mat": mat(joints=joints), **named("images", (), *(f"im{i:04d}.jpg" for i in range(1, 6)))}


def make_lspet(names: tuple[str, ...]) -> Bytes:
    joints = np.concatenate([points(5, 14), np.ones((5, 14, 1))], -1).transpose(1, 2, 0)
    return {
        "joints.mat": mat(True, joints=joints),
        **named("images", (), *(f"im{i:05d}.jpg" for i in range(1, 6))),
    }


def mpii_rows(names: tuple[str, ...]) -> list[dict[str, Any]]:
    dataset = zip(names, points(len(names), 16), strict=True)
    return [
        {"image": n, "joints": p.tolist(), "joints_vis": [1] * 16, "center": [15.0, 15.0], "scale": 0.1}
        for n, p in dataset
    ]


def make_mpii(names: tuple[str, ...], truth: bool = True) -> Bytes:
    names = names or ("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")
    files = {"annot/valid.json": text(mpii_rows(names)), **named("images", names)}
    if truth:
        heads = np.broadcast_to(np.array([[1.0, 1], [5, 4]])[..., None], (2, 2, len(names)))
        files["annot/gt_valid.mat"] = mat(
            headboxes_src=heads, pos_gt_src=points(len(names), 16).transpose(1, 2, 0)
        )
    return files


def make_mpii_mat(names: tuple[str, ...]) -> Bytes:
    names = names or ("a.jpg", "b.jpg")
    rows = []
    for name in names:
        seen = [
            {"x": x, "y": y, "id": k, "is_visible": "1" if k % 2 else 1}
            for k, (x, y) in enumerate(points(1, 16)[0].tolist())
        ]
        rect = {
            "x1": 1.0,
            "y1": 2.0,
            "x2": 4.0,
            "y2": 6.0,
            "scale": 0.1,
            "objpos": {"x": 15.0, "y": 15.0},
            "annopoints": {"point": seen},
        }
        rows.append({"image": {"name": name}, "annorect": rect})
    return {
        mpii.OFFICIAL: mat(True, RELEASE={"annolist": rows, "img_train": np.ones(len(names))}),
        **named("images", names),
    }


def coco_data(skeleton: Any, names: tuple[str, ...], ids: tuple[int, ...] = (1, 2, 3)) -> dict[str, Any]:
    rows = []
    for i, xy in zip(ids, points(len(ids), len(skeleton)), strict=True):
        flat = np.concatenate([xy, np.full((len(skeleton), 1), 2)], 1).ravel().tolist()
        rows.append(
            {
                "id": i,
                "image_id": i,
                "category_id": 1,
                "bbox": [1, 1, 30, 25],
                "area": 300.5,
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": flat,
            }
        )
    images = [
        {"id": i, "file_name": n, "width": 40, "height": 30, "crowdIndex": 0.5}
        for i, n in zip(ids, names, strict=True)
    ]
    joints = ["head" if j == "head_top" else j for j in skeleton.joints]
    return {
        "images": images,
        "annotations": rows,
        "categories": [{"id": 1, "name": "person", "keypoints": joints}],
    }


COCO_NAMES = ("1.jpg", "2.jpg", "3.jpg")
DETECTED = (785, 40083, 196141, 197388)  # the ids of a well-known small sample


def make_coco(names: tuple[str, ...]) -> Bytes:
    return {
        "annotations/person_keypoints_val2017.json": text(coco_data(COCO17, COCO_NAMES)),
        **named("val2017", (), *COCO_NAMES),
    }


OWN = Skeleton("own", ("nose", "left_eye", "right_eye", "tail"), (0, 0, 0, 0))


def make_own(names: tuple[str, ...]) -> Bytes:
    data = coco_data(OWN, COCO_NAMES)
    for category in data["categories"]:
        category |= {"skeleton": [[1, 2], [1, 3], [2, 3], [1, 4]], "sigmas": [0.1, 0.1, 0.1, 0.2]}
    return {"own.json": text(data), **named("images", (), *COCO_NAMES)}


def make_crowd(names: tuple[str, ...]) -> Bytes:
    return {
        "json/crowdpose_test.json": text(coco_data(CROWDPOSE14, COCO_NAMES)),
        **named("images", (), *COCO_NAMES),
    }


def make_detections(names: tuple[str, ...]) -> Bytes:
    files = tuple(f"{i}.jpg" for i in DETECTED)
    found = [{"image_id": i, "category_id": 1, "bbox": [2.5, 3, 20, 15], "score": 0.5} for i in DETECTED]
    return {
        "a.json": text(coco_data(COCO17, files, DETECTED)),
        "found.json": text(found),
        **named("images", (), *files),
    }


def make_packed(names: tuple[str, ...]) -> Bytes:
    about = {"version": 1, "name": "own", "skeleton": asdict(OWN), "terms": "x"}
    boxes = np.tile(np.array([1.0, 1, 30, 25]), (3, 1))
    arrays = {"boxes": boxes, "joints": points(3, 4), "visible": np.full((3, 4), 2, np.uint8)}
    files = {"people.json": text(about), "people.npz": npz(**arrays, weight=np.ones((3, 4)))}
    return {**files, **{f"images/{i:06d}.webp": image(suffix=".webp") for i in range(3)}}


CAMERA = {
    "R": np.eye(3),
    "T": np.array([[0.0], [0], [-4]]),
    "f": np.full((2, 1), 20.0),
    "c": np.full((2, 1), 15.0),
    "k": np.zeros((3, 1)),
    "p": np.zeros((2, 1)),
}
H36M_NAMES = (
    "S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg",
    "S5/S5_SittingDown.54138969/S5_SittingDown.54138969_000002.jpg",
)


def space(count: int, joints: int) -> np.ndarray:
    return rng().uniform([-1, -1, 4], [1, 1, 5], (count, joints, 3))


def labels_npz(names: tuple[str, ...]) -> bytes:
    ones = np.ones((len(names), 17, 1))
    part, xyz = (
        np.concatenate([values, ones], -1) for values in (points(len(names), 17), space(len(names), 17))
    )
    return npz(
        imgname=np.array(names), center=np.zeros((len(names), 2)), scale=np.ones(len(names)), part=part, S=xyz
    )


def make_h36m(names: tuple[str, ...]) -> Bytes:
    names = names or H36M_NAMES
    cameras = {
        (f"S{s}", c): CAMERA
        for s in (1, 5, 6, 7, 8, 9, 11)
        for c in ("54138969", "55011271", "58860488", "60457274")
    }
    files = {
        "annotation_body3d/cameras.pkl": pickle.dumps(cameras),
        "annotation_body3d/fps10/h36m_train.npz": labels_npz(names),
    }
    return {**files, **named("images", names)}


def make_vp3d(names: tuple[str, ...]) -> Bytes:
    clips = {"S1": {"Directions 1": space(2, 32)}, "S5": {"SittingDown": space(3, 32)}}
    files = make_h36m(H36M_NAMES)
    del files["annotation_body3d/fps10/h36m_train.npz"]
    return {"data_3d_h36m.npz": npz(positions_3d=np.array(clips, object)), **files}


def make_3dhp(names: tuple[str, ...]) -> Bytes:
    names = names or ("S4_Seq2_Cam0_001033.jpg", "S8_Seq1_Cam8_002165.jpg")
    cameras = {name.rpartition("_")[0]: CAMERA | {"w": 2048, "h": 2048} for name in names}
    return {
        "annotations/mpi_inf_3dhp_train.npz": labels_npz(names),
        "annotations/cameras_train.pkl": pickle.dumps(cameras),
        **named("images", names),
    }


def make_synthetic(names: tuple[str, ...]) -> Bytes:
    count = 30
    truth = {
        "joints": points(count, 28).astype(np.float32),
        "visible": np.full((count, 28), 2, np.uint8),
        "xyz": space(count, 28).astype(np.float32),
        "camera": np.full((count, 4), 20, np.float32),
        "box": np.tile(np.array([1, 1, 30, 25], np.float32), (count, 1)),
        "motion": np.array(["walking"] * count),
    }
    files = {"synthetic.json": text({"synthetic": {"backgrounds": 0}}), "truth/000000.npz": npz(**truth)}
    return {**files, **{f"pictures/000/{i:06d}.jpg": image() for i in range(count)}}


def bvh() -> bytes:
    """A rig at rest, and one frame in which it rotates."""
    lines, joints = ["HIERARCHY"], 0

    def joint(name: str, offset: tuple[float, ...], children: list[Any], word: str = "JOINT") -> None:
        nonlocal joints
        joints += 1
        channels = "6 Xposition Yposition Zposition" if word == "ROOT" else "3"
        lines.append(f"{word} CC_Base_{name}\n{{\nOFFSET {' '.join(map(str, offset))}")
        lines.append(f"CHANNELS {channels} Zrotation Yrotation Xrotation")
        for child in children:
            joint(*child)
        lines.append("}" if children else "End Site\n{\nOFFSET 0 1 0\n}\n}")

    def limb(side: str, sign: int, names: tuple[str, ...], step: tuple[float, ...]) -> tuple[Any, ...]:
        *rest, last = names
        chain: tuple[Any, ...] = (f"{side}_{last}", step, [])
        for name in reversed(rest):
            chain = (f"{side}_{name}", (sign * 10, -5, 0) if name == rest[0] else step, [chain])
        return chain

    legs = [limb(side, sign, ("Thigh", "Calf", "Foot"), (0, -45, 0)) for side, sign in (("L", 1), ("R", -1))]
    arms = [
        limb(side, sign, ("Upperarm", "Forearm", "Hand"), (sign * 25, 0, 0))
        for side, sign in (("L", 1), ("R", -1))
    ]
    head: tuple[Any, ...] = ("Head", (0, 8, 0), [("L_Eye", (3, 8, 8), []), ("R_Eye", (-3, 8, 8), [])])
    joint("Hip", (0, 100, 0), [*legs, ("NeckTwist01", (0, 50, 0), [head, *arms])], "ROOT")
    frames = [" ".join(["0 100 0", *["0 0 0"] * joints]), " ".join(["0 100 5", *["0 10 0"] * joints])]
    return "\n".join([*lines, "MOTION", "Frames: 2", "Frame Time: 0.033333", *frames, ""]).encode()


def make_bvh(names: tuple[str, ...]) -> Bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x/a.bvh", bvh())
    return {"a.zip": file.getvalue()}


ADAPTER = {
    "skeleton": "coco17",
    "padding": 1.2,
    "layout": "bhwc",
    "white": 255,
    "points": {"output": "xy", "columns": 2, "x": 0, "y": 1, "rows": list(range(17))},
    "score": {"output": "score", "columns": 1, "activation": "none"},
    "licences": {"code": "x"},
}
SPEC = PoseSpec("hourglass-1x8", COCO17, Heatmap((64, 64)).fields(), (64, 64))


def rig() -> bytes:
    """A glTF document of the bones that a humanoid needs, in a row."""
    names = [bone.replace("left", "Left").replace("right", "Right") for bone in REQUIRED]
    nodes: list[dict[str, Any]] = [
        {"name": name, "translation": [0.1 * i, 1.0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]}
        for i, name in enumerate(names)
    ]
    nodes[0]["children"] = list(range(1, len(nodes)))
    return text({"asset": {"version": "2.0"}, "nodes": nodes})


def glb() -> bytes:
    body = rig()
    body += b" " * (-len(body) % 4)
    return b"glTF" + struct.pack("<IIII", 2, 20 + len(body), len(body), 0x4E4F534A) + body


def read_rig(path: Path) -> object:
    found = Rig.read(path)
    return [*found.places(), *Retarget(found).rig.places()]


def student() -> bytes:
    """A network of two nodes with our metadata."""
    xy, score = (
        numpy_helper.from_array(v, n)
        for n, v in (("a", points(1, 17).astype(np.float32)), ("b", np.full((1, 17), 0.5, np.float32)))
    )
    crops = helper.make_tensor_value_info("crops", TensorProto.UINT8, ["N", 64, 64, 3])
    outputs = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("xy", "score")]
    nodes = [helper.make_node("Identity", ["a"], ["xy"]), helper.make_node("Identity", ["b"], ["score"])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [crops], outputs, [xy, score]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=9,
    )
    helper.set_model_props(model, {"poseling": SPEC.to_json()})
    data: bytes = model.SerializeToString()
    return data


def make_student(names: tuple[str, ...]) -> Bytes:
    return {"a.onnx": student(), "a.jpg": image()}


def make_checkpoint(names: tuple[str, ...]) -> Bytes:
    with tempfile.TemporaryDirectory() as folder:
        torch.manual_seed(0)
        checkpoint.save(Path(folder, "a"), registry.build("hourglass-1x8", 17, (64, 64)), SPEC)
        return {"a.safetensors": Path(folder, "a").read_bytes()}


def make_torch(names: tuple[str, ...]) -> Bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"conv1.weight": torch.zeros(2, 3, 7, 7)}}, file)
    return {"a.pth.tar": file.getvalue()}


MANIFEST = Manifest(
    "t",
    "d",
    SYNTH28,
    (128, 128),
    1.25,
    (32, 32),
    (4.0, 4.0),
    False,
    (1.0,),
    {"code": "x"},
    version=MAPS_VERSION,
)


def make_store(names: tuple[str, ...]) -> Bytes:
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(folder, MANIFEST)
        xy = torch.from_numpy(rng().uniform(0, 127, (3, 28, 2)).astype(np.float32))
        said = Prediction(xy, torch.full((3, 28), 200 / 255), torch.zeros(3, 28, 32, 32))
        store.write([store.rows([bytes([i]) * 16 for i in range(3)], said)])
        part = next(Path(store.url).glob("part-*"))
        return {
            "manifest.json": Path(store.url, "manifest.json").read_bytes(),
            "part-0.parquet": part.read_bytes(),
        }


def read_store(folder: Path) -> object:
    store = Store.open(str(folder))
    return store.keys(), [table.to_pydict() for _, table in store.read({bytes([i]) * 16 for i in range(3)})]


def read_images(folder: Path) -> PoseDataset:
    return images.images(folder)


def _track(folder: Path) -> object:
    track(folder / "a.onnx", folder / "a.jpg", json=folder / "out.jsonl")
    return (folder / "out.jsonl").read_text()


def read_spec(folder: Path) -> object:
    try:
        return PoseSpec.from_json((folder / "spec.json").read_bytes().decode("utf-8", "replace"))
    except ValueError as error:  # a spec is not a file: the error is about the file that has it
        raise ValueError(f"{folder / 'spec.json'}: {error}") from error


def read_detections(folder: Path) -> PoseDataset:
    return coco.read_coco(folder / "a.json", folder / "images", folder / "found.json")


READERS: dict[str, Reader] = {
    "lsp": Reader(make_lsp, "joints.mat", lsp.lsp),
    "lspet": Reader(make_lspet, "joints.mat", lsp.lspet),
    "mpiijson": Reader(
        partial(make_mpii, truth=False), "annot/valid.json", lambda folder: mpii.mpii(folder, "valid")
    ),
    "gt": Reader(make_mpii, "annot/gt_valid.mat", lambda folder: mpii.mpii(folder, "valid")),
    "mpiimat": Reader(make_mpii_mat, mpii.OFFICIAL, lambda folder: mpii.mpii(folder, "trainval")),
    "coco": Reader(make_coco, "annotations/person_keypoints_val2017.json", coco.val),
    "crowd": Reader(make_crowd, "json/crowdpose_test.json", lambda folder: coco.crowdpose(folder, "test")),
    "own": Reader(make_own, "own.json", lambda folder: coco_json(folder, Path("own.json"))),
    "det": Reader(make_detections, "found.json", read_detections),
    "boxes": Reader(
        lambda names: {"boxes.json": text({"a.png": [[1, 1, 20, 20]]}), "a.png": image(suffix=".png")},
        "boxes.json",
        read_images,
    ),
    "images": Reader(lambda names: {"a.jpg": image()}, "a.jpg", read_images),
    "png": Reader(
        lambda names: {"a.png": image(suffix=".png")}, "a.png", lambda folder: read_image(folder / "a.png")
    ),
    "webp": Reader(
        lambda names: {"a.webp": image(suffix=".webp")},
        "a.webp",
        lambda folder: read_image(folder / "a.webp"),
    ),
    "h36m": Reader(make_h36m, "annotation_body3d/fps10/h36m_train.npz", h36m.h36m),
    "h36cam": Reader(make_h36m, "annotation_body3d/cameras.pkl", h36m.h36m),
    "vp3d": Reader(make_vp3d, "data_3d_h36m.npz", h36m.h36m),
    "3dhp": Reader(make_3dhp, "annotations/mpi_inf_3dhp_train.npz", mpi_inf_3dhp.mpi_inf_3dhp),
    "synth": Reader(make_synthetic, "truth/000000.npz", synthetic.synthetic),
    "note": Reader(make_synthetic, "synthetic.json", synthetic.synthetic, 0.5),
    "packed": Reader(make_packed, "people.npz", packed),
    "about": Reader(make_packed, "people.json", packed, 0.5),
    "rig": Reader(lambda names: {"a.json": rig()}, "a.json", lambda folder: read_rig(folder / "a.json")),
    "glb": Reader(lambda names: {"a.glb": glb()}, "a.glb", lambda folder: read_rig(folder / "a.glb"), 0.5),
    "bvh": Reader(
        make_bvh, "a.zip", lambda folder: [m.xyz for m in mocap.motions(folder / "a.zip").values()]
    ),
    "clip": Reader(
        lambda names: {"a.bvh": bvh()},
        "a.bvh",
        lambda folder: [m.xyz for m in mocap.motions(folder / "a.bvh").values()],
    ),
    "adapter": Reader(
        lambda names: {"a.json": text(ADAPTER), "a.onnx": student()},
        "a.json",
        lambda f: OnnxTeacher(f / "a.onnx", str(f / "a.json")),
    ),
    "adapter2": Reader(
        lambda names: {"a.json": text(ADAPTER)},
        "a.json",
        lambda folder: Adapter.from_json(folder / "a.json"),
        0.5,
    ),
    "spec": Reader(lambda names: {"spec.json": SPEC.to_json().encode()}, "spec.json", read_spec),
    "student": Reader(make_student, "a.onnx", _track),
    "onnxteacher": Reader(make_student, "a.onnx", lambda folder: OnnxTeacher(folder / "a.onnx"), 0.5),
    "track": Reader(make_student, "a.jpg", _track),
    "checkpoint": Reader(
        make_checkpoint, "a.safetensors", lambda folder: checkpoint_teacher(folder / "a.safetensors").digest
    ),
    "fpd": Reader(
        make_torch, "a.pth.tar", lambda folder: load_fpd(folder / "a.pth.tar", "hourglass-1x8", 16)
    ),
    "weights": Reader(
        lambda names: {"a.pth": make_torch(())["a.pth.tar"]},
        "a.pth",
        lambda folder: imagenet._read(folder / "a.pth")[0],
        0.5,
    ),
    "store": Reader(make_store, "manifest.json", read_store),
    "part": Reader(make_store, "part-0.parquet", read_store),
    "log": Reader(
        lambda names: {"log.jsonl": b'{"step": 1, "loss": 0.5}\n{"step": 2, "loss": NaN}\n'},
        "log.jsonl",
        lambda f: log.read(f / "log.jsonl"),
    ),
    "pickle": Reader(
        lambda names: {"a.pkl": pickle.dumps({"a": CAMERA})},
        "a.pkl",
        lambda folder: read_pickle(folder / "a.pkl"),
    ),
    "vnect": Reader(
        lambda names: {"a.pkl": pickle.dumps({"a": np.ones((3, 2))})},
        "a.pkl",
        lambda folder: vnect_arrays(folder / "a.pkl"),
    ),
    "vimages": Reader(
        lambda names: {"a.mp4": b""}, "a.mp4", lambda folder: images.images(folder / "a.mp4"), 0
    ),
}

# How valid files are changed.

VALUES: tuple[Any, ...] = (
    *(
        None,
        True,
        -1,
        0,
        3,
        0.5,
        1e999,
        -1e999,
        float("nan"),
        1e300,
        2**31,
        2**63,
        2**70,
        10**400,
        "",
        "x",
        "../x",
        "\\",
        "\0",
        [],
        {},
        [[]],
        [1, 2],
        {"a": 1},
    ),
)
WORDS = tuple(struct.pack("<I", v) for v in (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)) + tuple(
    struct.pack("<q", v) for v in (-1, 1 << 40, 1 << 62)
)


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Bytes changed by a disk, a network or an attacker."""
    if not len(data):
        return data
    out, at = bytearray(data), int(random.integers(len(data)))
    match int(random.integers(7)):
        case 0:
            return bytes(out[:at])
        case 1:
            for place in random.integers(len(out), size=1 + int(random.integers(8))):
                out[place] ^= 1 << int(random.integers(8))
        case 2:
            out[at : at + 64] = random.bytes(min(64, len(out) - at))
        case 3:
            out[at : at + 16] = bytes(16)
        case 4:
            word = WORDS[int(random.integers(len(WORDS)))]
            out[at : at + len(word)] = word
        case 5:
            out[at:at] = out[max(0, at - 200) : at]
        case _:
            del out[at : at + 1 + int(random.integers(100))]
    return bytes(out)


def json_changed(data: bytes, random: np.random.Generator) -> bytes:
    """The same JSON with one value replaced, somewhere in it; at times a value that is very deep or has
    very many digits.
    """
    special = (
        b"[" * 50_000,
        b'{"a":' * 50_000,
        b"1" * 5000,
        b"[" * 900 + b"]" * 900,
        b"\xff\xfe[]",
        b"nul",
        b"",
    )
    if random.random() < 0.1:
        return special[int(random.integers(len(special)))]
    whole = json.loads(data)
    node, value = whole, VALUES[int(random.integers(len(VALUES)))]
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        if not keys:
            return text(value)
        key = keys[int(random.integers(len(keys)))]
        if not isinstance(node[key], dict | list) or random.random() < 0.3:
            break
        node = node[key]
    if isinstance(node, dict) and random.random() < 0.2:
        del node[key]
    else:
        node[key] = value
    return text(whole)


def array_changed(array: np.ndarray, random: np.random.Generator) -> Any:
    """An array of another type, shape or range."""
    match int(random.integers(8)):
        case 0:
            return array.astype(str)
        case 1:
            return array.ravel()[: len(array.ravel()) // 2]
        case 2:
            return np.int64(3)
        case 3 if array.dtype.kind == "f":
            return np.full_like(array, (np.nan, np.inf, -np.inf, 1e30)[int(random.integers(4))])
        case 4 if array.dtype.kind == "f":
            return array.astype(np.float64) * 1e300
        case 5:
            return array[:0]
        case 6:
            return array.astype(object) if array.dtype.kind == "f" else array.astype("S")
        case _ if array.dtype.kind == "f" and array.size:
            changed = array.copy()
            changed.ravel()[int(random.integers(array.size))] = (np.nan, np.inf, 1e30)[
                int(random.integers(3))
            ]
            return changed
    return array


def npz_changed(data: bytes, random: np.random.Generator) -> bytes:
    """One array of another kind, one that claims a size, or one that is missing."""
    with np.load(io.BytesIO(data), allow_pickle=True) as file:
        arrays = dict(file)
    name = list(arrays)[int(random.integers(len(arrays)))]
    if random.random() < 0.2:
        header = (
            b"\x93NUMPY\x01\x00v\x00{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(
                127
            )
            + b"\n"
        )
        file = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w") as new:
            for member in old.namelist():
                new.writestr(member, header if member == f"{name}.npy" else old.read(member))
        return file.getvalue()
    if random.random() < 0.1:
        del arrays[name]
    else:
        arrays[name] = (
            array_changed(arrays[name], random)
            if arrays[name].ndim
            else np.array(VALUES[int(random.integers(len(VALUES)))], object)
        )
    return npz(**arrays)


def mat_changed(data: bytes, random: np.random.Generator) -> bytes:
    """What is packed in it is damaged and packed again, so that the damage reaches the reader."""
    if len(data) > 136 and data[128] == 15:
        return data[:128] + (lambda body: struct.pack("<II", 15, len(body)) + body)(
            zlib.compress(damaged(zlib.decompress(data[136:]), random))
        )
    return data[:128] + damaged(data[128:], random)


def pickle_changed(data: bytes, random: np.random.Generator) -> bytes:
    """One entry of a dict somewhere in it replaced."""
    whole = pickle.loads(data)  # our own
    node = whole
    while isinstance(inner := node[list(node)[int(random.integers(len(node)))]], dict):
        node = inner
    key = list(node)[int(random.integers(len(node)))]
    node[key] = (
        array_changed(node[key], random)
        if isinstance(node[key], np.ndarray)
        else VALUES[int(random.integers(len(VALUES)))]
    )
    return pickle.dumps(whole)


CHANGES = {".json": json_changed, ".npz": npz_changed, ".mat": mat_changed, ".pkl": pickle_changed}


def changed(file: str, data: bytes, random: np.random.Generator) -> bytes:
    """A good file, changed as a file of its kind can be, or as any bytes can be."""
    change = CHANGES.get(Path(file).suffix)
    return damaged(data, random) if change is None or random.random() < 0.4 else change(data, random)


# The outcome.


def odd(found: object) -> str:
    """An implausible value in the result, "" if there is none."""
    if isinstance(found, PoseDataset):
        dataset = found
        if not len(dataset):
            return "nobody"
        for name in ("boxes", "joints", "joints_3d", "camera"):
            values = getattr(dataset, name)
            if values is not None and not (np.abs(values) <= LARGEST).all():
                return f"{name} that are no numbers"
        if not (dataset.boxes[:, 2:] > dataset.boxes[:, :2]).all():
            return "a box without area"
        truth = dataset.instances.truth if dataset.instances is not None else None
        if truth is not None and not all(
            np.isfinite(values).all() for values in (truth.boxes, truth.area, truth.joints)
        ):
            return "a truth that is no numbers"
        if truth is not None and not (truth.area[truth.count > 0] > 0).all():
            return "an area of 0"
        if dataset.head_size is not None and np.isinf(dataset.head_size).any():
            return "an infinite head"
        check(dataset)
    if (
        isinstance(found, list)
        and found
        and isinstance(found[0], np.ndarray)
        and not all((np.abs(values) <= LARGEST).all() for values in found)
    ):
        return "places that are no numbers"
    if isinstance(found, str) and re.search(r"NaN|Infinity|e\+\d\d", found):
        return "poses that are no numbers"
    return ""


def outcome(reader: Reader, folder: Path) -> tuple[str, str]:
    """(read, refused, traceback, unnamed or silent; why) of what `reader` does with a folder, here and
    now.
    """
    name = Path(reader.file).name
    try:
        strange = odd(reader.read(folder))
        return ("silent", strange) if strange else ("read", "")
    except (ValueError, OSError) as error:
        message = " ".join(str(error).split())
        return ("refused" if name in message else "unnamed"), message
    except MemoryError:
        return "crash", "memory"
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error} {traceback.format_exc().splitlines()[-4:]}"


def alone(reader: Reader, folders: list[Path], seconds: int = SECONDS) -> list[tuple[str, str]]:
    """`outcome` of each folder in a process beside this one: `crash` if it dies of it, or takes too long
    or too much memory; another goes on with the next.
    """
    found: list[tuple[str, str]] = []
    while len(found) < len(folders):
        inside, outside = os.pipe()
        child = os.fork()
        if not child:
            try:
                _child(reader, folders[len(found) :], outside, seconds)
            finally:
                os._exit(0)
        os.close(outside)
        with os.fdopen(inside) as heard:
            found += [(verdict, why) for verdict, why in map(json.loads, heard)]
        _, status = os.waitpid(child, 0)
        if len(found) < len(folders):
            found.append(
                ("crash", f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else "no answer")
            )
    return found


def _child(reader: Reader, folders: list[Path], outside: int, seconds: int) -> None:
    with open(os.devnull, "w") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(nothing.fileno(), 2)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    with os.fdopen(outside, "w", buffering=1) as said:
        for folder in folders:
            signal.alarm(seconds)
            said.write(json.dumps(outcome(reader, folder)) + "\n")


def lay(files: Bytes, folder: Path) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def names_in(data: bytes) -> tuple[str, ...]:
    """The images that a file of annotations names, also where it is packed or has four bytes a letter."""
    for start in (m.start() for m in re.finditer(b"\x78\x9c", data)):
        try:
            data += zlib.decompressobj().decompress(data[start:], 1 << 20)
        except zlib.error:
            continue
    return tuple(
        dict.fromkeys(
            m.decode() for m in re.findall(rb"(?:[\w.-]+?/)*[\w.-]+?\.jpg", data.replace(b"\0\0\0", b""))
        )
    )


def case(path: Path) -> tuple[Reader, Bytes]:
    """The reader that a file of --cases is for, and the set that it stands in."""
    kind, data = path.name.partition("-")[0], path.read_bytes()
    suffix = path.suffix
    aliases = {
        ("store", ".parquet"): "part",
        ("images", ".png"): "png images",
        ("track", ".png"): "png track",
    }
    kind = aliases.get((kind, suffix), kind)
    if kind.startswith("png "):
        base = READERS[kind.split()[1]]
        files = {name.replace("a.jpg", "a.png"): content for name, content in base.make(()).items()}
        files["a.png"] = data
        read = read_images if kind == "png images" else _track_png
        return Reader(base.make, "a.png", read), files
    reader = READERS[kind]
    files = reader.make(names_in(data)) if kind not in ("coco", "crowd", "det", "synth") else reader.make(())
    files[reader.file] = data
    if kind == "gt":  # it belongs to people whose joints it repeats
        with_people = _people_of(data)
        files["annot/valid.json"] = with_people or files["annot/valid.json"]
    return reader, files


def _people_of(data: bytes) -> bytes | None:
    from scipy.io import loadmat

    joints = loadmat(io.BytesIO(data))["pos_gt_src"]
    if joints.ndim != 3:
        return None
    rows = mpii_rows(("a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg")[: joints.shape[2]])
    return text(
        [row | {"joints": xy.tolist()} for row, xy in zip(rows, joints.transpose(2, 0, 1), strict=True)]
    )


def _track_png(folder: Path) -> object:
    track(folder / "a.onnx", folder / "a.png", json=folder / "out.jsonl")
    return (folder / "out.jsonl").read_text()


def fuzz(seeds: int, kinds: list[str] | None = None) -> list[tuple[str, str, str]]:
    """(reader-number, verdict, why) of `seeds` changed files for each reader, or for those of these
    `kinds`.
    """
    found = []
    for kind in kinds or list(READERS):
        reader = READERS[kind]
        files = reader.make(())
        with tempfile.TemporaryDirectory() as place:
            folders = [Path(place, str(i)) for i in range(round(seeds * reader.weight))]
            for i, folder in enumerate(folders):
                random = np.random.default_rng((0, zlib.crc32(kind.encode()), i))
                lay(files | {reader.file: changed(reader.file, files[reader.file], random)}, folder)
            found += [(f"{kind}-{i}", *told) for i, told in enumerate(alone(reader, folders))]
    return found


def cases(folder: Path) -> list[tuple[str, str, str]]:
    """(file, verdict, why) of the files of --cases."""
    found = []
    for path in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):
        with tempfile.TemporaryDirectory() as place:
            reader, files = case(path)
            lay(files, Path(place))
            found.append((path.name, *alone(reader, [Path(place)])[0]))
    return found


def main() -> None:
    import results

    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", type=Path, help="a folder of files named reader-kind-number")
    parser.add_argument("--seeds", type=int, default=20, help="changed files for each reader")
    parser.add_argument("--show", action="store_true", help="also print what came of each")
    arguments = parser.parse_args()
    found = (cases(arguments.cases) if arguments.cases else []) + fuzz(arguments.seeds)
    counts = Counter(verdict for _, verdict, _ in found)
    for name, verdict, why in found:
        if arguments.show or verdict not in ("read", "refused"):
            print(f"{verdict:10} {name}: {why[:300]}")
    bad = {"tracebacks": "traceback", "unnamed": "unnamed", "silent": "silent", "crashes": "crash"}
    rows: list[dict[str, Any]] = [{"name": "inputs", "value": len(found), "unit": "files"}]
    rows += [{"name": row, "value": counts[verdict], "unit": "files"} for row, verdict in bad.items()]
    given = len(list(arguments.cases.iterdir())) if arguments.cases else 0
    notes = (
        f"{given} files that once led to a traceback, an unnamed error, a silent odd value, a hang, too much "
        f"memory or a crash, and {len(found) - given} good files "
        f"changed at random, for {len(READERS)} readers. {counts['read']} were read, {counts['refused']} "
        f"refused in a line that names the file. A crash is also more "
        f"than {MEMORY >> 30} GiB of memory or {SECONDS} seconds."
    )
    print(results.write("faults", rows, notes))


if __name__ == "__main__":
    main()
