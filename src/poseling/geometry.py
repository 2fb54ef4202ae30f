"""Where things are: the one affine from a person's box to a network's input and back; and the similarity
from one body in space to another.

Pixel centres lie at whole numbers everywhere, so an image of width W spans -0.5 .. W - 0.5 and mirrors as x
-> W - 1 - x. Lengths scale by (W - 1), the unbiased convention of UDP (Huang et al., CVPR 2020): flipping and
resizing then commute exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels
Size = tuple[int, int]  # width, height in pixels
LINE = 1e-4  # metres: joints nearer than this to one line do not determine the rotation around it
PADDING = 1.25  # how much larger than the person's box a crop is, unless a network says otherwise


@dataclass(frozen=True, eq=False)
class Crop:
    """An affine `matrix` (2, 3) from image pixels to the pixels of an input of `size` (W, H).

    `flipped`: it mirrors, and the caller has to swap left and right joints.

    >>> crop = Crop.from_box((10, 20, 109, 119), size=(64, 64), padding=1.0)
    >>> crop.apply(np.array([[10.0, 20.0], [109.0, 119.0]])).round(6).tolist()
    [[0.0, 0.0], [63.0, 63.0]]
    >>> crop.invert(np.array([[31.5, 31.5]])).round(6).tolist()
    [[59.5, 69.5]]
    """

    matrix: NDArray[np.float64]
    size: Size
    flipped: bool = False

    @classmethod
    def from_box(
        cls,
        box: Box | NDArray[np.floating],
        size: Size,
        padding: float = PADDING,
        rotation: float = 0.0,
        scale: float = 1.0,
        shift: tuple[float, float] = (0.0, 0.0),
        flip: bool = False,
    ) -> Crop:
        """The crop around `box` times `padding`, grown to the input's shape.

        `rotation` in degrees turns the person clockwise, `scale` > 1 shows it larger, `shift` moves it by
        parts of the crop's width and height, `flip` mirrors it last. ValueError for a box without area or
        with numbers that are not finite.
        """
        rows = np.array([[float(v) for v in box]])
        matrix = cls.matrices(
            rows, size, padding, np.array([rotation]), np.array([scale]), np.array([shift]), np.array([flip])
        )
        return cls(matrix[0], size, flip)

    @staticmethod
    def matrices(
        boxes: NDArray[np.floating],
        size: Size,
        padding: float,
        rotation: NDArray[np.floating],
        scale: NDArray[np.floating],
        shift: NDArray[np.floating],
        flip: NDArray[np.bool_],
    ) -> NDArray[np.float64]:
        """The affines (B, 2, 3) of B crops, as `from_box` makes each: boxes (B, 4), rotation (B,), scale
        (B,), shift (B, 2), flip (B,).
        """
        corners = np.asarray(boxes, np.float64).reshape(-1, 2, 2)
        span = corners[:, 1] - corners[:, 0]
        bad = ~(np.isfinite(corners).all((1, 2)) & (span > 0).all(1))
        if bad.any():
            x0, y0, x1, y1 = corners[np.flatnonzero(bad)[0]].ravel()
            raise ValueError(
                f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}) has no area; boxes are x0, y0, x1, y1 in pixels with "
                f"x1 > x0 and y1 > y0"
            )
        last = np.array(size, np.float64) - 1
        # One scale for both axes: the box must fit, the other axis shows more of the image.
        zoom = scale / padding * (last / span).min(1)
        angle = np.deg2rad(rotation)
        cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
        turn = np.stack([cos, -sin, sin, cos], -1).reshape(-1, 2, 2)
        centre = last * (0.5 + shift) - (turn @ corners.mean(1)[..., None])[..., 0]
        matrix = np.concatenate([turn, centre[..., None]], 2)
        matrix[flip, 0] *= -1
        matrix[flip, 0, 2] += last[0]
        return matrix

    @classmethod
    def whole(cls, image_size: Size, size: Size) -> Crop:
        """The whole image (W, H), fitted into the input."""
        return cls.from_box(whole_box(image_size, 1.0), size, 1.0)

    @property
    def inverse(self) -> NDArray[np.float64]:
        """(2, 3) from input pixels back to image pixels."""
        (a, b, x), (c, d, y) = self.matrix.tolist()  # of two rows, many times as fast as np.linalg.inv
        area = a * d - b * c
        return np.array([[d, -b, b * y - d * x], [-c, a, c * x - a * y]]) / area

    def apply(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., 2) image pixels to input pixels. Left and right are not swapped here."""
        return affine(self.matrix, points)

    def invert(self, points: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., 2) input pixels to image pixels."""
        return affine(self.inverse, points)

    def turn(self, xyz: NDArray[np.floating]) -> NDArray[np.floating]:
        """(..., 3) metres from the root in camera axes, as the crop shows the person: turned in the plane and
        mirrored as it is, not scaled.

        Left and right are not swapped here. The crop is taken for an image of its own, its middle for the
        optical axis.
        """
        linear = self.matrix[:, :2]
        turned = np.array(xyz, dtype=xyz.dtype)
        turned[..., :2] = xyz[..., :2] @ (linear / np.sqrt(abs(np.linalg.det(linear)))).T
        return turned

    def warp(self, image: NDArray[np.uint8], out: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """(h, w, 3) image to (H, W, 3) input in one warp, into `out` if given; black where the image ends."""
        matrix = self.matrix
        (a, b, _), (c, d, _) = matrix.tolist()
        shrink = abs(a * d - b * c) ** -0.5
        if shrink > 2:
            image, matrix = self._averaged(image, shrink)
        return np.asarray(cv2.warpAffine(image, matrix, self.size, dst=out, flags=cv2.INTER_LINEAR), np.uint8)

    def _averaged(
        self, image: NDArray[np.uint8], shrink: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
        """An image (h, w, 3) that is sampled `shrink` (above 2) times as coarsely, with the mean of some pixels
        in the place of each, and the matrix from it to the input.

        Bilinear sampling skips pixels beyond a factor of two.
        """
        sides = image.shape[1], image.shape[0]
        factor = block(sides, shrink)
        most = [max(1, round(side / factor)) for side in sides]
        scale = [side / count for side, count in zip(sides, most, strict=True)]
        (x0, x1), (y0, y1) = [(0, count) for count in most]
        if not any(side % factor for side in sides):
            # Whole blocks do not depend on where the image is cut: only what the crop shows is averaged.
            (x0, x1), (y0, y1) = self._seen(factor, most)
            image = image[factor * y0 : factor * y1, factor * x0 : factor * x1]
        small = cv2.resize(image, (x1 - x0, y1 - y0), interpolation=cv2.INTER_AREA)
        # cv2.resize maps x to (x + 0.5) / f - 0.5.
        start = np.array([scale[0] * (x0 + 0.5) - 0.5, scale[1] * (y0 + 0.5) - 0.5])
        matrix = np.concatenate([self.matrix[:, :2] * scale, affine(self.matrix, start)[:, None]], 1)
        return np.asarray(small, np.uint8), matrix

    def _seen(self, factor: int, most: list[int]) -> list[tuple[int, int]]:
        """The blocks of `factor` pixels, of `most` in each row and column, that the crop needs: the first, and
        the one after the last, along x and y.
        """
        right, bottom = self.size[0] - 1, self.size[1] - 1
        out = []
        for (across, down, start), count in zip(self.inverse.tolist(), most, strict=True):
            low = start + min(0, across * right) + min(0, down * bottom)
            high = start + max(0, across * right) + max(0, down * bottom)
            first = min(max(math.floor((low + 0.5) / factor - 0.5) - 1, 0), count - 1)
            out.append((first, min(max(math.ceil((high + 0.5) / factor - 0.5) + 2, first + 1), count)))
        return out


def block(sides: Size, shrink: float) -> int:
    """How many pixels of an image of these sides (W, H), along each axis, are averaged to one before it is
    sampled `shrink` (above 2) times as coarsely: so many that less than two remain, of which the sides are
    multiples if there is such a number.

    >>> block((1280, 720), 3.5), block((1281, 720), 3.5)
    (2, 3)
    >>> block((300, 210), 4.9999999)
    5
    """
    shrink = round(shrink, 6)  # a matrix that shrinks five times says 4.9999999
    most = int(shrink)
    fitting = (f for f in range(most, math.ceil(shrink / 2) - 1, -1) if not any(side % f for side in sides))
    return next(fitting, most)


def affine(matrix: NDArray[np.floating], points: NDArray[np.floating]) -> NDArray[np.floating]:
    """A (2, 3) affine applied to (..., 2) points."""
    return np.asarray(points @ matrix[:, :2].T + matrix[:, 2])


def compose(outer: NDArray[np.floating], inner: NDArray[np.floating]) -> NDArray[np.float64]:
    """The (2, 3) affine that does `inner` first and `outer` after it."""
    bottom = np.array([[0.0, 0.0, 1.0]])
    return np.asarray(outer @ np.concatenate([inner, bottom]), np.float64)


def whole_box(image_size: Size, padding: float = PADDING) -> Box:
    """The box of the one person in an image (W, H) without an annotated box: its crop with this padding
    shows the image, and no black about it.

    Data give such a box for the usual padding, and so training and evaluation show a network of that padding
    what it is shown at work. Of people who fill LSP's images MoveNet Lightning finds 0.841 of the joints so
    and 0.776 where the image is padded again; where they fill half of it, 0.478 and 0.268
    (benchmarks/whole_frame.py).

    >>> whole_box((101, 51))
    (10.0, 5.0, 90.0, 45.0)
    """
    # An image may be one pixel wide, but no box has no width.
    width, height = (max(1, side - 1) for side in image_size)
    part = (1 - 1 / padding) / 2
    return (
        round(part * width, 6),
        round(part * height, 6),
        round(width - part * width, 6),
        round(height - part * height, 6),
    )


def scaled_box(box: NDArray[np.floating], factor: float) -> NDArray[np.float64]:
    """A box (4,) so many times as large about its own middle."""
    middle, half = (box[:2] + box[2:]) / 2, factor * (box[2:] - box[:2]) / 2
    return np.concatenate([middle - half, middle + half])


def joints_box(joints: NDArray[np.floating], visible: NDArray[np.generic]) -> NDArray[np.float32]:
    """(K, 2) joints and (K,) which of them count, to the box x0, y0, x1, y1 around them; NaN where none
    counts.
    """
    chosen = joints[np.asarray(visible, bool)]
    if not len(chosen):
        return np.full(4, np.nan, np.float32)
    return np.concatenate([chosen.min(0), chosen.max(0)]).astype(np.float32)


def person_size(boxes: NDArray[np.floating]) -> NDArray[np.float64]:
    """(...) the square root of the area of boxes (..., 4) x0, y0, x1, y1, at least a pixel."""
    return np.sqrt(np.clip(boxes[..., 2:] - boxes[..., :2], 1, None).astype(np.float64).prod(-1))


def iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, M) the intersection over union of boxes (N, 4) and (M, 4)."""
    a, b = np.asarray(first, np.float64)[:, None], np.asarray(second, np.float64)[None]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    shared = np.maximum(sides, 0).prod(-1)
    union = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def rotation_matrix(vector: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3) rotation vectors, axis times angle in radians, to (..., 3, 3) matrices (Rodrigues).

    >>> rotation_matrix(np.array([0, 0, np.pi / 2])).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    vector = np.asarray(vector, np.float64)
    angle = np.linalg.norm(vector, axis=-1)[..., None, None]
    x, y, z = np.moveaxis(vector, -1, 0)
    zero = np.zeros_like(x)
    cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).reshape(*vector.shape, 3)
    # numpy's sinc(t) is sin(pi t) / (pi t), which is also right at zero.
    return np.asarray(
        np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / (2 * np.pi)) ** 2 * (cross @ cross)
    )


