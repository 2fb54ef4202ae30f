/** What a recording keeps, whatever was recorded. */

import { expect, test } from "vitest";
import type { Frame } from "../src/bvh";
import { BONES, JOINTS, SHARES } from "../src/kinematics";
import type { Q } from "../src/math";
import { motion } from "../src/record";

const LENGTHS = BONES.map((bone) => 1.7 * SHARES[bone]!);
const STANDS: Q[] = JOINTS.map(() => [1, 0, 0, 0]);
const at = (seconds: number, x = 0): Frame => ({ seconds, rotations: STANDS, place: [x, 0.9, -3] });

/** The pelvis' places in centimetres, and the frames a second. */
function read(text: string): { places: number[][]; fps: number } {
  const lines = text.split("MOTION\n")[1]!.trim().split("\n");
  return { fps: 1 / Number(lines[1]!.split(": ")[1]), places: lines.slice(2).map((line) => line.split(" ").slice(0, 3).map(Number)) };
}

test("frames a tenth of a second apart, from the first one's place, on the floor", () => {
  const { places, fps } = read(motion([at(5, 1), at(5.1, 1.1), at(5.2, 1.2)], LENGTHS)!);
  expect(fps).toBeCloseTo(10);
  const legs = 170 * (SHARES["thigh"]! + SHARES["shin"]!);
  [0, 10, 20].forEach((x, i) => [x, legs, 0].forEach((v, k) => expect(places[i]![k]).toBeCloseTo(v, 3)));
});

test("a video that starts anew while it is recorded goes on", () => {
  const { places, fps } = read(motion([at(12.8, 0), at(12.9, 0.1), at(0, 0.2), at(0.1, 0.3)], LENGTHS)!);
  expect(fps).toBeCloseTo(10);
  expect(places.map(([x]) => Math.round(x!))).toEqual([0, 10, 20, 30]);
});

test("a picture that was looked at twice is one frame, and one frame is no motion", () => {
  expect(read(motion([at(1), at(1), at(1.1)], LENGTHS)!).places.length).toBe(2);
  expect(motion([at(1), at(1)], LENGTHS)).toBeNull();
  expect(motion([], LENGTHS)).toBeNull();
});
