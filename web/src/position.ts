/** Where a person is before the camera: poseling.runtime.position. */

import { bounds } from "./crop";
import { type V3, apply, exponential } from "./math";

/** fx fy cx cy in pixels. */
export type Camera = [number, number, number, number];

/** The focal length of the longer side, as a lens of 36 mm has it on 35 mm film: right to about a fifth for phones and webcams. */
export function guessedCamera(width: number, height: number): Camera {
  const focal = Math.max(width, height);
  return [focal, focal, (width - 1) / 2, (height - 1) / 2];
}

/** Joints as a network says them, in the axes of a camera that looks straight at the person, in those of the real one: poseling.runtime.pipeline's `faced`. */
export function faced(xyz: V3[], xy: [number, number][], score: number[], camera: Camera): V3[] {
  const seen = score.map((s) => s > 0);
  if (!seen.some(Boolean)) return xyz;
  const [x0, y0, x1, y1] = bounds(xy, seen);
  const [x, y] = [((x0 + x1) / 2 - camera[2]) / camera[0], ((y0 + y1) / 2 - camera[3]) / camera[1]];
  const across = Math.hypot(x, y);
  const turn = across > 0 ? Math.atan(across) / across : 1;
  const ray = exponential([-y * turn, x * turn, 0]);
  return xyz.map((p) => apply(ray, p));
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
