/** A body's turns on somebody else's rig: poseling.live.retarget, which says how. */

import { type Q, type V3, add, between, columns, cross, dot, inverse, multiply, part, quaternion, rotate, scale, subtract } from "./math";
import { JOINTS } from "./kinematics";
import { whole } from "./turns";

const sided = (pairs: [string, string][]): Record<string, string> =>
  Object.fromEntries(["left", "right"].flatMap((side) => pairs.map(([a, b]) => [side + a, side + b])));

/** Which of the body's joints turns a bone. */
const LIMBS = sided([["UpperArm", "_shoulder"], ["LowerArm", "_elbow"], ["UpperLeg", "_hip"], ["LowerLeg", "_knee"]]);
const COLLARS = sided([["Shoulder", "_collar"]]);
const TRUNK = ["spine", "chest", "upperChest"];
const HEAD = ["neck", "head"];
/** Where a limb's bone points. */
const ENDS = sided([["UpperArm", "LowerArm"], ["LowerArm", "Hand"], ["UpperLeg", "LowerLeg"], ["LowerLeg", "Foot"]]);
const BONES = new Set(["hips", ...TRUNK, ...HEAD, ...Object.keys(COLLARS), ...Object.keys(LIMBS), "leftHand", "rightHand", "leftFoot", "rightFoot"]);
const REQUIRED = ["hips", ...Object.keys(LIMBS)];

/** Names without prefix, side and anything but letters and digits, in small letters; the first that a rig has is taken. */
const NAMES: Record<string, string[]> = {
  hips: ["hips", "hip", "pelvis"],
  spine: ["spine", "spine01", "waist", "spine0", "torso", "abdomen"],
  chest: ["chest", "spine1", "spine02", "spine001"],
  upperChest: ["upperchest", "spine2", "spine03", "spine002"],
  neck: ["neck", "neck1", "neck01", "necktwist01"],
  head: ["head"],
  Shoulder: ["shoulder", "clavicle", "collar"],
  UpperArm: ["upperarm", "arm", "uparm"],
  LowerArm: ["lowerarm", "forearm", "loarm"],
  Hand: ["hand", "wrist"],
  UpperLeg: ["upperleg", "upleg", "thigh"],
  LowerLeg: ["lowerleg", "leg", "calf", "shin", "knee"],
  Foot: ["foot", "ankle"],
};
const PREFIX = /^(?:mixamorig\d*|armature|cc_base|bip0*1|bip|j_bip|def|org|rig|character\d*)[ _:|.-]+/i;
const SIDE = /^(left|right|[lr](?=[ _.-]))[ _.-]*|([ _.-](?:left|right|[lr])|left|right)(?=$|[ _.-]\d+$)/i;

export interface Rig {
  names: string[];
  /** -1 at a root; parents before children. */
  parents: number[];
  translations: V3[];
  /** w x y z */
  rotations: Q[];
  scales: V3[];
  bones: Record<string, number>;
  /** The node of the document that each of these is. */
  nodes: number[];
}

interface Node {
  name?: string;
  children?: number[];
  translation?: number[];
  rotation?: number[];
  scale?: number[];
  matrix?: number[];
}

/** What is read of a glTF document. */
export interface Document {
  nodes?: Node[];
  extensions?: Record<string, unknown>;
}

/** The rig of a glTF document; Error that says what is missing if it is damaged or no humanoid. */
export function rigOf(document: Document): Rig {
  const nodes = document.nodes ?? [];
  const above = new Map<number, number>();
  nodes.forEach((node, i) => node.children?.forEach((child) => above.set(child, i)));
  const depth = (node: number): number => {
    let steps = 0;
    for (let at = above.get(node); at !== undefined; at = above.get(at)) {
      if (++steps > nodes.length) throw new Error("one of its nodes is its own ancestor; export it again");
    }
    return steps;
  };
  const depths = nodes.map((_, i) => depth(i));
  const order = nodes.map((_, i) => i).sort((a, b) => depths[a]! - depths[b]! || a - b);
  const place = new Map(order.map((node, i) => [node, i]));
  const names = order.map((i) => nodes[i]!.name ?? "");
  const told = toldBones(document.extensions ?? {});
  const bones = told
    ? Object.fromEntries(Object.entries(told).map(([bone, node]) => [bone, place.get(node) ?? -1]).filter(([, node]) => (node as number) >= 0))
    : named(names);
  const missing = REQUIRED.filter((bone) => !(bone in bones));
  if (missing.length) {
    const few = missing.slice(0, 3).join(", ") + (missing.length > 3 ? ", ..." : "");
    throw new Error(`this is no humanoid: no node is its ${few}; take a VRM file, or a GLB whose bones are named as Mixamo's are`);
  }
  const rests = order.map((i) => restOf(nodes[i]!));
  return {
    names,
    parents: order.map((i) => (above.has(i) ? place.get(above.get(i)!)! : -1)),
    translations: rests.map((r) => r[0]),
    rotations: rests.map((r) => r[1]),
    scales: rests.map((r) => r[2]),
    bones,
    nodes: order,
  };
}

