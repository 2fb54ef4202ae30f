/** The page computes what Python computes: tests/live/test_golden.py makes the file and holds Python to it. */

import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { bvh, even } from "../src/bvh";
import { cropOf, regionOf, warp } from "../src/crop";
import { Fitter } from "../src/fit";
import { Lifter } from "../src/lift";
import type { Q, V3 } from "../src/math";
import { OneEuro } from "../src/oneEuro";
import { type Camera, faced } from "../src/position";
import { type Document, Retarget, rigOf } from "../src/retarget";
import { mirrored, upright } from "../src/turns";

type Body = { xyz: V3[]; root: V3; rotations: Q[]; lengths: number[] };
type Motion = {
  joints: string[]; height: number | null; camera: Camera; seconds: number[]; xyz: V3[][]; xy: [number, number][][]; score: number[][]; out: Body[];
};
const golden = JSON.parse(readFileSync(new URL("../../tests/live/golden.json", import.meta.url), "utf8"));

/** All numbers of two things that are built alike, and how far they are apart at most. */
function apart(mine: unknown, theirs: unknown): number {
  if (typeof theirs === "number") return Math.abs((mine as number) - theirs);
  if (theirs === null) return Number.isNaN(mine) || mine === null ? 0 : Infinity;
  const [a, b] = [Object.values(mine as object), Object.values(theirs as object)];
  expect(a.length).toBe(b.length);
  return b.reduce((most: number, one, i) => Math.max(most, apart(a[i], one)), 0);
}

test("the 1-Euro filter", () => {
  const g = golden.one_euro;
  const filter = new OneEuro(g.cutoff, g.beta);
  const out = g.values.map((v: (number | null)[], i: number) => filter.filter(v.map((x) => x ?? NaN), g.seconds[i], g.unit));
  expect(apart(out, g.out)).toBeLessThan(1e-7);
});

test.each(golden.fit as Motion[])("the body fit at a height of $height", (g) => {
  const fitter = new Fitter(g.joints, g.height);
  g.seconds.forEach((time, i) => {
    const { xyz, root, rotations, lengths } = fitter.fit(g.xyz[i]!, g.xy[i]!, g.score[i]!, g.camera, time);
    expect(apart({ xyz, root, rotations, lengths }, g.out[i])).toBeLessThan(1e-5);
  });
});

test("from the axes of a person seen straight on to the camera's", () => {
  const g = golden.faced as Motion & { out: V3[][] };
  g.xyz.forEach((xyz, i) => expect(apart(faced(xyz, g.xy[i]!, g.score[i]!, g.camera), g.out[i])).toBeLessThan(1e-6));
});

test("the lift from a picture", () => {
  const g = golden.lift as Motion;
  const lifter = new Lifter(g.joints, g.height!);
  g.seconds.forEach((time, i) => {
    const { xyz, root, rotations } = lifter.fit(g.xy[i]!, g.score[i]!, g.camera, time);
    expect(apart({ xyz, root, rotations }, g.out[i])).toBeLessThan(1e-5);
  });
});

test.each(golden.retarget as { document: Document; rotations: Q[]; upright: Q[]; mirrored: Q[]; names: string[]; hip_height: number; out: Q[] }[])(
  "retargeting to $names.0",
  (g) => {
    const target = new Retarget(rigOf(g.document));
    const body = upright(g.rotations);
    expect(apart(body, g.upright)).toBeLessThan(1e-8);
    expect(apart(mirrored(body), g.mirrored)).toBeLessThan(1e-8);
    expect(target.rig.names).toEqual(g.names);
    expect(apart(target.hipHeight, g.hip_height)).toBeLessThan(1e-8);
    expect(apart(target.turns(body), g.out)).toBeLessThan(1e-8);
  },
);

test("a BVH file, to the letter but for the last digit", () => {
  const g = golden.bvh;
  const frames = g.seconds.map((seconds: number, i: number) => ({ seconds, rotations: g.rotations[i], place: g.places[i] }));
  const [mine, theirs] = [bvh(even(frames, g.fps), g.lengths, g.fps), g.text as string].map((text) => text.split(/\s+/));
  expect(mine!.length).toBe(theirs!.length);
  mine!.forEach((word, i) => {
    if (Number.isNaN(Number(word))) expect(word).toBe(theirs![i]);
    else expect(Math.abs(Number(word) - Number(theirs![i]))).toBeLessThan(1.5e-4);
  });
});

describe("what the network is shown", () => {
  const [{ picture, width, height }, ...rest] = golden.crop;
  const rgba = new Uint8ClampedArray(width * height * 4);
  for (let i = 0; i < width * height; i++) rgba.set([...picture.slice(3 * i, 3 * i + 3), 255], 4 * i);
  type Shown = { matrix: number[][]; pixels: number[]; box: number[]; size: [number, number]; padding: number };
  test.each(rest.slice(0, -1) as Shown[])("the crop of $box", ({ matrix, pixels, box, size, padding }) => {
    const crop = cropOf(box as [number, number, number, number], size, padding);
    expect(apart(crop.matrix, matrix.flat())).toBeLessThan(1e-8);
    expect(apart(warp({ data: rgba, width, height }, crop), pixels)).toBeLessThanOrEqual(1);
  });
  test("the region around joints", () => {
    const g = rest.at(-1);
    const hips = [11, 12];
    expect(apart(regionOf(g.joints, g.sure, hips), g.region)).toBeLessThan(1e-8);
  });
});
