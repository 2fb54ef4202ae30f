"""Human3.6M (Ionescu et al., TPAMI 2014) as it is commonly preprocessed: mmpose's files, or VideoPose3D's.

mmpose's converter writes `annotation_body3d/cameras.pkl`, `annotation_body3d/fps10` (or `fps50`) with
`h36m_train.npz` and `h36m_test.npz`, and the images
`images/S1/S1_Directions_1.54138969/S1_Directions_1.54138969_000001.jpg`. VideoPose3D's `data_3d_h36m.npz` has
the joints in the room and no cameras, so it needs mmpose's `cameras.pkl` beside it or in `annotation_body3d`;
its people are those in the images of `images`, named in the same way, whose last number counts the frames of
50 a second from 1. Both files of objects are read as numbers alone (`pickled.py`).

Subjects 1, 5, 6, 7 and 8 are for training, 9 and 11 for testing. Joints lie where the bent lens shows them;
`PoseDataset.camera` is the pinhole camera without the lens's distortion, off by up to 3 pixels.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from poseling.data.dataset import Finding, PoseDataset, from_joints
from poseling.data.mmpose import Array, images_folder, lens, read_cameras, read_labels
from poseling.geometry import joints_box, project_distorted
from poseling.pickled import read_object
from poseling.skeleton import H36M17

LICENCE = "Human3.6M: its own licence, academic use only"
SUBJECTS = {"train": ("S1", "S5", "S6", "S7", "S8"), "test": ("S9", "S11")}
# In the order of the papers' tables.
ACTIONS = (
    *(
        "Directions",
        "Discussion",
        "Eating",
        "Greeting",
        "Phoning",
        "Posing",
        "Purchases",
        "Sitting",
        "SittingDown",
        "Smoking",
    ),
    *("Photo", "Waiting", "Walking", "WalkDog", "WalkTogether"),
)
RENAMED = {"TakingPhoto": "Photo", "WalkingDog": "WalkDog"}  # some subjects' files have these names
# Those of the 32 joints of the motion capture that move, in H36M17's order.
MOVING = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)
NAME = re.compile(r"(S\d+)_([A-Za-z]+)(?:[ _](\d+))?\.(\d+)_(\d+)")


def h36m(root: Path, split: str = "train") -> PoseDataset:
    """The people of `train` or `test` under `root`, or of that part in the one npz file that `root` is.
    mmpose's files are preferred, and those of 10 frames a second: neighbours among 50 are nearly the same.
    FileNotFoundError with the paths that were tried; ValueError that names the file if it is not of this
    shape.
    """
    if split not in SUBJECTS:
        raise ValueError(f"Human3.6M has no split {split!r}; use {', '.join(SUBJECTS)}")
    tried = [root / "annotation_body3d" / rate / f"h36m_{split}.npz" for rate in ("fps10", "fps50")] + [
        root / "data_3d_h36m.npz"
    ]
    path = root if root.is_file() else next((p for p in tried if p.is_file()), None)
    if path is None:
        raise FileNotFoundError(
            f"{root}: Human3.6M needs one of {', '.join(str(p.relative_to(root)) for p in tried)} in it"
        )
    return from_positions(path, split) if path.name.startswith("data_3d_") else from_labels(path, split)


def from_labels(path: Path, split: str) -> PoseDataset:
    """The people of one of mmpose's files. `camera` is None without `cameras.pkl`, and `joints_3d` where
    the file is relative to the root; `findings` reports both.
    """
    labels = read_labels(path, len(H36M17)).chosen(lambda name: _parts(name)[0] in SUBJECTS[split])
    xyz, found = labels.space(0)
    camera, file = None, _cameras(path)
    if file is None:
        found.append(
            Finding(
                "no cameras",
                path,
                None,
                "no cameras.pkl beside it or above it; the cameras are left out",
            )
        )
    else:
        cameras = read_cameras(file)
        camera = np.array(
            [lens(_camera(cameras, file, *_parts(name)[::2])) for name in labels.names]
        ).reshape(-1, 4)
    folder = images_folder(path)
    images = [folder / name for name in labels.names]
    visible = np.where(labels.labelled, 2, 0)
    dataset = from_joints(
        "h36m",
        H36M17,
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


def from_positions(path: Path, split: str) -> PoseDataset:
    """The people of VideoPose3D's file in the images that exist. Images without a frame in it are listed in
    `findings`. FileNotFoundError if there is no `cameras.pkl` or no image.
    """
    file = _cameras(path)
    if file is None:
        raise FileNotFoundError(
            f"{path}: its joints are in the room, and without mmpose's cameras.pkl beside it or in "
            f"annotation_body3d nobody knows where"
        )
    cameras, positions = read_cameras(file), _positions(path)
    folder = images_folder(path)
    images, joints, xyz, lenses, found = [], [], [], [], []
    for image in sorted(folder.rglob("*.jpg")):
        if not NAME.fullmatch(image.stem) or _parts(image.name)[0] not in SUBJECTS[split]:
            continue
        subject, action, camera_name, frame = _parts(image.name)
        frames = positions.get((subject, action))
        if frames is None or not 1 <= frame <= len(frames):
            why = "no such clip" if frames is None else f"the clip has {len(frames)} frames"
            found.append(Finding("no joints", image, None, f"{path.name}: {why}; left out"))
            continue
        camera = _camera(cameras, file, subject, camera_name)
        missing = [name for name in "RTkp" if name not in camera]
        if missing:
            raise ValueError(
                f"{file}: camera {subject}, {camera_name} has no {', '.join(missing)}; joints in the room "
                f"need where it stands"
            )
        # R turns the camera's axes into the room's, T is where the camera stands.
        points = (frames[frame - 1] - camera["T"]) @ camera["R"].reshape(3, 3)
        images.append(image)
        xyz.append(points)
        joints.append(project_distorted(points, lens(camera), camera["k"], camera["p"]))
        lenses.append(lens(camera))
    if not images:
        raise FileNotFoundError(
            f"{folder}: there is no image of {', '.join(SUBJECTS[split])} named like "
            f"S1_Directions_1.54138969_000001.jpg with its joints in {path}"
        )
    visible = np.full((len(images), len(H36M17)), 2)
    boxes = np.stack([joints_box(j, np.ones(len(H36M17))) for j in joints])
    dataset = from_joints(
        "h36m",
        H36M17,
        images,
        np.stack(joints),
        visible,
        LICENCE,
        boxes=boxes,
        joints_3d=np.stack(xyz),
        camera=np.stack(lenses),
        path=path,
    )
    return replace(dataset, findings=(*found, *dataset.findings))


def actions(dataset: PoseDataset) -> tuple[str, ...]:
    """(N) what each person does, one of ACTIONS, by the name of the image; ValueError for a name that does
    not say.

    >>> _parts("S9/S9_WalkingDog_1.54138969/S9_WalkingDog_1.54138969_000001.jpg")
    ('S9', 'WalkDog 1', '54138969', 1)
    """
    names = tuple(_parts(image.name)[1].split()[0] for image in dataset.images)
    unknown = sorted(set(names) - set(ACTIONS))
    if unknown:
        raise ValueError(
            f"{dataset.name}: Human3.6M has no action {', '.join(unknown)}; there are {', '.join(ACTIONS)}"
        )
    return names


def _parts(name: str) -> tuple[str, str, str, int]:
    """Subject, clip, camera and frame of an image's name."""
    found = NAME.fullmatch(Path(name).stem)
    if not found:
        raise ValueError(f"{name}: Human3.6M's images are named like S1_Directions_1.54138969_000001.jpg")
    subject, action, number, camera, frame = found.groups()
    return subject, _clip(f"{action} {number or ''}"), camera, int(frame)


