"""What training does to an image before the student sees it: one spatial warp on the CPU, light and colour in
batches on the device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from poseling.geometry import Crop, Size, joints_box
from poseling.skeleton import Skeleton

GREY = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)
LOWER = ("pelvis", "hip", "knee", "ankle", "heel", "foot")  # what half-body augmentation calls the lower half


@dataclass(frozen=True)
class Augment:
    """How far training strays from the canonical crop. The defaults are FPD's for hourglasses (its MPII
    configuration), without half bodies and occlusion.

    scale: standard deviation, and bound, of the zoom about 1; rotation: standard deviation in degrees,
    bounded at twice that, in 60 % of samples; flip, half_body, occlusion: probabilities; color_jitter: bound
    of the change of brightness, contrast and saturation (see the function of that name), 0 for none; shift:
    bound of how far the person is moved, in parts of the crop's sides.
    """

    scale: float = 0.25
    rotation: float = 30.0
    flip: float = 0.5
    half_body: float = 0.0
    occlusion: float = 0.0
    color_jitter: float = 0.0
    shift: float = 0.0

    def none(self) -> Augment:
        """The canonical crop as it is."""
        return replace(
            self, scale=0.0, rotation=0.0, flip=0.0, half_body=0.0, occlusion=0.0, color_jitter=0.0, shift=0.0
        )

    def crop(
        self,
        box: NDArray[np.floating],
        joints: NDArray[np.floating],
        visible: NDArray[np.integer],
        skeleton: Skeleton,
        size: Size,
        padding: float,
        random: np.random.Generator,
    ) -> Crop:
        """One random crop around a person's box, or around half of the person."""
        # Every number but the shift, which came later, is drawn whether used or not, so that one setting does
        # not change the draws of the next.
        zoom = float(np.clip(random.normal(1, self.scale), 1 - self.scale, 1 + self.scale))
        turn = float(np.clip(random.normal(0, self.rotation), -2 * self.rotation, 2 * self.rotation)) * (
            random.random() < 0.6
        )
        flip, half, upper = (
            random.random() < self.flip,
            random.random() < self.half_body,
            random.random() < 0.5,
        )
        if half:
            box = _half(box, joints, visible, skeleton, bool(upper))
        x, y = random.uniform(-self.shift, self.shift, 2).tolist() if self.shift else (0.0, 0.0)
        return Crop.from_box(box, size, padding, rotation=turn, scale=zoom, shift=(x, y), flip=bool(flip))

    def matrices(
        self, boxes: NDArray[np.floating], size: Size, padding: float, random: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Random crops around boxes (B, 4), all at once: affines (B, 2, 3) from image to input pixels, and
        whether each mirrors (B,). No half bodies.
        """
        count = len(boxes)
        zoom = random.normal(1, self.scale, count).clip(1 - self.scale, 1 + self.scale)
        turn = random.normal(0, self.rotation, count).clip(-2 * self.rotation, 2 * self.rotation) * (
            random.random(count) < 0.6
        )
        flip, shift = random.random(count) < self.flip, random.uniform(-self.shift, self.shift, (count, 2))
        return Crop.matrices(boxes, size, padding, turn, zoom, shift, flip), flip

    def occlude(
        self,
        crop: NDArray[np.uint8],
        joints: NDArray[np.floating],
        visible: NDArray[np.integer],
        random: np.random.Generator,
    ) -> None:
        """Covers one joint of the crop (H, W, 3) with a rectangle of one colour, in place."""
        hidden, colour = random.random() < self.occlusion, random.integers(0, 256, 3)
        reach = random.uniform(0.04, 0.12, 2) * crop.shape[1::-1]
        where = random.random()
        if not hidden or not visible.any():
            return
        shown = joints[visible > 0]
        low, high = shown[int(where * len(shown))] - reach, shown[int(where * len(shown))] + reach
        (x0, y0), (x1, y1) = np.maximum(low, 0).astype(int), np.maximum(high, 0).astype(int)
        crop[y0:y1, x0:x1] = colour

    def factors(self, random: np.random.Generator) -> NDArray[np.float32]:
        """(3,) factors of brightness, contrast and saturation for `color_jitter`; 1 changes nothing."""
        return random.uniform(1 - self.color_jitter, 1 + self.color_jitter, 3).astype(np.float32)


def color_jitter(images: Tensor, factors: Tensor) -> Tensor:
    """(B, 3, H, W) RGB of 0..255, uint8 or float, as floats, with the brightness, contrast and saturation of
    each changed by its factors (B, 3).

    As kornia has them, each clipped to 0..255: a brightness of b adds 255 (b - 1), a contrast of c multiplies
    by c, a saturation of s gives s x + (1 - s) grey.

    >>> import torch
    >>> image = torch.tensor([100.0, 50.0, 0.0]).view(1, 3, 1, 1)
    >>> color_jitter(image, torch.tensor([[1.5, 0.5, 1.0]])).flatten().tolist()  # (x + 127.5) / 2
    [113.75, 88.75, 63.75]
    """
    brightness, contrast, saturation = factors[:, :, None, None, None].unbind(1)
    images = (images + 255 * (brightness - 1)).clamp(0, 255)
    images = (images * contrast).clamp(0, 255)
    grey = (images * images.new_tensor(GREY).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (saturation * images + (1 - saturation) * grey).clamp(0, 255)


def _half(
    box: NDArray[np.floating],
    joints: NDArray[np.floating],
    visible: NDArray[np.integer],
    skeleton: Skeleton,
    upper: bool,
) -> NDArray[np.floating]:
    """The box around the upper or the lower half, half as large again, if enough of the person is labelled;
    else the box itself (after HRNet's rule).
    """
    is_lower = np.array([any(part in name for part in LOWER) for name in skeleton.joints])
    chosen = (visible > 0) & (is_lower != upper)
    if (visible > 0).sum() <= 8 or chosen.sum() < 3:
        return box
    half = joints_box(joints, chosen)
    grow = 0.25 * (half[2:] - half[:2])
    half = np.concatenate([half[:2] - grow, half[2:] + grow])
    return half if ((half[2:] - half[:2]) > 1).all() else box
