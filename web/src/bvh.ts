/** BVH: a person's motion as a file that Blender reads. poseling.live.bvh writes the same text. */

import { type Q, type V3, clamp, inverse, matrix, multiply, part } from "./math";
import { BONES, JOINTS, PARENTS } from "./kinematics";

type Offset = [V3, string];

const OFFSETS: Record<string, Offset> = { neck: [[0, 1, 0], "trunk"] };
const ENDS: Record<string, Offset> = { neck: [[0, 1, 0], "head"] };
for (const [side, sign] of [["left", 1], ["right", -1]] as const) {
  OFFSETS[`${side}_collar`] = [[0, 1, 0], "trunk"];
  OFFSETS[`${side}_shoulder`] = [[sign, 0, 0], "shoulder"];
  OFFSETS[`${side}_elbow`] = [[sign, 0, 0], "upper_arm"];
  OFFSETS[`${side}_hip`] = [[sign, 0, 0], "hip"];
  OFFSETS[`${side}_knee`] = [[0, -1, 0], "thigh"];
  ENDS[`${side}_elbow`] = [[sign, 0, 0], "forearm"];
  ENDS[`${side}_knee`] = [[0, -1, 0], "shin"];
}

export interface Frame {
  seconds: number;
  /** (13) upright turns. */
  rotations: Q[];
  /** The pelvis in metres, y up. */
  place: V3;
}

/** The file's text of frames at an even rate. */
export function bvh(frames: Frame[], lengths: number[], fps: number): string {
  if (!frames.length) throw new Error("there is no frame to write");
  const order: number[] = [];
  const lines = ["HIERARCHY", ...jointLines("pelvis", lengths, 0, order), "MOTION", `Frames: ${frames.length}`, `Frame Time: ${(1 / fps).toFixed(6)}`];
  for (const { rotations, place } of frames) {
    const angles = order.flatMap((joint) => euler(rotations[joint]!));
    lines.push([...place.map((v) => 100 * v), ...angles].map(number).join(" "));
  }
  return lines.join("\n") + "\n";
}

/** Degrees about z, x and y: the matrix is Rz Rx Ry. */
export function euler(turn: Q): V3 {
  const m = matrix(turn);
  const x = Math.asin(clamp(m[7], -1, 1));
  // Where x is a quarter turn, z and y turn about one axis: all of it is given to z.
  const locked = Math.abs(m[7]) > 1 - 1e-9;
  const y = locked ? 0 : Math.atan2(-m[6], m[8]);
  const z = locked ? Math.atan2(m[3], m[0]) : Math.atan2(-m[1], m[4]);
  return [z, x, y].map((v) => (v * 180) / Math.PI) as V3;
}

/** Frames at times that grow, as they are `fps` times a second from the first to the last. */
export function even(frames: Frame[], fps: number): Frame[] {
  const start = frames[0]!.seconds;
  const count = 1 + Math.floor((frames.at(-1)!.seconds - start) * fps + 1e-6);
  let after = 1;
  return Array.from({ length: count }, (_, k) => {
    const now = start + k / fps;
    while (after < frames.length - 1 && frames[after]!.seconds <= now) after++;
    const a = frames[after - 1]!;
    const b = frames[Math.min(after, frames.length - 1)]!;
    const gap = b.seconds - a.seconds;
    const share = gap > 0 ? clamp((now - a.seconds) / gap, 0, 1) : 0;
    return {
      seconds: now,
      place: a.place.map((v, i) => (1 - share) * v + share * b.place[i]!) as V3,
      rotations: a.rotations.map((q, i) => multiply(q, part(multiply(inverse(q), b.rotations[i]!), share))),
    };
  });
}

function jointLines(joint: string, lengths: number[], depth: number, order: number[]): string[] {
  order.push(JOINTS.indexOf(joint));
  const pad = "  ".repeat(depth);
  const channels = "Zrotation Xrotation Yrotation";
  const lines = [`${pad}${depth ? "JOINT" : "ROOT"} ${joint}`, `${pad}{`, `${pad}  OFFSET ${offset(OFFSETS[joint], lengths)}`];
  lines.push(depth ? `${pad}  CHANNELS 3 ${channels}` : `${pad}  CHANNELS 6 Xposition Yposition Zposition ${channels}`);
  for (const child of JOINTS.filter((j) => PARENTS[j] === joint)) lines.push(...jointLines(child, lengths, depth + 1, order));
  if (ENDS[joint]) lines.push(`${pad}  End Site`, `${pad}  {`, `${pad}    OFFSET ${offset(ENDS[joint], lengths)}`, `${pad}  }`);
  return [...lines, `${pad}}`];
}

function offset(what: Offset | undefined, lengths: number[]): string {
  const [way, bone] = what ?? [[0, 0, 0], BONES[0]!];
  return way.map((axis) => number(100 * lengths[BONES.indexOf(bone)]! * axis)).join(" ");
}

/** Four digits, and no -0. */
function number(value: number): string {
  const text = value.toFixed(4);
  return Number(text) === 0 ? text.replace("-", "") : text;
}