def rotation_vector(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3, 3) rotation matrices to (..., 3) rotation vectors of at most half a turn.

    >>> rotation_vector(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])).round(6).tolist()
    [0.0, 0.0, 1.570796]
    """
    turn = quaternion(matrix)
    sine = np.linalg.norm(turn[..., 1:], axis=-1, keepdims=True)
    angle = 2 * np.arctan2(sine, turn[..., :1])
    return np.asarray(turn[..., 1:] * np.divide(angle, sine, out=np.zeros_like(sine), where=sine > 0))


def ray_rotation(pixels: NDArray[np.floating], camera: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3, 3) the shortest rotation of the optical axis to the ray through `pixels` (..., 2) of a pinhole
    `camera` (..., 4) fx fy cx cy.

    A network sees a person in a crop as if the camera looked straight at its middle. What it says of space
    is in the axes of such a camera; times this rotation at the crop's middle it is in the real one's
    (perspective correction: Mehta et al., 3DV 2017).

    >>> ray_rotation(np.array([150.0, 50.0]), np.array([100.0, 100.0, 50.0, 50.0])).round(3).tolist()
    [[0.707, 0.0, 0.707], [0.0, 1.0, 0.0], [-0.707, 0.0, 0.707]]
    """
    lens = np.asarray(camera, np.float64)
    x, y = np.moveaxis((np.asarray(pixels, np.float64) - lens[..., 2:]) / lens[..., :2], -1, 0)
    across = np.hypot(x, y)
    # About the axis (-y, x, 0) by the angle whose tangent is `across`.
    turn = np.divide(np.arctan(across), across, out=np.ones_like(across), where=across > 0)
    return rotation_matrix(np.stack([-y * turn, x * turn, np.zeros_like(turn)], -1))


