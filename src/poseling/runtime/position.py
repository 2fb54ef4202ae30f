"""A person's position in front of the camera, in closed form, from root-relative xyz, xy and the camera."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from poseling.geometry import Size

Array = NDArray[np.float64]


def position(
    xyz: NDArray[np.floating],
    xy: NDArray[np.floating],
    weight: NDArray[np.floating],
    camera: NDArray[np.floating],
) -> Array:
    """The root (3,) in camera axes, in metres, for joints xyz (K, 3) in metres from it, seen at pixels xy (K,
    2) by a pinhole camera fx fy cx cy.

    Exact for exact joints: a joint at x + tx, z + tz is seen at u when (u - cx)(z + tz) = fx (x + tx), which
    is linear in t. The least squares over u and v of all joints, with `weight` (K,), are one small linear
    system. The result is metric if xyz and the camera are: a wrong focal length scales the distance. Noise in
    xy moves the person a little nearer. NaN where it is undetermined: fewer than two joints with a weight,
    all of them at one place, or a person behind the camera.

    >>> joints = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 1.0]])
    >>> pixels = np.array([[50.0, 50.0], [60.0, 50.0]])  # the second is 100 x 0.5 / 5 = 10 to the right
    >>> position(joints, pixels, np.ones(2), np.array([100.0, 100.0, 50.0, 50.0])).round(6).tolist()
    [0.0, 0.0, 4.0]
    """
    points, pixels, share, (focal, middle) = _prepared(xyz, xy, weight, camera)
    if len(points) < 2:
        return np.full(3, np.nan)
    rays = (pixels - middle) / focal  # x / z and y / z
    # Rows (1, 0, -u) t = u z - x and (0, 1, -v) t = v z - y: their normal equations written out.
    right = rays * points[:, 2:] - points[:, :2]
    total, (su, sv) = share.sum(), share @ rays
    normal = np.array([[total, 0, -su], [0, total, -sv], [-su, -sv, share @ (rays**2).sum(-1)]])
    wanted = np.array([*(share @ right), -share @ (rays * right).sum(-1)])
    if np.linalg.cond(normal) > 1e12:
        return np.full(3, np.nan)
    place = np.linalg.solve(normal, wanted)
    return place if place[2] + points[:, 2].min() > 0 else np.full(3, np.nan)


def weak_position(
    xyz: NDArray[np.floating],
    xy: NDArray[np.floating],
    weight: NDArray[np.floating],
    camera: NDArray[np.floating],
) -> Array:
    """The same by weak perspective, as if all joints were at the same depth: only the ratio of sizes in 3D
    and 2D counts.

    Mehta et al., 3DV 2017: depth = f sqrt(sum |P - mean P|^2) / sqrt(sum |K - mean K|^2) over x and y.
    Inaccurate for a person near the camera, but robust to joints that do not agree in detail. MoVNect's
    formula from the box (WACV 2020, sec. 3.3) was not available; it is similar. NaN as above.
    """
    points, pixels, share, (focal, middle) = _prepared(xyz, xy, weight, camera)
    if len(points) < 2:
        return np.full(3, np.nan)
    share = share / share.sum()
    rays = (pixels - middle) / focal
    spread = [np.sqrt(share @ ((a - share @ a) ** 2).sum(-1)) for a in (points[:, :2], rays)]
    if not spread[1] > 1e-9:
        return np.full(3, np.nan)
    depth = spread[0] / spread[1]  # of the joints' middle
    return np.array([*(depth * (share @ rays) - share @ points[:, :2]), depth - share @ points[:, 2]])


def guessed_camera(image_size: Size) -> Array:
    """fx fy cx cy for an image (W, H) from an unknown camera: its longer side as the focal length, as of a 36
    mm lens on 35 mm film, and its centre.

    Phones and webcams are within about a fifth of that, and so is the person's distance. A cropped image can
    be anything.

    >>> guessed_camera((1920, 1080)).tolist()
    [1920.0, 1920.0, 959.5, 539.5]
    """
    width, height = image_size
    return np.array([max(width, height), max(width, height), (width - 1) / 2, (height - 1) / 2], np.float64)


def _prepared(
    xyz: NDArray[np.floating],
    xy: NDArray[np.floating],
    weight: NDArray[np.floating],
    camera: NDArray[np.floating],
) -> tuple[Array, Array, Array, tuple[Array, Array]]:
    """The joints that have a finite place and a weight, and the camera's focal lengths and middle; ValueError
    for a camera that is none.
    """
    lens = np.asarray(camera, np.float64)
    if lens.shape != (4,) or not np.isfinite(lens).all() or (lens[:2] <= 0).any():
        raise ValueError(
            f"camera {lens.tolist()} is not a camera; give fx fy cx cy in pixels, with focal lengths above 0"
        )
    use = np.isfinite(xyz).all(-1) & np.isfinite(xy).all(-1) & (np.nan_to_num(weight) > 0)
    return (
        np.asarray(xyz[use], np.float64),
        np.asarray(xy[use], np.float64),
        np.asarray(weight[use], np.float64),
        (lens[:2], lens[2:]),
    )
