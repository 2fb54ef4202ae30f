/** A body fitted to one person's joints, frame by frame: poseling.runtime.skeleton_fit, of which docs/kinematics.md tells. */

import { type M3, type Q, type V3, add, clamp, median, quaternion, scale, solve, subtract } from "./math";
import {
  BODY_BONES, BONES, Body, FREE, HIGH, LOW, PELVIS, SHARES, TURNS, UNKNOWNS, closedForm, measure, stature,
} from "./kinematics";
import { type Camera, position } from "./position";
import { MOVNECT15, sources } from "./skeleton";

const IK = 1;
const PROJECTION = 44;
const SMOOTH = 0.07;
const DEPTH = 0.11;
const STILL = 1e-3;
const REST: Record<string, V3> = { spine: [1e-3, 0, 0], knee: [0, 0, 1e-3], elbow: [0, 0, 1e-3] };
const FRAME = 1 / 30;
export const PAUSE = 0.5;
const SHORTEST = 1 / 240;
const SURE = 0.3;
const MEASURED = 90;
const MEASURING = 3;
const GROWTH = 0.01;
const DRIFT = 0.00004;
const YOUNG = 1;
const FAR = 3;
const NEAREST = 0.2;
const FARTHEST = 100;
const AWAY = 4;
const STEPS = 3;
const FIRST_STEPS = 12;
const ENOUGH = 1e-3;
const NEARLY = 0.05;
const LEAP = 2;
const TIRED = 1.1;
const SLIGHT = 3e-4;
export const TALL = 1.7;
export const FACING: M3 = [1, 0, 0, 0, -1, 0, 0, 0, -1];
const BENDS = [0, 0.8, 1.4, -0.5];

const POINTS = MOVNECT15.length;
const SHARE = BONES.map((bone) => SHARES[bone]!);
const PULL = FREE.map((f) => STILL + (REST[TURNS[Math.floor(f / 3)]!.split("_").at(-1)!]?.[f % 3] ?? 0));
const PULL_ROOT = PULL.map(Math.sqrt);
const HELD = PULL.map((pull) => STILL / pull);
const RESIDUALS = 8 * POINTS + FREE.length;

export interface Fitted {
  /** (15) metres from the pelvis, camera axes. */
  xyz: V3[];
  /** The pelvis in camera axes, null without a camera. */
  root: V3 | null;
  /** (13) w x y z relative to the parents, of JOINTS. */
  rotations: Q[];
  /** (8) metres, of BONES. */
  lengths: number[];
}

/** The bones' lengths, each the median of its first ninety sure measurements, or of those in three seconds. */
class Lengths {
  private readonly seen: number[][] = BONES.map(() => []);
  /** When each was measured first, in seconds. */
  readonly since: number[] = BONES.map(() => NaN);
  measured: number[] = [];
  metres: number[] = [];
  scale = 1;

  constructor(
    private readonly height: number | null,
    private readonly given: number[] | null,
  ) {
    this.settle(given ?? SHARE.map((share) => TALL * share));
  }

  update(xyz: V3[], known: boolean[], seconds: number): void {
    const learnt = this.seen.map((seen, length) => seen.length < MEASURED && !(seconds - this.since[length]! > MEASURING));
    if (this.given || !learnt.some(Boolean)) return;
    const bones = measure(xyz, known);
    let news = false;
    this.seen.forEach((seen, length) => {
      const found = bones.filter((b, i) => BODY_BONES[i]!.length === length && Number.isFinite(b));
      const mean = found.reduce((sum, b) => sum + b, 0) / found.length;
      if (learnt[length] && mean > 0) {
        if (!seen.length) this.since[length] = seconds;
        seen.push(mean);
        news = true;
      }
    });
    if (!news) return;
    const medians = this.seen.map((s) => (s.length ? median(s) : NaN));
    const size = median(medians.flatMap((m, i) => (Number.isNaN(m) ? [] : [m / SHARE[i]!])));
    this.settle(medians.map((m, i) => (Number.isNaN(m) ? size * SHARE[i]! : m)));
  }

  private settle(measured: number[]): void {
    this.measured = measured;
    this.scale = this.height === null ? 1 : this.height / stature(measured);
    this.metres = measured.map((m) => m * this.scale);
  }
}