def project(xyz: NDArray[np.floating], camera: NDArray[np.floating]) -> NDArray[np.float32]:
    """(..., 3) points in camera axes to (..., 2) pixels through a pinhole fx fy cx cy, computed in float64.

    >>> project(np.array([[0.5, -0.25, 2.0]]), np.array([100.0, 100.0, 63.5, 63.5])).tolist()
    [[88.5, 51.0]]
    """
    points, lens = xyz.astype(np.float64), np.asarray(camera, np.float64)
    return (points[..., :2] / points[..., 2:] * lens[:2] + lens[2:]).astype(np.float32)


def project_distorted(
    xyz: NDArray[np.floating],
    camera: NDArray[np.floating],
    radial: NDArray[np.floating],
    tangential: NDArray[np.floating],
) -> NDArray[np.float32]:
    """`project` through a lens that bends: `radial` (3,) for r^2, r^4 and r^6, `tangential` (2,), as
    Human3.6M's calibration has them.

    That calibration counts the tangential part that scales a point once, where Brown's model and OpenCV count
    it twice: 2 p1 x y + p2 (r^2 + 2 x^2) is here p1 x y + p2 (r^2 + x^2). Its labels are made this way
    (0.00003 pixels from them; with OpenCV's way up to 0.2).

    >>> project_distorted(np.array([[1.0, 0.0, 2.0]]), np.array([100.0, 100.0, 0.0, 0.0]), np.array([0.4, 0.0, 0.0]), np.zeros(2)).tolist()
    [[55.0, 0.0]]
    """
    points, lens = xyz.astype(np.float64), np.asarray(camera, np.float64)
    flat = points[..., :2] / points[..., 2:]
    squared = (flat**2).sum(-1, keepdims=True)
    scale = (
        1
        + squared * (radial[0] + squared * (radial[1] + squared * radial[2]))
        + flat @ tangential[::-1, None]
    )
    return ((flat * scale + squared * tangential[::-1]) * lens[:2] + lens[2:]).astype(np.float32)


