"""The cost of pseudo-labels: bytes a person, the error that compression adds to the decoded joints, and
the time of reading a person in training.

    python benchmarks/label_store.py                                        drawn heatmaps only
    python benchmarks/label_store.py --teacher PATH --root DIR --count 200  and a teacher's, for LSP test people
    python benchmarks/label_store.py --blazepose PATH --root DIR            and those of BlazePose's ONNX file (COCO's 17 of its joints)

The joints are those that DARK decodes from the maps before and after, their distance in heatmap pixels. Bytes
are the part files', with key, points and scores; `maps only` are the packed maps alone. Mass is the sum over
pixels above 0.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cyclopts
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from poseling.codecs.heatmap import Heatmap
from poseling.data import lsp
from poseling.data.dataset import PoseDataset
from poseling.files import read_image
from poseling.geometry import Crop
from poseling.skeleton import COCO17, LSP14, Skeleton
from poseling.teachers.base import Prediction, Teacher
from poseling.teachers.cache import PseudoLabels, keys
from poseling.teachers.load import load
from poseling.teachers.packing import pack, restored, unpack
from poseling.teachers.store import Manifest, Store
from results import write

Maps = NDArray[np.float32]


def main(
    teacher: Path | None = None, root: Path | None = None, count: int = 200, blazepose: Path | None = None
) -> None:
    """Measures, and writes results/label_store.json.

    Parameters
    ----------
    teacher
        Anything that poseling.teachers.load takes; it must give heatmaps.
    root
        The folder with lsp/.
    count
        How many people.
    blazepose
        One of BlazePose's ONNX files.
    """
    torch.set_num_threads(1)
    if (teacher or blazepose) and root is None:
        raise SystemExit(
            "--teacher and --blazepose need --root, the folder with lsp/, for people to ask about"
        )
    rows = []
    dataset = lsp.test(root)[np.linspace(0, 999, count).astype(int)] if root else None
    if blazepose and dataset:
        rows += measured(
            "BlazePose on LSP test, COCO's joints",
            ask(load(str(blazepose), "blazepose-maps"), dataset, COCO17),
        )
    if teacher and dataset:
        asked = load(str(teacher))
        rows += measured(f"{asked.name} on LSP test", ask(asked, dataset, asked.skeleton))
    for name, maps in drawn(count).items():
        rows += measured(name, maps)
    rows += timed(17, 64, COCO17) + timed(14, 32, LSP14)
    write(
        "label_store",
        rows,
        "Goals: under 4 kB for 17 joints at 64x64, under 0.1 heatmap pixels. Times are of one thread, median "
        "of 2000 reads in random order.",
    )


def drawn(count: int) -> dict[str, Maps]:
    """Gaussians of sigma 2 with peaks of 0.3 to 1 for 17 joints at 64x64, without and with smooth noise like
    a network's.
    """
    random = np.random.default_rng(0)
    joints = torch.from_numpy(random.uniform(16, 239, (count, 17, 2))).float()
    clean = Heatmap((256, 256)).encode(joints, torch.ones(count, 17))[0].numpy() * random.uniform(
        0.3, 1, (count, 17, 1, 1)
    ).astype(np.float32)
    noise = gaussian_filter(random.standard_normal(clean.shape), (0, 0, 1.5, 1.5))
    noise = (noise / noise.std()).astype(np.float32)
    return {"Gaussians": clean} | {
        f"Gaussians, noise {level:g}": clean + level * noise for level in (0.005, 0.01, 0.02)
    }


def ask(teacher: Teacher, dataset: PoseDataset, skeleton: Skeleton) -> Maps:
    """Its heatmaps of the canonical crops, for the joints of `skeleton`, which it must have; SystemExit if it
    has no heatmaps.
    """
    channels = teacher.skeleton.to(skeleton).single
    maps = []
    for i in range(len(dataset)):
        crop = Crop.from_box(dataset.boxes[i], teacher.size, teacher.padding).warp(
            read_image(dataset.images[i])
        )
        answer = teacher(torch.from_numpy(crop)[None]).maps
        if answer is None:
            raise SystemExit(f"{teacher.name} gives no heatmaps; there is nothing to pack")
        maps.append(answer[0].float().cpu().numpy()[channels])
    return np.stack(maps)


def measured(block: str, maps: Maps) -> list[dict[str, Any]]:
    """Bytes and added error of maps (N, K, h, w)."""
    count, joints, h, w = maps.shape
    start = time.perf_counter()
    packed = [pack(m) for m in maps]
    took = (time.perf_counter() - start) / count
    back = np.stack([restored(*unpack(p, (joints, h, w))) for p in packed])
    codec = Heatmap((w, h), stride=1)  # at stride 1 it decodes in pixels of the map
    before, score = codec.decode(torch.from_numpy(maps))
    error = (codec.decode(torch.from_numpy(back))[0] - before).norm(dim=-1).numpy()
    sure = error[score.numpy() > 0.2]
    unsure = maps.max((-2, -1)) < 0.3
    with tempfile.TemporaryDirectory() as folder:
        skeleton = Skeleton("measured", tuple(f"joint {i}" for i in range(joints)), tuple(range(joints)))
        store = Store.create(folder, Manifest.of(Stand(skeleton, (w, h)), False, (1.0,)))
        names = [bytes(k) for k in np.random.default_rng(0).integers(0, 256, (count, 16), np.uint8)]
        store.write([store.rows(names, Prediction(before, score, torch.from_numpy(maps)))])
        size = store.size() / count
    rows = {
        "bytes_per_person": (size, "bytes"),
        "bytes_per_person, maps only": (float(np.mean([len(p) for p in packed])), "bytes"),
        "joint_error_heatmap_px": (float(error.mean()), "heatmap pixels"),
        "joint_error_heatmap_px_p99": (float(np.percentile(error, 99)), "heatmap pixels"),
        "joint_error_heatmap_px, largest of joints with a peak over 0.2": (
            float(sure.max()) if len(sure) else float("nan"),
            "heatmap pixels",
        ),
        "mass kept": (float(np.maximum(back, 0).sum() / np.maximum(maps, 0).sum()), "share"),
        "mass kept, maps with a peak below 0.3": (
            float(np.maximum(back, 0)[unsure].sum() / np.maximum(maps, 0)[unsure].sum()),
            "share",
        ),
        "packing": (took * 1000, "ms a person"),
    }
    return [
        {"block": f"{block} ({count} people, {joints} joints at {w}x{h})", "name": n, "value": v, "unit": u}
        for n, (v, u) in rows.items()
    ]


def timed(joints: int, side: int, skeleton: Skeleton) -> list[dict[str, Any]]:
    """What `PseudoLabels[i]` takes, for Gaussians with a noise of 0.01 and 256 people."""
    count = 256
    random = np.random.default_rng(0)
    codec = Heatmap((side * 4, side * 4))
    xy = random.uniform(10, side * 4 - 10, (count, joints, 2)).astype(np.float32)
    maps = codec.encode(torch.from_numpy(xy), torch.ones(count, joints))[0].numpy()
    maps = maps + 0.01 * random.standard_normal(maps.shape).astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image"
        image.write_bytes(b"no one looks into it: the key is a digest of the file")
        boxes = np.stack([[i, 0, i + 100, 200] for i in range(count)]).astype(np.float32)
        dataset = PoseDataset(
            "timed",
            skeleton,
            (image,) * count,
            boxes,
            np.zeros((count, joints, 2), np.float32),
            np.zeros((count, joints), np.uint8),
        )
        store = Store.create(
            folder, Manifest.of(Stand(skeleton, codec.map_size, codec.size, codec.pixel), False, (1.0,))
        )
        said = Prediction(torch.from_numpy(xy), torch.ones(count, joints), torch.from_numpy(maps))
        store.write([store.rows([k for k in keys(dataset) if k], said)])
        labels = PseudoLabels.open(store.url, dataset, skeleton)
        times = []
        for i in random.integers(0, count, 2000):
            start = time.perf_counter()
            labels[int(i)]
            times.append(time.perf_counter() - start)
    spread = 1000 * float(np.percentile(times, 90) - np.median(times))
    return [
        {
            "block": "Reading",
            "name": f"PseudoLabels[i], {joints}x{side}x{side}",
            "value": 1000 * float(np.median(times)),
            "unit": "ms",
            "spread": spread,
        }
    ]


@dataclass(frozen=True)
class Stand:
    """A teacher's description, for a store that is filled directly."""

    skeleton: Skeleton
    map_size: tuple[int, int] | None
    size: tuple[int, int] = (256, 256)
    pixel: tuple[float, float] | None = (1.0, 1.0)
    sigma: float | None = 2.0
    padding: float = 1.25
    name: str = "stand"
    digest: str = "0"
    is_3d: bool = False

    @property
    def licences(self) -> dict[str, str]:
        """None: no licence is needed."""
        return {}

    def __call__(self, crops: torch.Tensor) -> Any:
        """Not called."""
        raise NotImplementedError


if __name__ == "__main__":
    cyclopts.run(main)