interface Evidence {
  xyz: V3[];
  /** The roots of the weights: (15), (15), (15). */
  xyzWeight: number[];
  xy: [number, number][];
  xyWeight: number[];
  path: V3[];
  pathWeight: V3[];
  /** (29) of the frame before. */
  turns: number[];
}

function residuals(e: Evidence, body: Body, place: V3): Float64Array {
  const out = new Float64Array(RESIDUALS);
  for (let k = 0; k < POINTS; k++) {
    const free = body.points[k]!;
    const point = add(free, place);
    const depth = Math.max(point[2], NEAREST);
    for (let i = 0; i < 3; i++) {
      out[3 * k + i] = (free[i]! - e.xyz[k]![i]!) * e.xyzWeight[k]!;
      out[5 * POINTS + 3 * k + i] = (point[i]! - e.path[k]![i]!) * e.pathWeight[k]![i]!;
    }
    for (let i = 0; i < 2; i++) out[3 * POINTS + 2 * k + i] = (point[i]! / depth - e.xy[k]![i]!) * e.xyWeight[k]!;
  }
  FREE.forEach((f, i) => (out[8 * POINTS + i] = PULL_ROOT[i]! * (body.turns[f]! - e.turns[i]! * HELD[i]!)));
  return out;
}

const squares = (v: Float64Array): number => v.reduce((sum, x) => sum + x * x, 0);

/** (35 x 149), by rows: the residuals' change with the pelvis' turn, the joints' turns and the place. */
function jacobian(e: Evidence, body: Body, place: V3): Float64Array {
  const moves = body.jacobian();
  for (let axis = 0; axis < 3; axis++) {
    const way: V3 = [0, 0, 0];
    way[axis] = 1;
    moves.push(body.points.map(() => way));
  }
  const out = new Float64Array(UNKNOWNS * RESIDUALS);
  for (let k = 0; k < POINTS; k++) {
    const point = add(body.points[k]!, place);
    const depth = Math.max(point[2], NEAREST);
    const shift = e.xyWeight[k]! / depth;
    const far = point[2] > NEAREST ? 1 : 0;
    for (let u = 0; u < UNKNOWNS; u++) {
      const row = u * RESIDUALS;
      const move = moves[u]![k]!;
      for (let i = 0; i < 3; i++) {
        if (u < UNKNOWNS - 3) out[row + 3 * k + i] = move[i]! * e.xyzWeight[k]!;
        out[row + 5 * POINTS + 3 * k + i] = move[i]! * e.pathWeight[k]![i]!;
      }
      for (let i = 0; i < 2; i++) out[row + 3 * POINTS + 2 * k + i] = shift * (move[i]! - (far * move[2] * point[i]!) / depth);
    }
  }
  FREE.forEach((_, i) => (out[(3 + i) * RESIDUALS + 8 * POINTS + i] = PULL_ROOT[i]!));
  return out;
}

type State = { body: Body; place: V3 };

/** The body and place with the least energy near these: steps of Levenberg and Marquardt, with the turns' limits as an active set. */
function minimise(start: State, e: Evidence, lengths: number[], steps: number, placed: boolean, enough: number): State {
  let { body, place } = start;
  let left = residuals(e, body, place);
  let energy = squares(left);
  let damping = 1e-4;
  const held = new Array<boolean>(UNKNOWNS).fill(!placed).fill(false, 0, 3);
  for (let step = 0; step < steps; step++) {
    const j = jacobian(e, body, place);
    const gradient = new Float64Array(UNKNOWNS);
    for (let u = 0; u < UNKNOWNS; u++) {
      let sum = 0;
      for (let r = 0; r < RESIDUALS; r++) sum += j[u * RESIDUALS + r]! * left[r]!;
      gradient[u] = sum;
    }
    FREE.forEach((f, i) => (held[3 + i] = gradient[3 + i]! > 0 ? body.turns[f]! <= LOW[f]! : body.turns[f]! >= HIGH[f]!));
    held.forEach((h, u) => {
      if (!h) return;
      gradient[u] = 0;
      j.fill(0, u * RESIDUALS, (u + 1) * RESIDUALS);
    });
    const normal = new Float64Array(UNKNOWNS * UNKNOWNS);
    for (let a = 0; a < UNKNOWNS; a++) {
      for (let b = 0; b <= a; b++) {
        let sum = a === b ? damping : 0;
        for (let r = 0; r < RESIDUALS; r++) sum += j[a * RESIDUALS + r]! * j[b * RESIDUALS + r]!;
        normal[a * UNKNOWNS + b] = sum;
      }
    }
    const move = solve(normal, gradient.map((g) => -g), UNKNOWNS);
    const next = body.moved(move, lengths);
    const there = add(place, [move[UNKNOWNS - 3]!, move[UNKNOWNS - 2]!, move[UNKNOWNS - 1]!]);
    const nextLeft = residuals(e, next, there);
    const nextEnergy = squares(nextLeft);
    if (!(nextEnergy < energy)) {
      damping *= 30;
      continue;
    }
    const done = energy - nextEnergy < enough * energy;
    [body, place, left, energy] = [next, there, nextLeft, nextEnergy];
    damping = Math.max(damping / 10, 1e-7);
    if (done) break;
  }
  return { body, place };
}