def quaternion(matrix: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 3, 3) rotation matrices to (..., 4) unit quaternions in the order w x y z, w at least 0.

    >>> quaternion(np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])).round(6).tolist()
    [0.707107, 0.0, 0.0, 0.707107]
    """
    m = np.asarray(matrix, np.float64)
    # The quaternion times 4w, 4x, 4y and 4z, as in Shepperd, "Quaternion from rotation matrix" (1978): the
    # longest of the four is exact enough.
    four = (m.reshape(*m.shape[:-2], 9) @ _SHEPPERD).reshape(*m.shape[:-2], 4, 4) + np.eye(4)
    rows = four.reshape(-1, 4, 4)
    turn = rows[np.arange(len(rows)), rows.diagonal(axis1=1, axis2=2).argmax(1)].reshape(*four.shape[:-1])
    size = np.sqrt(np.square(turn).sum(-1, keepdims=True))
    return np.asarray(turn / np.where(turn[..., :1] < 0, -size, size))


_shepperd = np.zeros(
    (3, 3, 4, 4)
)  # what an entry of the matrix adds to 4 q_a q_b, for a, b of w x y z; where a is b there is 1 besides
for _i, _j, _k in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):
    _shepperd[_i, _i, range(4), range(4)] = [1, *(1 if axis == _i else -1 for axis in range(3))]
    _shepperd[_k, _j, [0, _i + 1], [_i + 1, 0]], _shepperd[_j, _k, [0, _i + 1], [_i + 1, 0]] = 1, -1
    _shepperd[[_j, _k], [_k, _j], _j + 1, _k + 1] = _shepperd[[_j, _k], [_k, _j], _k + 1, _j + 1] = 1
_SHEPPERD = _shepperd.reshape(9, 16)


def quaternion_matrix(turn: NDArray[np.floating]) -> NDArray[np.float64]:
    """(..., 4) quaternions w x y z of any length but zero to (..., 3, 3) rotation matrices.

    >>> quaternion_matrix(np.array([1.0, 0, 0, 1])).round(6).tolist()
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    """
    q = np.asarray(turn, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


@dataclass(frozen=True, eq=False)
class Similarity:
    """The best similarity of each person, `aligned` = scale * rotation @ predicted + translation.

    aligned (N, K, 3), scale (N,), rotation (N, 3, 3), translation (N, 3); NaN for a person whose joints do
    not fix a similarity.
    """

    aligned: NDArray[np.float64]
    scale: NDArray[np.float64]
    rotation: NDArray[np.float64]
    translation: NDArray[np.float64]


def procrustes(
    predicted: NDArray[np.floating], truth: NDArray[np.floating], known: NDArray[np.bool_]
) -> Similarity:
    """The similarity of each person with the least squared error over its known joints, reflections excluded
    (Umeyama, PAMI 1991, eq. 39 to 42).

    Joints that are unknown or predicted as NaN are not fitted; unknown ones are moved along, NaN ones stay
    NaN. A person with fewer than three joints left, or whose true joints lie on a line, is NaN. A prediction
    that is a single point is scaled by 0: it lies on the mean of the truth.
    """
    points = np.where(np.isfinite(predicted), predicted, np.nan).astype(np.float64)
    chosen = known & ~np.isnan(points).any(-1)
    weight = chosen / np.maximum(chosen.sum(1, keepdims=True), 1)
    middle_in, from_in = _centred(points, chosen, weight)
    middle_out, from_out = _centred(truth, chosen, weight)
    u, size, vt = np.linalg.svd(np.einsum("nk,nki,nkj->nij", weight, from_out, from_in))
    sign = np.ones_like(size)
    sign[:, 2] = np.where(np.linalg.det(u) * np.linalg.det(vt) < 0, -1, 1)
    rotation = (u * sign[:, None]) @ vt
    variance = np.einsum("nk,nki,nki->n", weight, from_in, from_in)
    # Below a hundredth of a micrometre it is rounding error.
    scale = np.divide((size * sign).sum(1), variance, out=np.zeros_like(variance), where=variance > 1e-16)
    turn = scale[:, None, None] * rotation
    # From the middle, so that a large scale does not magnify the rounding error of a distant prediction.
    aligned = (points - middle_in[:, None]) @ turn.swapaxes(1, 2) + middle_out[:, None]
    translation = middle_out - (turn @ middle_in[..., None])[..., 0]
    loose = ~fixes_rotation(truth, chosen)
    for part in (aligned, scale, rotation, translation):
        part[loose] = np.nan
    return Similarity(aligned, scale, rotation, translation)


def _centred(
    points: NDArray[np.floating], chosen: NDArray[np.bool_], weight: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The weighted middle (N, 3) of the chosen points, and all from it, (N, K, 3), 0 where not chosen."""
    there = np.where(chosen[..., None], points, 0).astype(np.float64)
    middle = np.einsum("nk,nki->ni", weight, there)
    return middle, np.where(chosen[..., None], there - middle[:, None], 0)


def fixes_rotation(truth: NDArray[np.floating], chosen: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(N,) whether the chosen joints fix a rotation: three at least, that do not lie on a line."""
    weight = chosen / np.maximum(chosen.sum(1, keepdims=True), 1)
    _, centred = _centred(truth, chosen, weight)
    spread = np.linalg.eigvalsh(np.einsum("nk,nki,nkj->nij", weight, centred, centred))
    return (chosen.sum(1) >= 3) & (spread[:, 1] > LINE**2)
