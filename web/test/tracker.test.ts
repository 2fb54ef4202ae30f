/** One person from frame to frame, with a network that sees what the test puts before it. */

import { expect, test } from "vitest";
import type { Point } from "../src/crop";
import { Tracker } from "../src/tracker";

const BODY: Point[] = [[0, -100], [-40, -40], [40, -40], [-30, 100], [30, 100], [0, 0]];

/** The ids of the frames in which somebody is seen at the places `x`, at 30 frames a second. */
async function ids(x: number[]): Promise<(number | null)[]> {
  const tracker = new Tracker([5]);
  const out: (number | null)[] = [];
  for (const [i, at] of x.entries()) {
    const xy = BODY.map(([a, b]): Point => [a + at, b + 240]);
    const person = await tracker.step(1280, 480, i / 30, async () => ({ xy, score: xy.map(() => 0.9), xyz: null }));
    out.push(person && person.id);
  }
  return out;
}

const frames = (count: number, x: number): number[] => Array<number>(count).fill(x);

test("who is back within a second of a jump is the same", async () => {
  // 120 pixels are 0.6 of the size of 200: more than a frame's half, and within the one where a lost person is.
  expect(await ids([...frames(10, 300), ...frames(6, 420), ...frames(5, 300)])).toEqual([
    ...frames(10, 0), ...frames(6, 1), ...frames(5, 0),
  ]);
});

test("who is back later, or far from there, is another", async () => {
  expect((await ids([...frames(10, 300), ...frames(40, 420), ...frames(5, 300)])).at(-1)).toBe(2);
  expect((await ids([...frames(10, 300), ...frames(6, 700), ...frames(5, 1000)])).at(-1)).toBe(2);
});
