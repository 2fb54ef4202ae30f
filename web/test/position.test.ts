/** Which way a network looks at a person: poseling.geometry.ray_rotation. */

import { expect, test } from "vitest";
import { faced } from "../src/position";

test("what lies straight ahead of the crop's middle lies along its ray", () => {
  // The middle of the joints that count is 45 degrees to the right.
  const xy: [number, number][] = [[100, 40], [200, 60], [0, 0]];
  const [ahead, up] = faced([[0, 0, 1], [0, 1, 0], [1, 0, 0]], xy, [0.5, 1, 0], [100, 100, 50, 50]);
  [Math.SQRT1_2, 0, Math.SQRT1_2].forEach((v, i) => expect(ahead![i]).toBeCloseTo(v));
  [0, 1, 0].forEach((v, i) => expect(up![i]).toBeCloseTo(v));
});

test("without joints nothing is turned", () => {
  expect(faced([[0, 0, 1]], [[9, 9]], [0], [100, 100, 50, 50])).toEqual([[0, 0, 1]]);
});
