/** A body from joints in a picture alone: poseling.runtime.lift, which says how and why. */

import { type M3, type V3, RADIAN, add, clamp, column, dot, scale, subtract } from "./math";
import { BODY_BONES, BONES, Body, PELVIS, SHARES, TURNS, closedForm, stature } from "./kinematics";
import { FACING, type Fitted, Fitter, PAUSE, TALL } from "./fit";
import type { Camera } from "./position";
import { MOVNECT15, sources } from "./skeleton";

const SURE = 0.2;
const SLACK = 0.95;
const SLACK_ACROSS = 0.85;
const SLACK_HEAD = 0.65;
const PACE = 0.15;
const UNUSUAL = 0.01;
const MOVED = 0.5;
const BACK = 0.05;
const ELSEWHERE = 0.03;
const HEAD = 0.08;
const USUAL: Record<string, V3> = { hip: [-25, 0, 0], knee: [25, 0, 0], shoulder: [0, 0, -30], elbow: [0, -35, 0] };

const at = (joint: string): number => (MOVNECT15 as readonly string[]).indexOf(joint);
const NECK = at("neck");
const CROWN = at("head_top");
const HIPS = [at("left_hip"), at("right_hip")] as const;
const SHOULDERS = [at("left_shoulder"), at("right_shoulder")] as const;
const LIMBS = (["hip knee ankle", "shoulder elbow wrist"] as const).flatMap((names) =>
  ["left", "right"].map((side) => {
    const [start, hinge, end] = names.split(" ").map((joint) => `${side}_${joint}`) as [string, string, string];
    return { points: [at(start), at(hinge), at(end)] as V3, joints: [TURNS.indexOf(start), TURNS.indexOf(hinge)] as const };
  }),
);
const LONG = ["trunk", "upper_arm", "forearm", "thigh", "shin"].map((bone) => BONES.indexOf(bone));
const LENGTH_TO = new Map(BODY_BONES.map((bone) => [bone.end, bone.length]));
const USUAL_TURNS = TURNS.flatMap((joint) => {
  const usual = USUAL[joint.split("_").at(-1)!] ?? [0, 0, 0];
  return usual.map((degrees, axis) => degrees * RADIAN * (joint.startsWith("right_") && axis ? -1 : 1));
});
const SIGNS = [[1, 1], [1, -1], [-1, 1], [-1, -1]] as const;

const square = (v: V3): number => dot(v, v);

export class Lifter {
  readonly lengths: number[];
  private readonly fitter: Fitter;
  private readonly from: ([number, number] | null)[];
  private readonly nose: number;
  private readonly beside: number[];
  private before: V3[] | null = null;
  private root: M3 = FACING;
  private turns: number[] = [];
  private metre = NaN;
  private seen = NaN;

  /** Joints by name, and how tall the person is in metres. */
  constructor(joints: readonly string[], height = TALL, shares: number[] = BONES.map((bone) => SHARES[bone]!)) {
    this.lengths = shares.map((share) => (share * height) / stature(shares));
    this.fitter = new Fitter(MOVNECT15, height, this.lengths);
    this.from = sources(joints);
    this.nose = joints.indexOf("nose");
    const head = [["left_ear", "right_ear"], ["neck"], ["thorax"]].find((names) => names.every((name) => joints.includes(name)));
    this.beside = (head ?? []).map((name) => joints.indexOf(name));
    this.reset();
  }

  reset(): void {
    this.fitter.reset();
    this.before = null;
    this.root = FACING;
    this.turns = TURNS.flatMap(() => [0, 0, 0]);
    this.metre = this.seen = NaN;
  }

  /** The body in a frame, of joints in pixels with their scores. */
  fit(xy: [number, number][], score: number[], camera: Camera, seconds: number): Fitted {
    const weight = score.map((s, i) => (xy[i]!.every(Number.isFinite) && s >= SURE ? Math.min(s, 1) : 0));
    const pixels = xy.map((p, i): [number, number] => (weight[i]! > 0 ? p : [0, 0]));
    const points = this.from.map((pair): [number, number] => {
      const [a, b] = pair ?? [0, 0];
      return [(pixels[a]![0] + pixels[b]![0]) / 2, (pixels[a]![1] + pixels[b]![1]) / 2];
    });
    const sure = this.from.map((pair) => (pair ? Math.min(weight[pair[0]]!, weight[pair[1]]!) : 0));
    let lapse = seconds - this.seen;
    if (!(lapse >= 0 && lapse <= PAUSE)) {
      this.before = null;
      this.metre = NaN;
      lapse = Infinity;
    }
    const middle = points[PELVIS]!;
    const flat = points.map((p): V3 => [(p[0] - middle[0]) / camera[0], (p[1] - middle[1]) / camera[1], 0]);
    const known = sure.map((s) => s > 0);
    this.metre = sizeOf(flat, known, this.lengths, this.metre, lapse);
    if (!known[PELVIS] || !(this.metre > 0)) {
      // Nobody knows how large a metre is: the fit goes on with what it has.
      return this.fitter.fit(points.map(() => [0, 0, 0]), points, points.map(() => 0), camera, seconds);
    }
    const xyz = this.chosen(flat.map((p) => scale(p, 1 / this.metre)), known, this.pointsTo(pixels, weight, camera));
    const fitted = this.fitter.fit(xyz, points, sure, camera, seconds);
    this.before = fitted.xyz;
    this.seen = seconds;
    return fitted;
  }