/** Fits one person's body, frame after frame; one for each person. */
export class Fitter {
  private readonly from: ([number, number] | null)[];
  private lengths!: Lengths;
  private body: Body | null = null;
  private place: V3 | null = null;
  private energy = Infinity;
  private grown: { seconds: number; lengths: number[] } | null = null;
  private past: { seconds: number; points: V3[] }[] = [];

  constructor(
    joints: readonly string[],
    private readonly height: number | null = null,
    private readonly given: number[] | null = null,
  ) {
    this.from = sources(joints);
    if (!this.from.some(Boolean)) throw new Error(`none of ${joints.slice(0, 4).join(", ")}, ... is a joint of the body`);
    this.reset();
  }

  reset(): void {
    this.lengths = new Lengths(this.height, this.given);
    this.body = this.place = this.grown = null;
    this.energy = Infinity;
    this.past = [];
  }

  /** The body in a frame: xyz (K) metres from the root, xy (K) pixels, score (K), the camera or null, and the time in seconds. */
  fit(xyz: V3[], xy: [number, number][], score: number[], camera: Camera | null, seconds: number): Fitted {
    const taken = this.taken(xyz, xy, score, camera);
    this.lengths.update(taken.xyz, taken.xyzWeight.map((w) => w > Math.sqrt(SURE * IK)), seconds);
    let lengths = this.lengths.metres;
    if (this.grown) {
      const before = this.grown;
      const frames = Math.min(Math.max(seconds - before.seconds, 0), PAUSE) / FRAME;
      lengths = lengths.map((l, i) => {
        const most = frames * (seconds - this.lengths.since[i]! >= YOUNG ? DRIFT : GROWTH);
        return clamp(l, (1 - most) * before.lengths[i]!, (1 + most) * before.lengths[i]!);
      });
    }
    const scaled = taken.xyz.map((p) => scale(p, this.lengths.scale));
    const placed = camera !== null;
    const last = this.past.at(-1);
    if (last && (!(seconds - last.seconds > 0 && seconds - last.seconds <= PAUSE) || placed !== (this.place !== null))) this.past = [];
    const known = taken.xyzWeight.map((w) => w > 0);
    const seen = known.map((k, i) => k || taken.xyWeight[i]! > 0);
    const evidence = (turns: number[]): Evidence => ({
      ...taken,
      ...this.led(seconds, placed, seen),
      xyz: scaled,
      turns: FREE.map((f) => turns[f]!),
    });
    const states: State[] = [];
    let e: Evidence;
    if (!this.body) {
      const bodies = BENDS.map((bend) => {
        const turns = TURNS.flatMap((joint) => (joint === "spine" ? [bend, 0, 0] : [0, 0, 0]));
        return Body.turned(...closedForm(scaled, known, FACING, turns), lengths);
      });
      e = evidence(bodies[0]!.turns);
      for (const body of bodies) states.push(minimise({ body, place: this.start(body, e, placed) }, e, lengths, FIRST_STEPS, placed, ENOUGH));
    } else {
      const body = this.body.sized(lengths);
      e = evidence(body.turns);
      const place = placed && this.place ? this.place : this.start(body, e, placed);
      states.push(minimise({ body, place }, e, lengths, STEPS, placed, NEARLY));
    }
    const energyOf = (s: State): number => squares(residuals(e, s.body, s.place));
    if (this.body && energyOf(states[0]!) > LEAP * Math.max(this.energy, SLIGHT)) {
      const body = Body.turned(...closedForm(scaled, known, this.body.root, this.body.turns), lengths);
      states.push(minimise({ body, place: this.start(body, e, placed) }, e, lengths, STEPS, placed, NEARLY));
    }
    const energies = states.map(energyOf);
    const least = Math.min(...energies);
    const { body, place } = states[energies.indexOf(least)] ?? states[0]!;
    const root = placed ? place : null;
    if (seen.some(Boolean)) {
      [this.body, this.place, this.grown] = [body, root, { seconds, lengths }];
      this.energy = Math.min(least, TIRED * this.energy);
      this.past = [...this.past.slice(-1), { seconds, points: body.points.map((p) => add(p, place)) }];
    }
    return { xyz: body.points, root, rotations: body.local.map(quaternion), lengths };
  }

