/** A body of constant bones: poseling.runtime.kinematics in TypeScript, of which docs/kinematics.md tells. The golden vectors hold that both say the same. */

import {
  type M3, type Q, type V3, EYE, RADIAN, add, apply, applyBack, clamp, column, columns, cross, dot, exponential, exponentials, matrix, norm, scale,
  subtract, times, transpose,
} from "./math";
import { MOVNECT15 } from "./skeleton";

export const PARENTS: Record<string, string> = {
  pelvis: "", spine: "pelvis", left_hip: "pelvis", right_hip: "pelvis", neck: "spine", left_collar: "spine", right_collar: "spine",
  left_knee: "left_hip", right_knee: "right_hip", left_shoulder: "left_collar", right_shoulder: "right_collar", left_elbow: "left_shoulder",
  right_elbow: "right_shoulder",
};
export const JOINTS = Object.keys(PARENTS);
export const TURNS = JOINTS.slice(1);
/** Shares of the stature, after Drillis & Contini (1966). */
export const SHARES: Record<string, number> = {
  trunk: 0.288, head: 0.182, shoulder: 0.129, upper_arm: 0.186, forearm: 0.146, hip: 0.05, thigh: 0.245, shin: 0.246,
};
export const BONES = Object.keys(SHARES);
const ANKLE = 0.039;

interface Limit {
  bone: "x" | "y" | "z";
  range: [[number, number], [number, number], [number, number]];
  centre?: V3;
}

/** Degrees of the left side; the right one mirrors it. */
const LIMITS: Record<string, Limit> = {
  spine: { bone: "y", range: [[-45, 95], [-55, 55], [-45, 45]] },
  neck: { bone: "y", range: [[-65, 70], [0, 0], [-50, 50]] },
  collar: { bone: "x", range: [[0, 0], [-40, 40], [-40, 45]] },
  shoulder: { bone: "x", range: [[-130, 90], [-100, 95], [-105, 115]], centre: [0, -45, -17] },
  elbow: { bone: "x", range: [[0, 0], [-155, 10], [-10, 10]] },
  hip: { bone: "y", range: [[-140, 45], [-60, 60], [-35, 75]] },
  knee: { bone: "y", range: [[-10, 155], [0, 0], [-8, 8]] },
};

/** For each bone's point: the point it starts from, the joint that carries it, its direction at rest, its length. */
const TREE: Record<string, [string, string, V3, string]> = {
  neck: ["pelvis", "spine", [0, 1, 0], "trunk"],
  head_top: ["neck", "neck", [0, 1, 0], "head"],
  shoulder: ["neck", "collar", [1, 0, 0], "shoulder"],
  elbow: ["shoulder", "shoulder", [1, 0, 0], "upper_arm"],
  wrist: ["elbow", "elbow", [1, 0, 0], "forearm"],
  hip: ["pelvis", "pelvis", [1, 0, 0], "hip"],
  knee: ["hip", "hip", [0, -1, 0], "thigh"],
  ankle: ["knee", "knee", [0, -1, 0], "shin"],
};

const points = MOVNECT15 as readonly string[];
export const PELVIS = points.indexOf("pelvis");
const suffix = (joint: string): string => joint.slice(joint.indexOf("_") + 1);
const isRight = (joint: string): boolean => joint.startsWith("right_");

interface Bone {
  end: number;
  start: number;
  carrier: number;
  way: V3;
  length: number;
}

/** The fourteen bones, in the order of the points at their ends. */
export const BODY_BONES: Bone[] = points.flatMap((point, end) => {
  const side = point in TREE ? "" : point.slice(0, point.indexOf("_"));
  const found = TREE[side ? suffix(point) : point];
  if (!found) return [];
  const [start, carrier, way, length] = found;
  const sided = (name: string, names: readonly string[]): number => names.indexOf(names.includes(name) ? name : `${side}_${name}`);
  const sign = side === "right" ? -1 : 1;
  return [{ end, start: sided(start, points), carrier: sided(carrier, JOINTS), way: [sign * way[0], way[1], way[2]] as V3, length: BONES.indexOf(length) }];
});
const BONE_TO = new Map(BODY_BONES.map((bone) => [bone.end, bone]));
/** The bones from the pelvis outward: each starts where another ended. */
const OUTWARD = [...BODY_BONES].sort((a, b) => depth(a) - depth(b));