function restOf(node: Node): [V3, Q, V3] {
  if (node.matrix) {
    const m = node.matrix;
    const axes = [0, 4, 8].map((k) => [m[k]!, m[k + 1]!, m[k + 2]!] as V3) as [V3, V3, V3];
    const size = axes.map((axis) => Math.hypot(...axis)) as V3;
    const [x, y, z] = axes.map((axis, i) => scale(axis, 1 / size[i]!)) as [V3, V3, V3];
    return [[m[12]!, m[13]!, m[14]!], quaternion(columns(x, y, z)), size];
  }
  const [x, y, z, w] = (node.rotation ?? [0, 0, 0, 1]) as [number, number, number, number];
  const length = Math.hypot(x, y, z, w);
  if (!(length > 0)) throw new Error(`the rotation of its node ${node.name ?? ""} is none; export it again`);
  return [(node.translation ?? [0, 0, 0]) as V3, [w / length, x / length, y / length, z / length], (node.scale ?? [1, 1, 1]) as V3];
}

/** Which node a VRM says is which bone, in either version; null if it is no VRM. */
function toldBones(extensions: Record<string, unknown>): Record<string, number> | null {
  const one = extensions["VRMC_vrm"] as { humanoid?: { humanBones?: Record<string, { node: number }> } } | undefined;
  const zero = extensions["VRM"] as { humanoid?: { humanBones?: { bone: string; node: number }[] } } | undefined;
  const pairs = one
    ? Object.entries(one.humanoid?.humanBones ?? {}).map(([bone, { node }]): [string, number] => [bone, node])
    : zero?.humanoid?.humanBones?.map(({ bone, node }): [string, number] => [bone, node]);
  return pairs ? Object.fromEntries(pairs.filter(([bone]) => BONES.has(bone))) : null;
}

/** Which node is which bone, by the names of the nodes; those that cannot be told are left out. */
export function named(names: string[]): Record<string, number> {
  const nodes = new Map<string, number>();
  names.forEach((name, node) => {
    const plain = plainOf(name);
    if (!nodes.has(plain)) nodes.set(plain, node);
  });
  const found: Record<string, number> = {};
  for (const [bone, spellings] of Object.entries(NAMES)) {
    for (const side of /^[A-Z]/.test(bone) ? ["left", "right"] : [""]) {
      const spelling = spellings.find((s) => nodes.has(`${side}:${s}`));
      if (spelling) found[side + bone] = nodes.get(`${side}:${spelling}`)!;
    }
  }
  return found;
}

/** The side and the bare name of a node: mixamorig:LeftUpLeg is left:upleg. */
function plainOf(name: string): string {
  let bare = name.trim();
  while (PREFIX.test(bare)) bare = bare.replace(PREFIX, "");
  let side = "";
  const match = SIDE.exec(bare);
  if (match) {
    side = (match[1] ?? match[2])!.replace(/[ _.-]/g, "").toLowerCase().startsWith("l") ? "left" : "right";
    bare = bare.slice(0, match.index) + bare.slice(match.index + match[0].length);
  }
  return `${side}:${bare.toLowerCase().replace(/[^a-z0-9]/g, "")}`;
}

/** Where the nodes are, and how they are turned, in the model's axes. */
export function places(rig: Rig, local: Q[] = rig.rotations): { points: V3[]; turns: Q[] } {
  const points: V3[] = [];
  const turns: Q[] = [];
  const scales: V3[] = [];
  rig.parents.forEach((parent, i) => {
    if (parent < 0) {
      points.push(rig.translations[i]!);
      turns.push(local[i]!);
      scales.push(rig.scales[i]!);
      return;
    }
    const size = scales[parent]!;
    const move = rig.translations[i]!.map((v, k) => v * size[k]!) as V3;
    points.push(add(points[parent]!, rotate(turns[parent]!, move)));
    turns.push(multiply(turns[parent]!, local[i]!));
    scales.push(size.map((v, k) => v * rig.scales[i]![k]!) as V3);
  });
  return { points, turns };
}