def _clip(name: str) -> str:
    """An action and, if it was done twice, which time: `WalkDog 1`."""
    action, *number = name.replace("_", " ").split()
    return " ".join([RENAMED.get(action, action), *number])


def _positions(path: Path) -> dict[tuple[str, str], Array]:
    """(T, 17, 3) metres in the room by subject and clip."""
    content = read_object(path, "positions_3d")
    try:
        clips = {
            (str(s), _clip(a)): np.asarray(xyz)
            for s, actions in content.items()
            for a, xyz in actions.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path}: positions_3d is no dict of subjects and their actions ({type(error).__name__}: {error})"
        ) from error
    wrong = next(
        (
            f"{s}, {a} has shape {xyz.shape}"
            for (s, a), xyz in clips.items()
            if xyz.shape[1:] not in ((32, 3), (17, 3))
        ),
        None,
    )
    if wrong:
        raise ValueError(f"{path}: {wrong}, expected (frames, 32, 3) or the 17 that move, (frames, 17, 3)")
    return {
        key: (xyz[:, MOVING] if xyz.shape[1] == 32 else xyz).astype(np.float64) for key, xyz in clips.items()
    }


def _cameras(path: Path) -> Path | None:
    """The file of cameras beside an annotation, in the folder above, or in mmpose's folder beside it."""
    folders = (path.parent, path.parent.parent, path.parent / "annotation_body3d")
    return next((folder / "cameras.pkl" for folder in folders if (folder / "cameras.pkl").is_file()), None)


def _camera(cameras: dict[Any, dict[str, Array]], path: Path, subject: str, name: str) -> dict[str, Array]:
    try:
        return cameras[subject, name]
    except KeyError:
        raise ValueError(f"{path}: has no camera {name} of {subject}") from None
