"""Skeletons: named joints, the bones between them, and conversion from one convention to another by name,
never by count.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from poseling.records import from_fields

Number = TypeVar("Number", bound=np.number)

# Joints that are by definition the middle of two others, so that a skeleton without them can still give them.
# Neck and head top are left out: they are not between any two joints of COCO.
MIDDLES = {"pelvis": ("left_hip", "right_hip"), "thorax": ("left_shoulder", "right_shoulder")}


@dataclass(frozen=True)
class Skeleton:
    """K joints by name, the parent of each (its own index for a root), and the OKS sigmas where they are
    published.

    Left and right are marked by the prefixes `left_` and `right_`.

    >>> COCO17.flip[:5].tolist()
    [0, 2, 1, 4, 3]
    >>> COCO17.to(LSP14).known.sum().item()  # COCO knows neither LSP's neck nor its head top
    12
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    sigmas: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        count = len(self.joints)
        if len(set(self.joints)) != count:
            twice = sorted({j for j in self.joints if self.joints.count(j) > 1})
            raise ValueError(
                f"skeleton {self.name} names {', '.join(twice)} more than once; give each joint its own name"
            )
        if len(self.parents) != count or any(not 0 <= p < count for p in self.parents):
            raise ValueError(
                f"skeleton {self.name} needs one parent index in 0..{count - 1} for each of its {count} "
                f"joints, got {self.parents}"
            )
        if self.sigmas is not None and len(self.sigmas) != count:
            raise ValueError(f"skeleton {self.name} has {count} joints but {len(self.sigmas)} sigmas")
        if self.sigmas is not None and not all(0 < s < np.inf for s in self.sigmas):
            raise ValueError(f"skeleton {self.name} has a sigma that is not above 0: {self.sigmas}")
        for joint in self.joints:
            if (mirror := _mirror(joint)) not in self.joints:
                raise ValueError(
                    f"skeleton {self.name} has {joint} but no {mirror}; add it, or drop the prefix if the "
                    f"joint has no side"
                )

    @classmethod
    def from_dict(cls, given: object, where: str = "skeleton") -> Skeleton:
        """The skeleton in a file: its fields by name, or the name of one of `SKELETONS`. ValueError that
        names the field below `where`.

        >>> Skeleton.from_dict("lsp14") == LSP14
        True
        """
        if not isinstance(given, str):
            return from_fields(cls, given, where)
        if given not in SKELETONS:
            raise ValueError(
                f"{where} {given!r} is unknown; there is {', '.join(SKELETONS)}, or give name, joints and "
                f"parents"
            )
        return SKELETONS[given]

    def __len__(self) -> int:
        return len(self.joints)

    def index(self, joint: str) -> int:
        """The place of `joint`; KeyError with the joints there are if it is not one of them."""
        try:
            return self.joints.index(joint)
        except ValueError:
            raise KeyError(
                f"skeleton {self.name} has no joint {joint!r}; it has {', '.join(self.joints)}"
            ) from None

    @cached_property
    def flip(self) -> NDArray[np.int64]:
        """(K,) for each joint the index of its mirror image, itself where it has no side."""
        return np.array([self.joints.index(_mirror(j)) for j in self.joints])

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """(child, parent) pairs, roots left out."""
        return tuple((child, parent) for child, parent in enumerate(self.parents) if child != parent)

    @cached_property
    def root(self) -> tuple[int, ...]:
        """The joints whose middle is the origin of root-relative coordinates: the pelvis, or both hips;
        ValueError where there is neither.
        """
        for names in (("pelvis",), MIDDLES["pelvis"]):
            if all(name in self.joints for name in names):
                return tuple(self.joints.index(name) for name in names)
        raise ValueError(f"skeleton {self.name} has neither a pelvis nor two hips, so it has no root")

    def to(self, other: Skeleton) -> Conversion:
        """The conversion of this skeleton's joints to `other`'s, by name; ValueError if they have no joint in
        common.
        """
        sources = []
        for joint in other.joints:
            names = (joint,) if joint in self.joints else MIDDLES.get(joint, ())
            found = all(n in self.joints for n in names)
            sources.append(tuple(self.joints.index(n) for n in names) if found else ())
        if not any(sources):
            raise ValueError(
                f"skeletons {self.name} ({', '.join(self.joints[:4])}, ...) and {other.name} "
                f"({', '.join(other.joints[:4])}, ...) have no joint in common; "
                "joints are matched by name, so rename them where they mean the same"
            )
        return Conversion(self, other, tuple(sources))