function depth(bone: Bone): number {
  let steps = 0;
  for (let at = bone.start; at !== PELVIS; at = BONE_TO.get(at)!.start) steps++;
  return steps;
}

export const PARENT = TURNS.map((joint) => JOINTS.indexOf(PARENTS[joint]!));
const SEAT = TURNS.map((_, j) => BODY_BONES.find((bone) => bone.carrier === j + 1)!.start);
const below = (joint: number, above: number): boolean => joint === above || (joint > 0 && below(PARENT[joint - 1]!, above));
/** Which points a joint moves. */
const MOVES = TURNS.map((_, j) =>
  points.map((_, point) => {
    for (let at = point; at !== PELVIS; ) {
      const bone = BONE_TO.get(at)!;
      if (below(bone.carrier, j + 1)) return true;
      at = bone.start;
    }
    return false;
  }),
);

const limits = TURNS.map((joint) => LIMITS[suffix(joint)] ?? LIMITS[joint]!);
/** (12, 3) radians, flat. */
export const LOW = limits.flatMap((limit, j) => limit.range.map((r, axis) => (isRight(TURNS[j]!) && axis ? -r[1] : r[0]) * RADIAN));
export const HIGH = limits.flatMap((limit, j) => limit.range.map((r, axis) => (isRight(TURNS[j]!) && axis ? -r[0] : r[1]) * RADIAN));
const TWIST = limits.flatMap((limit) => ["x", "y", "z"].map((axis) => (limit.bone === axis ? 1 : 0)));
const CENTRE = limits.map((limit, j) => {
  const [x, y, z] = limit.centre ?? [0, 0, 0];
  const sign = isRight(TURNS[j]!) ? -1 : 1;
  return exponential([x * RADIAN, sign * y * RADIAN, sign * z * RADIAN]);
});
/** Which of the 36 turns there are. */
export const FREE = LOW.flatMap((low, i) => (low < HIGH[i]! ? [i] : []));
export const UNKNOWNS = 3 + FREE.length + 3;

const three = (turns: ArrayLike<number>, j: number): V3 => [turns[3 * j]!, turns[3 * j + 1]!, turns[3 * j + 2]!];
const swingOf = (turns: ArrayLike<number>, j: number): V3 => three(turns, j).map((v, i) => v * (1 - TWIST[3 * j + i]!)) as V3;
const twistOf = (turns: ArrayLike<number>, j: number): V3 => three(turns, j).map((v, i) => v * TWIST[3 * j + i]!) as V3;

export class Body {
  private constructor(
    readonly root: M3,
    /** (36) radians, as LIMITS counts them. */
    readonly turns: number[],
    /** (15) metres from the pelvis. */
    readonly points: V3[],
    readonly local: M3[],
    readonly whole: M3[],
    private readonly left: M3[],
  ) {}

  /** Forward kinematics; `more` turns the root on, about the axes that it leads to. */
  static turned(root: M3, turns: number[], lengths: number[], more?: V3): Body {
    const left: M3[] = [];
    const local: M3[] = [more ? times(exponential(more), root) : root];
    for (let j = 0; j < TURNS.length; j++) {
      const [swing, slope] = exponentials(swingOf(turns, j));
      left.push(slope);
      local.push(times(times(CENTRE[j]!, swing), exponential(twistOf(turns, j))));
    }
    const whole: M3[] = [local[0]!];
    for (let j = 0; j < TURNS.length; j++) whole.push(times(whole[PARENT[j]!]!, local[j + 1]!));
    return new Body(local[0]!, turns, pointsOf(whole, lengths), local, whole, left);
  }

  /** The body after a step in what `jacobian` says, its turns cut to the limits. */
  moved(step: ArrayLike<number>, lengths: number[]): Body {
    const turns = [...this.turns];
    FREE.forEach((f, i) => (turns[f] = clamp(turns[f]! + step[3 + i]!, LOW[f]!, HIGH[f]!)));
    return Body.turned(this.root, turns, lengths, [step[0]!, step[1]!, step[2]!]);
  }

