"""What comes out of everything: the poses of the people in one image."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from poseling.skeleton import Skeleton


@dataclass(frozen=True)
class Pose:
    """N people with K joints each.

    xy (N, K, 2) pixels of the image, pixel centres at whole numbers; score (N, K) in 0..1; xyz (N, K, 3)
    metres relative to the root, or None; ids (N,) of the people over time (0, 1, 2, ... without a tracker).

    >>> from poseling.skeleton import LSP14
    >>> pose = Pose(np.zeros((2, 14, 2)), np.ones((2, 14)), LSP14)
    >>> len(pose), pose.ids.tolist(), pose[1].ids.tolist()
    (2, [0, 1], [1])
    """

    xy: NDArray[np.float32]
    score: NDArray[np.float32]
    skeleton: Skeleton
    xyz: NDArray[np.float32] | None = None
    ids: NDArray[np.int64] = field(default=None)  # type: ignore[arg-type]  # filled in below

    def __post_init__(self) -> None:
        set_ = object.__setattr__
        people, joints = len(self.xy), len(self.skeleton)
        set_(self, "xy", np.asarray(self.xy, np.float32))
        set_(self, "score", np.asarray(self.score, np.float32))
        set_(self, "ids", np.arange(people) if self.ids is None else np.asarray(self.ids, np.int64))
        expected = {"xy": (people, joints, 2), "score": (people, joints), "ids": (people,)}
        if self.xyz is not None:
            set_(self, "xyz", np.asarray(self.xyz, np.float32))
            expected["xyz"] = (people, joints, 3)
        for name, shape in expected.items():
            if (got := getattr(self, name).shape) != shape:
                raise ValueError(
                    f"Pose.{name} has shape {got}, expected {shape} for {people} people of skeleton "
                    f"{self.skeleton.name}"
                )

    def __len__(self) -> int:
        return len(self.xy)

    def __getitem__(self, which: int | slice | NDArray[np.generic]) -> Pose:
        """The chosen people, always as a Pose of N people."""
        if isinstance(which, int | np.integer):
            which = np.array([which])
        return Pose(
            self.xy[which],
            self.score[which],
            self.skeleton,
            None if self.xyz is None else self.xyz[which],
            self.ids[which],
        )

    def to(self, skeleton: Skeleton) -> Pose:
        """The same people in another skeleton; joints that this one does not have get score 0."""
        how = self.skeleton.to(skeleton)
        return Pose(
            how.joints(self.xy),
            how.weights(self.score),
            skeleton,
            None if self.xyz is None else how.joints(self.xyz),
            self.ids,
        )

    def as_dict(self) -> dict[str, object]:
        """Plain lists, for JSON."""
        return {
            "skeleton": self.skeleton.name,
            "joints": list(self.skeleton.joints),
            "ids": self.ids.tolist(),
            "xy": _rounded(self.xy, 2),
            "score": _rounded(self.score, 4),
            "xyz": None if self.xyz is None else _rounded(self.xyz, 4),
        }


def _rounded(values: NDArray[np.float32], digits: int) -> object:
    return np.round(
        values.astype(np.float64), digits
    ).tolist()  # float32 would print digits that are not there
