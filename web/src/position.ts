/** Where a person is before the camera: poseling.runtime.position. */

import { apply, exponential, type V3 } from "./math";

/** fx fy cx cy in pixels. */
export type Camera = [number, number, number, number];

/** The focal length of the longer side, as a lens of 36 mm has it on 35 mm film: right to about a fifth for phones and webcams. */
export function guessedCamera(width: number, height: number): Camera {
  const focal = Math.max(width, height);
  return [focal, focal, (width - 1) / 2, (height - 1) / 2];
}

/** The root in camera axes for joints from it that are seen at rays x / z, y / z; NaN where that cannot be known. */
export function position(xyz: V3[], rays: [number, number][], weight: number[]): V3 {
  const nowhere: V3 = [NaN, NaN, NaN];
  const used = xyz.map((_, i) => i).filter((i) => weight[i]! > 0);
  if (used.length < 2) return nowhere;
  let [total, su, sv, squares] = [0, 0, 0, 0];
  const wanted: V3 = [0, 0, 0];
  for (const i of used) {
    const w = weight[i]!;
    const [u, v] = rays[i]!;
    const [x, y, z] = xyz[i]!;
    const right = u * z - x;
    const down = v * z - y;
    total += w;
    su += w * u;
    sv += w * v;
    squares += w * (u * u + v * v);
    wanted[0] += w * right;
    wanted[1] += w * down;
    wanted[2] -= w * (u * right + v * down);
  }
  // Rows (t, 0, -su), (0, t, -sv), (-su, -sv, squares): the depth first, then the other two from it.
  const pivot = squares - (su * su + sv * sv) / total;
  if (!(pivot > 1e-12 * Math.max(total, squares))) return nowhere;
  const z = (wanted[2] + (su * wanted[0] + sv * wanted[1]) / total) / pivot;
  const nearest = Math.min(...used.map((i) => xyz[i]![2]));
  return z + nearest > 0 ? [(wanted[0] + su * z) / total, (wanted[1] + sv * z) / total, z] : nowhere;
}

/** Joints in the camera's axes of a person seen at xy, which a network says in those of a camera that looks straight at the person. */
export function faced(xyz: V3[], xy: [number, number][], score: number[], camera: Camera): V3[] {
  const used = xy.filter((_, i) => score[i]! > 0);
  if (!used.length) return xyz;
  const [fx, fy, cx, cy] = camera;
  const middle = (axis: 0 | 1): number => {
    const values = used.map((p) => p[axis]);
    return (Math.min(...values) + Math.max(...values)) / 2;
  };
  const [right, down] = [(middle(0) - cx) / fx, (middle(1) - cy) / fy];
  const across = Math.hypot(right, down);
  if (!(across > 0)) return xyz;
  const angle = Math.atan(across) / across;
  const turn = exponential([-down * angle, right * angle, 0]);
  return xyz.map((point) => apply(turn, point));
}
