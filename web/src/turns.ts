/** The body's turns as all that wears them wants them, in a world with y up: poseling.live.turns. */

import { type Q, multiply } from "./math";
import { JOINTS, PARENTS } from "./kinematics";

const PARENT = JOINTS.map((joint) => JOINTS.indexOf(PARENTS[joint]!));
const OTHER = JOINTS.map((joint) => JOINTS.indexOf(joint.replace(/^(left|right)_/, (side) => (side === "left_" ? "right_" : "left_"))));

/** The pelvis in a world of x right of the picture, y up and z to the camera: who stands upright and looks into it has the identity. */
export function upright(rotations: Q[]): Q[] {
  const root = multiply([0, 1, 0, 0], rotations[0]!);
  return [root[0] < 0 ? (root.map((v) => -v) as Q) : root, ...rotations.slice(1)];
}

/** The person in a mirror: left is right, and x is turned round. */
export function mirrored(rotations: Q[]): Q[] {
  return OTHER.map((joint) => {
    const [w, x, y, z] = rotations[joint]!;
    return [w, x, -y, -z];
  });
}

/** Turns relative to the parents to those from the world's axes. */
export function whole(rotations: Q[]): Q[] {
  const world: Q[] = [];
  rotations.forEach((turn, joint) => world.push(joint ? multiply(world[PARENT[joint]!]!, turn) : turn));
  return world;
}