@dataclass(frozen=True)
class Conversion:
    """How each of the target's joints comes from the source's: from none, from one, or as the middle of two."""

    source: Skeleton
    target: Skeleton
    sources: tuple[tuple[int, ...], ...]

    @cached_property
    def matrix(self) -> NDArray[np.float32]:
        """(K_target, K_source); rows sum to 1, or to 0 where the joint is unknown."""
        matrix = np.zeros((len(self.target), len(self.source)), np.float32)
        for row, sources in enumerate(self.sources):
            for column in sources:
                matrix[row, column] = 1 / len(sources)
        return matrix

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(K_target,) whether the joint can be had at all."""
        return np.array([bool(s) for s in self.sources])

    @cached_property
    def _pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(K_target,) the two source joints of each, twice the same where it is one, 0 where it is unknown."""
        ends = [(s[0], s[-1]) if s else (0, 0) for s in self.sources]
        first, second = np.array(ends, np.int64).T
        return first, second

    @cached_property
    def single(self) -> NDArray[np.int64]:
        """(K_target,) the one source joint, or -1: what a heatmap can follow, since the mean of two maps is
        no map of the middle.
        """
        return np.array([s[0] if len(s) == 1 else -1 for s in self.sources])

    def joints(self, joints: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., K_source, D) to (..., K_target, D); zeros where unknown.

        >>> hips = np.zeros((17, 2)); hips[11], hips[12] = (10, 4), (20, 8)
        >>> COCO17.to(MPII16).joints(hips)[6].tolist()
        [15.0, 6.0]
        """
        first, second = self._pairs
        middle = (joints[..., first, :] + joints[..., second, :]) / 2  # no product: 0 times NaN is NaN
        return np.where(self.known[:, None], middle, np.zeros((), joints.dtype))

    def weights(self, weights: NDArray[Number]) -> NDArray[Number]:
        """(..., K_source) to (..., K_target): a middle is as sure as the less sure of its two, an unknown
        joint weighs nothing.
        """
        out = np.zeros((*weights.shape[:-1], len(self.target)), weights.dtype)
        for row, sources in enumerate(self.sources):
            if sources:
                out[..., row] = weights[..., list(sources)].min(-1)
        return out


def _mirror(joint: str) -> str:
    if joint.startswith("left_"):
        return "right_" + joint[5:]
    if joint.startswith("right_"):
        return "left_" + joint[6:]
    return joint


def _skeleton(name: str, tree: str, sigmas: tuple[float, ...] | None = None) -> Skeleton:
    """A skeleton from lines `joint parent`, `l_`/`r_` for the sides; a root names itself."""
    sides = (("l_", "left_"), ("r_", "right_"))
    for short, long in sides:
        tree = tree.replace(f" {short}", f" {long}").replace(f",{short}", f",{long}")
        tree = long + tree.removeprefix(short) if tree.startswith(short) else tree
    pairs = [line.split() for line in tree.split(",")]
    joints = tuple(joint for joint, _ in pairs)
    return Skeleton(name, joints, tuple(joints.index(parent) for _, parent in pairs), sigmas)


COCO17 = _skeleton(
    "coco17",
    "nose nose, l_eye nose, r_eye nose, l_ear l_eye, r_ear r_eye, l_shoulder nose, r_shoulder nose, l_elbow "
    "l_shoulder, r_elbow r_shoulder,"
    "l_wrist l_elbow, r_wrist r_elbow, l_hip l_shoulder, r_hip r_shoulder, l_knee l_hip, r_knee r_hip, "
    "l_ankle l_knee, r_ankle r_knee",
    # cocoapi, PythonAPI/pycocotools/cocoeval.py
    (
        0.026,
        0.025,
        0.025,
        0.035,
        0.035,
        0.079,
        0.079,
        0.072,
        0.072,
        0.062,
        0.062,
        0.107,
        0.107,
        0.087,
        0.087,
        0.089,
        0.089,
    ),
)
MPII16 = _skeleton(
    "mpii16",
    "r_ankle r_knee, r_knee r_hip, r_hip pelvis, l_hip pelvis, l_knee l_hip, l_ankle l_knee, pelvis pelvis, "
    "thorax pelvis, neck thorax, head_top neck,"
    "r_wrist r_elbow, r_elbow r_shoulder, r_shoulder thorax, l_shoulder thorax, l_elbow l_shoulder, l_wrist "
    "l_elbow",
)
# LSP's neck is MPII's upper neck: the papers that train on both treat them as one.
LSP14 = _skeleton(
    "lsp14",
    "r_ankle r_knee, r_knee r_hip, r_hip neck, l_hip neck, l_knee l_hip, l_ankle l_knee, r_wrist r_elbow, "
    "r_elbow r_shoulder, r_shoulder neck,"
    "l_shoulder neck, l_elbow l_shoulder, l_wrist l_elbow, neck neck, head_top neck",
)
# CrowdPose's "head" is the top of the head. Its sigmas: Jeff-sjtu/CrowdPose, crowdposetools/cocoeval.py.
CROWDPOSE14 = _skeleton(
    "crowdpose14",
    "l_shoulder neck, r_shoulder neck, l_elbow l_shoulder, r_elbow r_shoulder, l_wrist l_elbow, r_wrist "
    "r_elbow, l_hip neck, r_hip neck, l_knee l_hip,"
    "r_knee r_hip, l_ankle l_knee, r_ankle r_knee, head_top neck, neck neck",
    (0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089, 0.079, 0.079),
)
# Joint 9 is "Neck/Nose" in VideoPose3D: neither of the two, so it keeps a name of its own and converts to
# nothing.
H36M17 = _skeleton(
    "h36m17",
    "pelvis pelvis, r_hip pelvis, r_knee r_hip, r_ankle r_knee, l_hip pelvis, l_knee l_hip, l_ankle l_knee, "
    "spine pelvis, thorax spine, neck_nose thorax,"
    "head_top neck_nose, l_shoulder thorax, l_elbow l_shoulder, l_wrist l_elbow, r_shoulder thorax, r_elbow "
    "r_shoulder, r_wrist r_elbow",
)
BLAZEPOSE33 = _skeleton(
    "blazepose33",
    "nose nose, l_eye_inner nose, l_eye l_eye_inner, l_eye_outer l_eye, r_eye_inner nose, r_eye r_eye_inner, "
    "r_eye_outer r_eye, l_ear l_eye_outer,"
    "r_ear r_eye_outer, l_mouth nose, r_mouth nose, l_shoulder nose, r_shoulder nose, l_elbow l_shoulder, "
    "r_elbow r_shoulder, l_wrist l_elbow, r_wrist r_elbow,"
    "l_pinky l_wrist, r_pinky r_wrist, l_index l_wrist, r_index r_wrist, l_thumb l_wrist, r_thumb r_wrist, "
    "l_hip l_shoulder, r_hip r_shoulder, l_knee l_hip,"
    "r_knee r_hip, l_ankle l_knee, r_ankle r_knee, l_heel l_ankle, r_heel r_ankle, l_foot_index l_ankle, "
    "r_foot_index r_ankle",
)
# What the program's own synthetic people are labelled with: COCO's joints in COCO's order, and those that the
# other conventions above have besides. A hand is the knuckle of its middle finger.
SYNTH28 = _skeleton(
    "synth28",
    "nose head_top, l_eye nose, r_eye nose, l_ear l_eye, r_ear r_eye, l_shoulder thorax, r_shoulder thorax, "
    "l_elbow l_shoulder, r_elbow r_shoulder,"
    "l_wrist l_elbow, r_wrist r_elbow, l_hip pelvis, r_hip pelvis, l_knee l_hip, r_knee r_hip, l_ankle "
    "l_knee, r_ankle r_knee,"
    "head_top neck, neck thorax, thorax spine, spine pelvis, pelvis pelvis, l_hand l_wrist, r_hand r_wrist, "
    "l_heel l_ankle, r_heel r_ankle,"
    "l_foot_index l_ankle, r_foot_index r_ankle",
)
# VNect's 21 joints in its order, which is that of its public weights (Mehta et al., SIGGRAPH 2017); its
# "head" is the face's middle, and a hand the knuckles.
VNECT21 = _skeleton(
    "vnect21",
    "head_top neck, neck pelvis, r_shoulder neck, r_elbow r_shoulder, r_wrist r_elbow, l_shoulder neck, "
    "l_elbow l_shoulder, l_wrist l_elbow, r_hip pelvis,"
    "r_knee r_hip, r_ankle r_knee, l_hip pelvis, l_knee l_hip, l_ankle l_knee, pelvis pelvis, spine pelvis, "
    "head neck, r_hand r_wrist, l_hand l_wrist,"
    "r_foot_index r_ankle, l_foot_index l_ankle",
)
# The first 15 of them are what MoVNect learns (Hwang et al., WACV 2020).
MOVNECT15 = Skeleton("movnect15", VNECT21.joints[:15], VNECT21.parents[:15])
# And the first 17 are those of MPI-INF-3DHP's test set (Mehta et al., 3DV 2017), by the same authors.
MPI3DHP17 = Skeleton("mpi3dhp17", VNECT21.joints[:17], VNECT21.parents[:17])
# The joints of our own networks: COCO's joints in COCO's order, LSP's neck and the top of the head.
BODY19 = Skeleton(
    "body19",
    (*COCO17.joints, "neck", "head_top"),
    (18, *COCO17.parents[1:5], 17, 17, *COCO17.parents[7:11], 17, 17, *COCO17.parents[13:17], 17, 17),
    (*(COCO17.sigmas or ()), 0.079, 0.079),  # the last two as CrowdPose has them
)
SKELETONS = {
    s.name: s
    for s in (
        BODY19,
        COCO17,
        MPII16,
        LSP14,
        CROWDPOSE14,
        H36M17,
        BLAZEPOSE33,
        SYNTH28,
        VNECT21,
        MOVNECT15,
        MPI3DHP17,
    )
}


def by_name(name: str) -> Skeleton:
    """The skeleton of this name; ValueError with the names there are."""
    if name not in SKELETONS:
        raise ValueError(f"there is no skeleton {name!r}; there are {', '.join(SKELETONS)}")
    return SKELETONS[name]
