"""MPI-INF-3DHP (Mehta et al., 3DV 2017) as mmpose's converter writes it.

`annotations/` holds `mpi_inf_3dhp_train.npz` (subjects S1 to S8, eight cameras),
`mpi_inf_3dhp_test_valid.npz` (TS1 to TS6, the frames that the data set calls valid), `cameras_train.pkl` and
`cameras_test.pkl`, which are read as numbers alone (`pickled.py`); `images/` holds the images, such as
`S1_Seq1_Cam0_000001.jpg` and `TS1_000001.jpg`. 3D joints are the measured ones in metres (`annot3`), not
those of the "universal" skeleton, in which knees and neck are always 92 cm apart. The lens has no
distortion; the labels lie within 2 pixels of what it shows.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from poseling.data.dataset import Finding, PoseDataset, from_joints
from poseling.data.mmpose import images_folder, lens, read_cameras, read_labels
from poseling.skeleton import MPI3DHP17

LICENCE = "MPI-INF-3DHP: its own licence, non-commercial research"
FILES = {"train": "mpi_inf_3dhp_train.npz", "test": "mpi_inf_3dhp_test_valid.npz"}
NAME = {"train": re.compile(r"(S\d+_Seq\d+_Cam\d+)_\d+"), "test": re.compile(r"(TS\d+)_\d+")}
SIDE = 2048  # pixels of the training images' sides; their cameras' file has the height wrong


def mpi_inf_3dhp(root: Path, split: str = "train") -> PoseDataset:
    """The people of `train` or `test` under `root`, or of that part in the one npz file that `root` is.

    Joints outside the image are unlabelled, but their 3D position is known and the box is around them,
    too. FileNotFoundError with the path that was tried; ValueError that names the file if it is not of this
    shape.
    """
    if split not in FILES:
        raise ValueError(f"MPI-INF-3DHP has no split {split!r}; use {', '.join(FILES)}")
    path = root if root.is_file() else root / "annotations" / FILES[split]
    if not path.is_file():
        everything = path.with_name("mpi_inf_3dhp_test_all.npz")
        hint = (
            f"; {everything.name} does not mark the valid frames, let mmpose's converter write those alone"
            if everything.is_file()
            else ""
        )
        raise FileNotFoundError(f"{path}: not found; mmpose's converter of MPI-INF-3DHP makes it{hint}")
    labels = read_labels(path, len(MPI3DHP17)).chosen(
        lambda name: NAME[split].fullmatch(Path(name).stem) is not None
    )
    xyz, found = labels.space(MPI3DHP17.index("pelvis"))
    sequences = [match[1] for name in labels.names if (match := NAME[split].fullmatch(Path(name).stem))]
    size, camera, file = (
        np.full((len(sequences), 2), float(SIDE)),
        None,
        path.with_name(f"cameras_{split}.pkl"),
    )
    if file.is_file():
        cameras = read_cameras(file)
        if missing := sorted(set(sequences) - set(cameras)):
            raise ValueError(f"{file}: has no camera {', '.join(missing)}")
        camera = np.array([lens(cameras[sequence]) for sequence in sequences]).reshape(-1, 4)
        if split == "test":
            size = np.array(
                [[cameras[s].get(side, [SIDE])[0] for side in "wh"] for s in sequences], np.float64
            ).reshape(-1, 2)
    else:
        found.append(Finding("no cameras", path, None, f"no {file.name} beside it; the cameras are left out"))
    # The file counts all images as 2048 pixels high, and TS5 and TS6 are 1080.
    inside = ((labels.joints >= 0) & (labels.joints < size[:, None])).all(-1)
    folder = images_folder(path)
    images, visible = [folder / name for name in labels.names], np.where(labels.labelled & inside, 2, 0)
    dataset = from_joints(
        "mpi_inf_3dhp",
        MPI3DHP17,
        images,
        labels.joints,
        visible,
        LICENCE,
        boxes=labels.boxes,
        joints_3d=xyz,
        camera=camera,
        path=path,
    )
    return replace(dataset, findings=(*found, *dataset.findings))
