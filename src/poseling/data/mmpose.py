"""The files that mmpose's converters make of Human3.6M and MPI-INF-3DHP: one npz of labels a part, and one
pickle of cameras.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from poseling.arrays import numbers, read_npz
from poseling.data.dataset import Finding, usable
from poseling.geometry import joints_box
from poseling.pickled import read_pickle

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Labels:
    """N people of K joints: names (N) of their images, joints (N, K, 2) in pixels, labelled (N, K), xyz (N,
    K, 3) metres in camera axes.
    """

    path: Path
    names: tuple[str, ...]
    joints: Array
    labelled: NDArray[np.bool_]
    xyz: Array

    def chosen(self, wanted: Callable[[str], bool]) -> Labels:
        """Those whose image's name is wanted."""
        rows = np.array([wanted(name) for name in self.names], bool)
        names = tuple(name for name, row in zip(self.names, rows, strict=True) if row)
        return Labels(self.path, names, self.joints[rows], self.labelled[rows], self.xyz[rows])

    @property
    def boxes(self) -> NDArray[np.float32]:
        """(N, 4) around all joints, also those outside the image. The file's `center` and `scale` are the
        square around this box, 1.2 times as large: that is the crop's padding here.
        """
        every = np.ones(self.joints.shape[1])
        return (
            np.stack([joints_box(joints, every) for joints in self.joints])
            if len(self.joints)
            else np.zeros((0, 4), np.float32)
        )

    def space(self, root: int) -> tuple[Array | None, list[Finding]]:
        """xyz, or None with a finding where the file has them relative to joint `root`: `PoseDataset` needs
        them relative to the camera.
        """
        if not len(self.xyz) or self.xyz[:, root].any():
            return self.xyz, []
        return None, [
            Finding(
                "no depth",
                self.path,
                None,
                "its 3D joints are relative to the root and not to the camera; they are left out",
            )
        ]


def read_labels(path: Path, joints: int) -> Labels:
    """An npz of imgname (N,), part (N, K, 3) x, y, labelled, and S (N, K, 4) x, y, z, labelled, for K =
    `joints`. ValueError that names the file if it is not.
    """
    fields = read_npz(path, "imgname", "part", "S")
    names, part = fields["imgname"], fields["part"]
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise ValueError(f"{path}: imgname is {names.dtype} of shape {names.shape}, expected a list of names")
    for name, width in (("part", 3), ("S", 4)):
        try:
            fields[name] = numbers(fields[name], len(names), joints, width)
        except ValueError as error:
            hint = (
                "; this is the layout for body meshes, take the file for body3d"
                if part.shape[1:2] == (24,)
                else ""
            )
            raise ValueError(
                f"{path}: {name} of {len(names)} images is not as it should be: {error}{hint}"
            ) from error
    part, space = fields["part"], fields["S"]
    words = tuple(name.decode("latin-1") if isinstance(name, bytes) else str(name) for name in names)
    return Labels(path, words, part[..., :2], part[..., 2] > 0, space[..., :3])


def read_cameras(path: Path) -> dict[Any, dict[str, Array]]:
    """The cameras of a pickle by their keys, each a dict of flat arrays: f and c of 2 pixels, and what else
    is there of R (9), T (3), k (3), p (2), w and h (1). ValueError that names the file if it is not of this
    shape.
    """
    content = read_pickle(path)
    sizes = {"f": 2, "c": 2, "R": 9, "T": 3, "k": 3, "p": 2, "w": 1, "h": 1}
    try:
        cameras = {
            key: {name: np.asarray(camera[name], np.float64).ravel() for name in sizes if name in camera}
            for key, camera in content.items()
        }
        unreal = [
            key
            for key, camera in cameras.items()
            if not all(usable(value)[1] for value in camera.values()) or (camera["f"] <= 0).any()
        ]
        wrong = [
            key
            for key, camera in cameras.items()
            if any(len(camera[n]) != size for n, size in sizes.items() if n in camera or n in "fc")
        ]
    except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(
            f"{path}: is not a file of cameras with f and c ({type(error).__name__}: {error})"
        ) from error
    if wrong:
        raise ValueError(f"{path}: camera {wrong[0]} has an entry of the wrong length; expected {sizes}")
    if unreal:
        raise ValueError(
            f"{path}: camera {unreal[0]} has an entry that is not a number, or a focal length that is not "
            f"above 0"
        )
    return cameras


def lens(camera: Mapping[str, Array]) -> Array:
    """(4,) fx, fy, cx, cy."""
    return np.concatenate([camera["f"], camera["c"]])


def images_folder(path: Path) -> Path:
    """Where the images of the annotation file `path` are: `images/` beside it or above it, or else its own
    folder.
    """
    return next(
        (folder / "images" for folder in list(path.parents)[:3] if (folder / "images").is_dir()), path.parent
    )