  /** Where the nose points: -1 is left, 1 right, 0 at the camera or not seen. */
  private pointsTo(pixels: [number, number][], weight: number[], camera: Camera): number {
    const beside = this.beside.filter((j) => weight[j]! > 0);
    if (this.nose < 0 || !weight[this.nose] || !beside.length) return 0;
    const middle = beside.reduce((sum, j) => sum + pixels[j]![0], 0) / beside.length;
    return clamp((pixels[this.nose]![0] - middle) / camera[0] / this.metre / HEAD, -1, 1);
  }

  private chosen(flat: V3[], known: boolean[], nose: number): V3[] {
    const [rootBefore, turnsBefore] = [this.root, this.turns];
    let best = Infinity;
    for (const [lean, turn] of SIGNS) {
      const trunk = this.trunk(flat, known, lean, turn);
      const bodies = SIGNS.map((signs) => {
        const xyz = this.limbs(trunk, flat, signs);
        return { xyz, body: Body.turned(...closedForm(xyz, known, rootBefore, turnsBefore), this.lengths) };
      });
      const first = bodies[0]!.body;
      let cost = this.trunkCost(trunk, known, first, nose);
      const turns = [...first.turns];
      for (const { points, joints } of LIMBS) {
        const costs = bodies.map(({ xyz, body }) => this.limbCost(xyz, known, body, [points[1], points[2]], joints));
        const one = costs.indexOf(Math.min(...costs));
        for (const j of joints) for (let i = 0; i < 3; i++) turns[3 * j + i] = bodies[one]!.body.turns[3 * j + i]!;
        cost += costs[one]!;
      }
      if (cost < best) {
        best = cost;
        [this.root, this.turns] = [first.root, turns];
      }
    }
    return Body.turned(this.root, this.turns, this.lengths).points;
  }

  private trunk(flat: V3[], known: boolean[], lean: number, turn: number): V3[] {
    const xyz = flat.map((p): V3 => [p[0], p[1], 0]);
    let across: V3 = [0, 0, 0];
    const spread = ([left, right]: readonly [number, number], bone: string): void => {
      if (!known[left] || !known[right]) return;
      const deep = (turn * depthOf(subtract(flat[left]!, flat[right]!), 2 * this.lengths[BONES.indexOf(bone)]!, SLACK_ACROSS)) / 2;
      xyz[left]![2] += deep;
      xyz[right]![2] -= deep;
      across = add(across, subtract(xyz[left]!, xyz[right]!));
    };
    spread(HIPS, "hip");
    xyz[NECK]![2] = lean * depthOf(flat[NECK]!, this.lengths[LENGTH_TO.get(NECK)!]!, SLACK);
    for (const joint of SHOULDERS) xyz[joint]![2] = xyz[NECK]![2];
    spread(SHOULDERS, "shoulder");
    // A head is bent forward more often than back.
    const forward = across[0] >= 0 ? -1 : 1;
    const head = depthOf(subtract(flat[CROWN]!, flat[NECK]!), this.lengths[LENGTH_TO.get(CROWN)!]!, SLACK_HEAD);
    xyz[CROWN]![2] = xyz[NECK]![2] + forward * head;
    return xyz;
  }

  private limbs(trunk: V3[], flat: V3[], signs: readonly [number, number]): V3[] {
    const xyz = trunk.map((p): V3 => [...p]);
    for (const { points } of LIMBS) {
      for (let bone = 0; bone < 2; bone++) {
        const [above, below] = [points[bone]!, points[bone + 1]!];
        const deep = depthOf(subtract(flat[below]!, flat[above]!), this.lengths[LENGTH_TO.get(below)!]!, SLACK);
        xyz[below]![2] = xyz[above]![2] + signs[bone]! * deep;
      }
    }
    return xyz;
  }

  private trunkCost(xyz: V3[], known: boolean[], body: Body, nose: number): number {
    const points = [NECK, ...HIPS, ...SHOULDERS].filter((joint) => known[joint]);
    const front = column(body.whole[1]!, 2);
    let cost = ELSEWHERE * (nose - front[0]) ** 2;
    for (const p of points) {
      cost += square(subtract(xyz[p]!, body.points[p]!));
      if (this.before) cost += MOVED * square(subtract(xyz[p]!, this.before[p]!));
    }
    if (known[NECK]) cost += BACK * Math.max(0, -dot(xyz[NECK]!, column(body.root, 2)));
    return cost;
  }

  private limbCost(xyz: V3[], known: boolean[], body: Body, points: [number, number], joints: readonly [number, number]): number {
    let cost = 0;
    for (const p of points) {
      if (!known[p]) continue;
      cost += square(subtract(xyz[p]!, body.points[p]!));
      if (this.before) cost += MOVED * square(subtract(xyz[p]!, this.before[p]!));
    }
    for (const j of joints) for (let i = 3 * j; i < 3 * j + 3; i++) cost += UNUSUAL * (body.turns[i]! - USUAL_TURNS[i]!) ** 2;
    return cost;
  }
}

/** How far apart in depth the ends of a bone are that spans so much of the picture. */
function depthOf(flat: V3, length: number, slack: number): number {
  const seen = Math.min(1, Math.hypot(flat[0], flat[1]) / (slack * length));
  return length * Math.sqrt(1 - seen ** 2);
}

/** How much of the picture, in focal lengths, a metre takes; NaN where that was never known. */
function sizeOf(flat: V3[], known: boolean[], lengths: number[], before: number, lapse: number): number {
  const spans = BODY_BONES.filter((b) => LONG.includes(b.length) && known[b.end] && known[b.start])
    .map((b) => Math.sqrt(square(subtract(flat[b.end]!, flat[b.start]!))) / lengths[b.length]!)
    .sort((a, b) => b - a);
  if (!(spans[0]! > 0)) return before;
  const now = spans[1] ?? spans[0]!;
  if (!(before > 0)) return now;
  return before + (now - before) * (1 - Math.exp(-lapse / PACE));
}
