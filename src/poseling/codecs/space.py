"""What the 3D codecs share: what labels and a teacher say of a joint in the image and in space becomes targets
together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor

from poseling.skeleton import Skeleton


class Space(ABC):
    """A 3D codec but for its layout of targets and outputs: with the person's own metres, and from another
    network only what its outputs decode to.
    """

    is_3d: ClassVar[bool] = True
    teacher_losses: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def _encode(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `encode_3d`."""

    def encode(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Joints (B, K, 2) in input pixels whose positions in space are unknown, to targets and weights as
        `encode_3d` gives them.
        """
        return self._encode(joints, weight, joints.new_zeros(*joints.shape[:2], 3), torch.zeros_like(weight))

    def encode_3d(
        self, joints: Tensor, weight: Tensor, xyz: Tensor, xyz_weight: Tensor, skeleton: Skeleton
    ) -> tuple[Tensor, Tensor]:
        """As `Codec3D.encode_3d`; the `skeleton` is not needed."""
        return self._encode(joints, weight, xyz, xyz_weight)

    def from_points(self, joints: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """A teacher's joints in the image alone, as targets and weights: as `encode`."""
        return self.encode(joints, weight)

    def from_teacher(
        self,
        joints: Tensor,
        weight: Tensor,
        xyz: Tensor,
        xyz_weight: Tensor,
        skeleton: Skeleton,
        maps: tuple[Tensor, Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `encode_3d`; the teacher's `maps` are not used, its joints are as exact."""
        return self.encode_3d(joints, weight, xyz, xyz_weight, skeleton)

    def from_outputs(self, theirs: object, outputs: Tensor, weight: Tensor) -> tuple[Tensor, Tensor] | None:
        """None: from another network's outputs only what they decode to is learnt."""
        return None

    def with_labels(self, targets: Tensor, weight: Tensor, labels: Tensor, labelled: Tensor) -> Tensor:
        """A teacher's targets as they are: labels do not change them."""
        return targets

    def true_size(self, xyz: Tensor, truth: Tensor, known: Tensor, skeleton: Skeleton) -> Tensor:
        """xyz as it is: outputs are each person's own metres."""
        return xyz

    def logits_loss(self) -> None:
        """None: there is none."""
        return None