  sized(lengths: number[]): Body {
    return new Body(this.root, this.turns, pointsOf(this.whole, lengths), this.local, this.whole, this.left);
  }

  /** (32)(15) how the points move with a turn of the pelvis about the three axes, and then with each of the turns that are FREE. */
  jacobian(): V3[][] {
    const rows: V3[][] = [];
    for (let axis = 0; axis < 3; axis++) rows.push(this.points.map((p) => cross(column(EYE, axis), p)));
    const above = TURNS.map((_, j) => times(times(this.whole[PARENT[j]!]!, CENTRE[j]!), this.left[j]!));
    for (const f of FREE) {
      const j = Math.floor(f / 3);
      const axis = column(TWIST[f] ? this.whole[j + 1]! : above[j]!, f % 3);
      const seat = this.points[SEAT[j]!]!;
      rows.push(this.points.map((p, k) => (MOVES[j]![k] ? cross(axis, subtract(p, seat)) : [0, 0, 0])));
    }
    return rows;
  }
}

function pointsOf(whole: M3[], lengths: number[]): V3[] {
  const found: V3[] = points.map(() => [0, 0, 0]);
  for (const bone of OUTWARD) found[bone.end] = add(found[bone.start]!, apply(whole[bone.carrier]!, scale(bone.way, lengths[bone.length]!)));
  return found;
}

/** (15) the points in metres from the pelvis of turns (13) w x y z relative to the parents. */
export function forward(rotations: Q[], lengths: number[]): V3[] {
  const whole: M3[] = [];
  rotations.forEach((q, j) => whole.push(j ? times(whole[PARENT[j - 1]!]!, matrix(q)) : matrix(q)));
  return pointsOf(whole, lengths);
}

/** How high the lowest joint is over the pelvis: below 0 for who stands. */
export function lowest(rotations: Q[], lengths: number[]): number {
  return Math.min(...forward(rotations, lengths).map((point) => point[1]));
}

export function stature(lengths: number[]): number {
  return ["shin", "thigh", "trunk", "head"].reduce((sum, bone) => sum + lengths[BONES.indexOf(bone)]!, 0) / (1 - ANKLE);
}

/** (14) the bones' lengths in points, NaN where an end is not known. */
export function measure(xyz: V3[], known: boolean[]): number[] {
  return BODY_BONES.map((b) => (known[b.end] && known[b.start] ? norm(subtract(xyz[b.end]!, xyz[b.start]!)) : NaN));
}

const LIMBS = ["left_hip", "right_hip", "left_shoulder", "right_shoulder"].map((joint) => {
  const other = (hip: string, shoulder: string): string => joint.replace("hip", hip).replace("shoulder", shoulder);
  const leg = joint.endsWith("hip");
  const upper = TURNS.indexOf(joint);
  const bend: V3 = leg ? [0, 0, -1] : [0, 0, 1];
  return {
    upper,
    hinge: TURNS.indexOf(other("knee", "elbow")),
    points: [joint, other("knee", "elbow"), other("ankle", "wrist")].map((p) => points.indexOf(p)) as V3,
    bend,
    aside: cross(three(TWIST, upper), bend),
  };
});
const BRANCHES = ([["neck", "head_top"], ["left_collar", "left_shoulder"], ["right_collar", "right_shoulder"]] as const).map(([joint, end]) => ({
  joint: TURNS.indexOf(joint),
  end: points.indexOf(end),
}));
const NECK = points.indexOf("neck");
const HIPS = [points.indexOf("left_hip"), points.indexOf("right_hip")] as const;
const SHOULDERS = [points.indexOf("left_shoulder"), points.indexOf("right_shoulder")] as const;
const BONE_WAY = TURNS.map((_, j) => BODY_BONES.find((bone) => bone.carrier === j + 1)!.way);
const STRAIGHT = Math.sin(18 * RADIAN);