export class Retarget {
  /** From the body's axes to the model's. */
  readonly axes: Q;
  /** How high the hips are over the feet at rest, in the model's unit. */
  readonly hipHeight: number;
  private readonly rest: Q[];
  private readonly corrections: Record<string, Q>;
  private readonly boneOf: Map<number, string>;

  constructor(readonly rig: Rig) {
    const { points, turns } = places(rig);
    this.rest = turns;
    this.boneOf = new Map(Object.entries(rig.bones).map(([bone, node]) => [node, bone]));
    const at = (bone: string): V3 | undefined => (bone in rig.bones ? points[rig.bones[bone]!] : undefined);
    const hips = at("hips")!;
    const chest = at("neck") ?? at("head") ?? scale(add(at("leftUpperArm")!, at("rightUpperArm")!), 0.5);
    // The model's own left and up: VRM 0 looks along -z, others along z.
    const left = axisOf(subtract(at("leftUpperLeg")!, at("rightUpperLeg")!));
    const up = axisOf(subtract(chest, hips));
    this.axes = quaternion(columns(left, up, cross(left, up)));
    const both = ["leftFoot", "rightFoot"].map(at).filter((p) => p !== undefined);
    const feet = both.length ? both : [at("leftLowerLeg")!];
    const floor = scale(feet.reduce(add, [0, 0, 0]), 1 / feet.length);
    this.hipHeight = dot(up, subtract(hips, floor));
    this.corrections = this.corrected(at);
  }

  /** For each limb's bone the turn that leads it from the rig's rest to the body's T, in the model's axes. */
  private corrected(at: (bone: string) => V3 | undefined): Record<string, Q> {
    const found: Record<string, Q> = {};
    for (const side of ["left", "right"]) {
      for (const limb of ["Arm", "Leg"]) {
        const [upper, lower] = [`${side}Upper${limb}`, `${side}Lower${limb}`];
        const way = rotate(this.axes, limb === "Arm" ? [side === "left" ? 1 : -1, 0, 0] : [0, -1, 0]);
        found[upper] = between(subtract(at(ENDS[upper]!)!, at(upper)!), way);
        // The lower bone goes along with the upper one's correction, so that the joint between them keeps its twist.
        const end = at(ENDS[lower]!);
        const bent = end ? rotate(found[upper], subtract(end, at(lower)!)) : way;
        found[lower] = multiply(between(bent, way), found[upper]);
      }
    }
    return found;
  }

  /** The rotations of all nodes relative to their parents, for upright turns (13). */
  turns(rotations: Q[]): Q[] {
    const wanted = this.wanted(rotations);
    const world: Q[] = [];
    return this.rig.parents.map((parent, i) => {
      const above: Q = parent >= 0 ? world[parent]! : [1, 0, 0, 0];
      let local = this.rig.rotations[i]!;
      const bone = this.boneOf.get(i);
      const turn = bone === undefined ? undefined : wanted[bone];
      if (bone !== undefined && turn) {
        const correction = this.corrections[bone];
        const led = correction ? multiply(correction, this.rest[i]!) : this.rest[i]!;
        local = multiply(inverse(above), multiply(turn, led));
        const size = Math.hypot(...local);
        local = local.map((v) => v / size) as Q;
      }
      world.push(multiply(above, local));
      return local;
    });
  }

  /** For each bone the turn from the body's rest, in the model's axes. */
  private wanted(local: Q[]): Record<string, Q> {
    const world = whole(local);
    const of = (joint: string): number => JOINTS.indexOf(joint);
    const found: Record<string, Q> = { hips: world[0]! };
    for (const [bone, joint] of Object.entries({ ...LIMBS, ...COLLARS })) found[bone] = world[of(joint)]!;
    for (const [bones, start, joint] of [[TRUNK, world[0]!, "spine"], [HEAD, world[of("spine")]!, "neck"]] as const) {
      // One joint of the body is several bones of a rig: each takes its share.
      const there = bones.filter((bone) => bone in this.rig.bones);
      there.forEach((bone, i) => (found[bone] = multiply(start, part(local[of(joint)]!, (i + 1) / there.length))));
    }
    return Object.fromEntries(Object.entries(found).map(([bone, turn]) => [bone, multiply(this.axes, multiply(turn, inverse(this.axes)))]));
  }
}

/** The axis that a vector is nearest to. */
function axisOf(v: V3): V3 {
  const sizes = v.map(Math.abs);
  const longest = sizes.indexOf(Math.max(...sizes));
  return v.map((x, i) => (i === longest ? Math.sign(x) : 0)) as V3;
}
