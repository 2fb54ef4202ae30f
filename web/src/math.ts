/** Vectors of three, matrices of nine by rows, quaternions w x y z: plain arrays, since there are few of them. */

export type V3 = [number, number, number];
export type M3 = [number, number, number, number, number, number, number, number, number];
export type Q = [number, number, number, number];

export const EYE: M3 = [1, 0, 0, 0, 1, 0, 0, 0, 1];
export const RADIAN = Math.PI / 180;

export const add = (a: V3, b: V3): V3 => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const subtract = (a: V3, b: V3): V3 => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const scale = (a: V3, k: number): V3 => [a[0] * k, a[1] * k, a[2] * k];
export const dot = (a: V3, b: V3): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const norm = (a: V3): number => Math.sqrt(dot(a, a));
export const cross = (a: V3, b: V3): V3 => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

export const clamp = (x: number, low: number, high: number): number => Math.min(Math.max(x, low), high);

export function apply(m: M3, v: V3): V3 {
  return [
    m[0] * v[0] + m[1] * v[1] + m[2] * v[2],
    m[3] * v[0] + m[4] * v[1] + m[5] * v[2],
    m[6] * v[0] + m[7] * v[1] + m[8] * v[2],
  ];
}

/** The transpose times v: for a rotation, the way back. */
export function applyBack(m: M3, v: V3): V3 {
  return [
    m[0] * v[0] + m[3] * v[1] + m[6] * v[2],
    m[1] * v[0] + m[4] * v[1] + m[7] * v[2],
    m[2] * v[0] + m[5] * v[1] + m[8] * v[2],
  ];
}

export function times(a: M3, b: M3): M3 {
  const out = new Array<number>(9);
  for (let i = 0; i < 3; i++) {
    for (let j = 0; j < 3; j++) {
      out[3 * i + j] = a[3 * i]! * b[j]! + a[3 * i + 1]! * b[3 + j]! + a[3 * i + 2]! * b[6 + j]!;
    }
  }
  return out as M3;
}

export const transpose = (m: M3): M3 => [m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8]];
export const column = (m: M3, j: number): V3 => [m[j]!, m[3 + j]!, m[6 + j]!];
export const columns = (x: V3, y: V3, z: V3): M3 => [x[0], y[0], z[0], x[1], y[1], z[1], x[2], y[2], z[2]];

/** Rotation vectors, axis times angle, to matrices (Rodrigues); with the left Jacobian of the exponential map where it is asked for. */
export function exponential(v: V3): M3 {
  return exponentials(v)[0];
}

export function exponentials(v: V3): [M3, M3] {
  // A turn of less than 1e-4 has an error of less than 1e-12.
  const square = Math.max(dot(v, v), 1e-8);
  const turn = Math.sqrt(square);
  const sine = Math.sin(turn) / turn;
  const rest = (1 - Math.cos(turn)) / square;
  const slope = (1 - sine) / square;
  const k: M3 = [0, -v[2], v[1], v[2], 0, -v[0], -v[1], v[0], 0];
  const kk = times(k, k);
  const rotation = EYE.map((e, i) => e + sine * k[i]! + rest * kk[i]!) as M3;
  const left = EYE.map((e, i) => e + rest * k[i]! + slope * kk[i]!) as M3;
  return [rotation, left];
}

/** A rotation matrix as a quaternion with w at least 0 (Shepperd, 1978). */
export function quaternion(m: M3): Q {
  const [a, b, c, d, e, f, g, h, i] = m;
  const four: Q[] = [
    [1 + a + e + i, h - f, c - g, d - b],
    [h - f, 1 + a - e - i, b + d, c + g],
    [c - g, b + d, 1 - a + e - i, f + h],
    [d - b, c + g, f + h, 1 - a - e + i],
  ];
  let best = 0;
  for (let row = 1; row < 4; row++) if (four[row]![row]! > four[best]![best]!) best = row;
  const q = four[best]!;
  const size = Math.hypot(...q) * (q[0] < 0 ? -1 : 1);
  return q.map((x) => x / size) as Q;
}

export function matrix(q: Q): M3 {
  const size = Math.hypot(...q);
  const [w, x, y, z] = q.map((v) => v / size) as Q;
  return [
    1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
    2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
    2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
  ];
}

/** The turn `b`, and then `a`. */
export function multiply(a: Q, b: Q): Q {
  return [
    a[0] * b[0] - a[1] * b[1] - a[2] * b[2] - a[3] * b[3],
    a[0] * b[1] + a[1] * b[0] + a[2] * b[3] - a[3] * b[2],
    a[0] * b[2] - a[1] * b[3] + a[2] * b[0] + a[3] * b[1],
    a[0] * b[3] + a[1] * b[2] - a[2] * b[1] + a[3] * b[0],
  ];
}

export const inverse = (q: Q): Q => [q[0], -q[1], -q[2], -q[3]];

export function rotate(q: Q, v: V3): V3 {
  const u: V3 = [q[1], q[2], q[3]];
  const twice = scale(cross(u, v), 2);
  return add(add(v, scale(twice, q[0])), cross(u, twice));
}

/** The smallest turn that leads one vector's direction to the other's; half a turn about an axis across where they are opposite. */
export function between(first: V3, second: V3): Q {
  const a = scale(first, 1 / norm(first));
  const b = scale(second, 1 / norm(second));
  if (dot(a, b) < -1 + 1e-9) {
    const across = cross(a, Math.abs(a[0]) < 0.9 ? [1, 0, 0] : [0, 1, 0]);
    return [0, ...scale(across, 1 / norm(across))];
  }
  const q: Q = [1 + dot(a, b), ...cross(a, b)];
  const size = Math.hypot(...q);
  return q.map((x) => x / size) as Q;
}

/** So much of a turn, about the same axis: 0 is none of it, 1 all. */
export function part(turn: Q, share: number): Q {
  const q = turn[0] < 0 ? (turn.map((x) => -x) as Q) : turn;
  const sine = Math.hypot(q[1], q[2], q[3]);
  if (sine < 1e-12) return [1, 0, 0, 0];
  const angle = Math.atan2(sine, q[0]) * share;
  const k = Math.sin(angle) / sine;
  return [Math.cos(angle), q[1] * k, q[2] * k, q[3] * k];
}

/** x of a x = b for a symmetric positive definite matrix of n rows, which is overwritten (Cholesky). */
export function solve(a: Float64Array, b: Float64Array, n: number): Float64Array {
  for (let j = 0; j < n; j++) {
    for (let k = 0; k < j; k++) {
      const f = a[j * n + k]!;
      for (let i = j; i < n; i++) a[i * n + j]! -= f * a[i * n + k]!;
    }
    const root = Math.sqrt(Math.max(a[j * n + j]!, 1e-300));
    for (let i = j; i < n; i++) a[i * n + j]! /= root;
  }
  const x = Float64Array.from(b);
  for (let i = 0; i < n; i++) {
    for (let k = 0; k < i; k++) x[i]! -= a[i * n + k]! * x[k]!;
    x[i]! /= a[i * n + i]!;
  }
  for (let i = n - 1; i >= 0; i--) {
    for (let k = i + 1; k < n; k++) x[i]! -= a[k * n + i]! * x[k]!;
    x[i]! /= a[i * n + i]!;
  }
  return x;
}

export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return (sorted[(sorted.length - 1) >> 1]! + sorted[sorted.length >> 1]!) / 2;
}