/** The pelvis' rotation and the turns within limits for points from the pelvis; as kinematics.closed_form in Python. */
export function closedForm(xyz: V3[], seen: boolean[], oldRoot: M3, oldTurns: number[]): [M3, number[]] {
  const known = seen.map((k, i) => k || i === PELVIS);
  const both = (pair: readonly [number, number]): boolean => known[pair[0]]! && known[pair[1]]!;
  const line = (pair: readonly [number, number]): V3 => subtract(xyz[pair[0]]!, xyz[pair[1]]!);
  let root = oldRoot;
  const across = both(HIPS) ? line(HIPS) : both(SHOULDERS) ? line(SHOULDERS) : column(root, 0);
  const trunk = known[NECK] ? subtract(xyz[NECK]!, xyz[PELVIS]!) : column(root, 1);
  const turned = frame(across, trunk, 0);
  if (turned) root = known[NECK] ? times(turned, exponential([-oldTurns[0]!, 0, 0])) : turned;
  const turns = [...oldTurns];
  const set = (j: number, v: V3): void => v.forEach((x, i) => (turns[3 * j + i] = clamp(x, LOW[3 * j + i]!, HIGH[3 * j + i]!)));
  let spine = three(turns, 0);
  if (known[NECK]) {
    const chest = frame(both(SHOULDERS) ? line(SHOULDERS) : column(root, 0), trunk, 1);
    if (chest) {
      const local = times(transpose(root), chest);
      const swing = smallest(column(local, 1), 0);
      const rest = times(exponential(scale(swing, -1)), local);
      spine = [swing[0], swing[1] + Math.atan2(rest[2], rest[0]), swing[2]];
    }
  }
  set(0, spine);
  const chest = times(root, localOf(turns, 0));
  for (const { joint, end } of BRANCHES) {
    const ok = known[NECK] && known[end];
    set(joint, ok ? smallest(applyBack(chest, subtract(xyz[end]!, xyz[NECK]!)), joint) : three(turns, joint));
  }
  for (const limb of LIMBS) {
    const { upper, hinge } = limb;
    const [start, middle, end] = limb.points;
    let above = times(PARENT[upper]! === 0 ? root : times(chest, localOf(turns, PARENT[upper]! - 1)), CENTRE[upper]!);
    const ok = known[start] && known[middle];
    const raw = ok ? smallest(applyBack(above, subtract(xyz[middle]!, xyz[start]!)), upper) : swingOf(turns, upper);
    const swing = raw.map((v, i) => clamp(v, LOW[3 * upper + i]!, HIGH[3 * upper + i]!)) as V3;
    above = times(above, exponential(swing));
    let lower = applyBack(above, subtract(xyz[end]!, xyz[middle]!));
    const along = dot(lower, limb.bend);
    const aside = dot(lower, limb.aside);
    const low = known[middle] && known[end];
    const bent = ok && low && along ** 2 + aside ** 2 > STRAIGHT ** 2 * dot(lower, lower);
    const bone = three(TWIST, upper);
    const twist = bent ? scale(bone, Math.atan2(aside, along)) : twistOf(turns, upper);
    set(upper, swing.map((v, i) => v * (1 - bone[i]!) + twist[i]!) as V3);
    above = times(above, exponential(twistOf(turns, upper)));
    lower = applyBack(above, subtract(xyz[end]!, xyz[middle]!));
    set(hinge, low ? smallest(lower, hinge) : three(turns, hinge));
  }
  return [root, turns];
}

function localOf(turns: number[], j: number): M3 {
  return times(times(CENTRE[j]!, exponential(swingOf(turns, j))), exponential(twistOf(turns, j)));
}

/** The smallest rotation vector from a joint's bone at rest to a way. */
function smallest(way: V3, j: number): V3 {
  const axis = cross(BONE_WAY[j]!, way);
  const sine = norm(axis);
  return scale(axis, Math.atan2(sine, dot(BONE_WAY[j]!, way)) / Math.max(sine, 1e-9));
}

/** Axes that have x (0) or y (1) `first` exactly and the other nearly; null where both are along one line. */
function frame(x: V3, y: V3, first: 0 | 1): M3 | null {
  const z = cross(x, y);
  const size = norm(z);
  if (size < 1e-6) return null;
  const deep = scale(z, 1 / size);
  const main = first === 0 ? scale(x, 1 / norm(x)) : scale(y, 1 / norm(y));
  const other = cross(deep, main);
  return first === 0 ? columns(main, other, deep) : columns(scale(other, -1), main, deep);
}