  private start(body: Body, e: Evidence, placed: boolean): V3 {
    if (!placed) return [0, 0, 0];
    const place = position(body.points, e.xy, e.xyWeight.map((w) => w * w));
    return place[2] > NEAREST && place[2] < FARTHEST ? place : (this.place ?? [0, 0, AWAY]);
  }

  /** The body's joints with the roots of their weights: in space, and in the picture in focal lengths; 0 where unknown. */
  private taken(xyz: V3[], xy: [number, number][], score: number[], camera: Camera | null): Pick<Evidence, "xyz" | "xyzWeight" | "xy" | "xyWeight"> {
    const flat = xy.map((p): [number, number] => (camera ? [(p[0] - camera[2]) / camera[0], (p[1] - camera[3]) / camera[1]] : [0, 0]));
    const sure = score.map((s) => (s > 0 ? Math.min(s, 1) : 0));
    // NaN compares as false, so these are finite.
    const space = xyz.map((p, i) => (Math.max(...p.map(Math.abs)) < FAR ? sure[i]! : 0));
    const picture = flat.map((p, i) => (camera && Math.max(...p.map(Math.abs)) < 10 ? sure[i]! : 0));
    const deep = xyz.map((p, i): V3 => (space[i]! > 0 ? p : [0, 0, 0]));
    const wide = flat.map((p, i): [number, number] => (picture[i]! > 0 ? p : [0, 0]));
    const least = (w: number[], pair: [number, number] | null): number => (pair ? Math.min(w[pair[0]]!, w[pair[1]]!) : 0);
    const middle = <T extends number[]>(of: T[], pair: [number, number] | null): T => {
      const [a, b] = pair ?? [0, 0];
      return of[a]!.map((v, i) => (v + of[b]![i]!) / 2) as T;
    };
    return {
      xyz: this.from.map((pair) => middle(deep, pair)),
      xyzWeight: this.from.map((pair) => Math.sqrt(IK * least(space, pair))),
      xy: this.from.map((pair) => middle(wide, pair)),
      xyWeight: this.from.map((pair) => Math.sqrt(PROJECTION * least(picture, pair))),
    };
  }

  /** Where the frames before lead the points, and the roots of the weights. */
  private led(seconds: number, deep: boolean, seen: boolean[]): Pick<Evidence, "path" | "pathWeight"> {
    const nothing = (): V3[] => MOVNECT15.map(() => [0, 0, 0]);
    const last = this.past.at(-1);
    if (!last) return { path: nothing(), pathWeight: nothing() };
    const lapse = Math.max(seconds - last.seconds, SHORTEST);
    let path = last.points.map((p): V3 => [...p]);
    const weight = nothing();
    if (this.past.length === 2) {
      const before = this.past[0]!;
      const lapseBefore = Math.max(last.seconds - before.seconds, SHORTEST);
      path = last.points.map((p, i) => add(p, scale(subtract(p, before.points[i]!), lapse / lapseBefore)));
      const w = SMOOTH * (FRAME ** 2 / ((lapse * (lapse + lapseBefore)) / 2)) ** 2;
      weight.forEach((row) => row.fill(w));
    }
    if (deep) {
      const slow = DEPTH * (FRAME / lapse) ** 2;
      const smooth = weight[PELVIS]![2];
      path[PELVIS]![2] = (smooth * path[PELVIS]![2] + slow * last.points[PELVIS]![2]) / (smooth + slow);
      weight[PELVIS]![2] += slow;
    }
    return { path, pathWeight: weight.map((row, i) => row.map((w) => (seen[i] ? Math.sqrt(w) : 0)) as V3) };
  }
}
