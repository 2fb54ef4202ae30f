/** What the network is shown: poseling.geometry.Crop and poseling.runtime.region. Pixel centres lie at whole numbers, lengths scale by (W - 1). */

export type Box = [number, number, number, number];
export type Point = [number, number];

/** RGBA, as a canvas gives it. */
export interface Picture {
  data: Uint8ClampedArray;
  width: number;
  height: number;
}

export interface Crop {
  /** Rows of the affine from picture pixels to input pixels. */
  matrix: [number, number, number, number, number, number];
  size: [number, number];
}

/** The crop around a box times `padding`, grown to the input's shape. */
export function cropOf(box: Box, size: [number, number], padding: number): Crop {
  const [x0, y0, x1, y1] = box;
  const last = [size[0] - 1, size[1] - 1] as const;
  const zoom = Math.min(last[0] / (x1 - x0), last[1] / (y1 - y0)) / padding;
  const middle = [(x0 + x1) / 2, (y0 + y1) / 2] as const;
  return { matrix: [zoom, 0, last[0] / 2 - zoom * middle[0], 0, zoom, last[1] / 2 - zoom * middle[1]], size };
}

/** Input pixels back to picture pixels. */
export function invert({ matrix: [a, , c, , e, f] }: Crop, [x, y]: Point): Point {
  return [(x - c) / a, (y - f) / e];
}

/** The input (H, W, 3) RGB, black where the picture ends. Beyond a factor of two pixels are averaged first, as bilinear sampling would skip some. */
export function warp(picture: Picture, crop: Crop): Uint8Array {
  let source = picture;
  let [a, , c, , e, f] = crop.matrix;
  const shrink = 1 / Math.sqrt(Math.abs(a * e));
  if (shrink > 2) {
    const factor = block(picture.width, picture.height, shrink);
    const [xs, ys] = [looked(crop.size[0], picture.width, a, c, factor), looked(crop.size[1], picture.height, e, f, factor)];
    source = averaged(picture, xs, ys);
    [a, c] = [a * xs.step, c + a * (xs.step * (xs.first + 0.5) - 0.5)];
    [e, f] = [e * ys.step, f + e * (ys.step * (ys.first + 0.5) - 0.5)];
  }
  const [width, height] = crop.size;
  const out = new Uint8Array(width * height * 3);
  const { data } = source;
  for (let row = 0; row < height; row++) {
    const y = (row - f) / e;
    const top = Math.floor(y);
    const low = y - top;
    for (let col = 0; col < width; col++) {
      const x = (col - c) / a;
      const left = Math.floor(x);
      const right = x - left;
      for (let corner = 0; corner < 4; corner++) {
        const [px, py] = [left + (corner & 1), top + (corner >> 1)];
        if (px < 0 || py < 0 || px >= source.width || py >= source.height) continue;
        const share = (corner & 1 ? right : 1 - right) * (corner >> 1 ? low : 1 - low);
        const at = 4 * (py * source.width + px);
        for (let k = 0; k < 3; k++) sums[k]! += share * data[at + k]!;
      }
      for (let k = 0; k < 3; k++) {
        out[3 * (row * width + col) + k] = Math.round(sums[k]!);
        sums[k] = 0;
      }
    }
  }
  return out;
}

const sums = [0, 0, 0];

/** As Python rounds. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  return x - floor === 0.5 ? floor + (floor & 1) : Math.round(x);
}

/** How many pixels along each axis become one: what the sides are multiples of, if that leaves less than a factor of two. */
function block(width: number, height: number, shrink: number): number {
  const about = Math.round(shrink * 1e6) / 1e6; // a matrix that shrinks five times says 4.9999999
  const most = Math.floor(about);
  for (let factor = most; factor >= about / 2; factor--) if (width % factor === 0 && height % factor === 0) return factor;
  return most;
}

/** Of the averaged pixels along one axis, each of `step` pixels, those that the crop looks at: `count` from the `first` on. */
interface Looked {
  step: number;
  first: number;
  count: number;
}

function looked(to: number, from: number, scale: number, offset: number, factor: number): Looked {
  const all = Math.max(1, roundHalfEven(from / factor));
  const step = from / all;
  const [start, stop] = [-offset / scale, (to - 1 - offset) / scale].map((at) => (at + 0.5) / step - 0.5) as [number, number];
  const first = Math.min(Math.max(Math.floor(start) - 1, 0), all - 1);
  return { step, first, count: Math.min(Math.max(Math.ceil(stop) + 2, first + 1), all) - first };
}

/** A part of the picture at a smaller size, each pixel the mean of what it covers. */
function averaged(picture: Picture, across: Looked, down: Looked): Picture {
  const [width, height] = [across.count, down.count];
  const xs = shares(picture.width, across);
  const ys = shares(picture.height, down);
  const [top, bottom] = [ys[0]!.first, ys[height - 1]!.first + ys[height - 1]!.weights.length];
  const rows = new Float32Array((bottom - top) * width * 3);
  for (let y = top; y < bottom; y++) {
    for (let x = 0; x < width; x++) {
      const { first, weights } = xs[x]!;
      let [r, g, b] = [0, 0, 0];
      for (let i = 0, at = 4 * (y * picture.width + first); i < weights.length; i++, at += 4) {
        const w = weights[i]!;
        r += w * picture.data[at]!;
        g += w * picture.data[at + 1]!;
        b += w * picture.data[at + 2]!;
      }
      const to = 3 * ((y - top) * width + x);
      [rows[to], rows[to + 1], rows[to + 2]] = [r, g, b];
    }
  }
  // OpenCV rounds a half up where it takes the mean of two by two, and to the even number elsewhere, as a clamped array does.
  const half = across.step === 2 && down.step === 2 ? (v: number): number => Math.floor(v + 0.5) : (v: number): number => v;
  const data = new Uint8ClampedArray(width * height * 4);
  for (let y = 0; y < height; y++) {
    const { first, weights } = ys[y]!;
    for (let x = 0; x < width; x++) {
      let [r, g, b] = [0, 0, 0];
      for (let i = 0; i < weights.length; i++) {
        const at = 3 * ((first - top + i) * width + x);
        r += weights[i]! * rows[at]!;
        g += weights[i]! * rows[at + 1]!;
        b += weights[i]! * rows[at + 2]!;
      }
      data.set([half(r), half(g), half(b), 255], 4 * (y * width + x));
    }
  }
  return { data, width, height };
}

/** For each of the pixels looked at which of `from` it covers, and how much of itself each is. */
function shares(from: number, { step, first: skipped, count }: Looked): { first: number; weights: number[] }[] {
  return Array.from({ length: count }, (_, i) => {
    const [start, end] = [(skipped + i) * step, Math.min((skipped + i + 1) * step, from)];
    const first = Math.floor(start + 1e-9);
    const weights: number[] = [];
    for (let k = first; k < end - 1e-9; k++) weights.push((Math.min(k + 1, end) - Math.max(k, start)) / step);
    return { first, weights };
  });
}

const BUFFER = [0.4, 0.2] as const;
const SMALLEST = 8;

/** VNect's box of the joints that are sure, moved sideways to the roots no further than that all joints stay in it. */
export function regionOf(xy: Point[], sure: boolean[], roots: number[]): Box {
  const box = bounds(xy, sure);
  const sides = [box[2] - box[0], box[3] - box[1]] as const;
  const middle: Point = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
  const buffer = [(BUFFER[0] * sides[0]) / 2, (BUFFER[1] * sides[1]) / 2] as const;
  const at = roots.filter((j) => sure[j]);
  if (at.length) {
    const root = at.reduce((sum, j) => sum + xy[j]![0], 0) / at.length;
    middle[0] += Math.min(Math.max(root - middle[0], -buffer[0]), buffer[0]);
  }
  const half = [0, 1].map((i) => Math.max(sides[i]! / 2 + buffer[i]!, SMALLEST / 2)) as Point;
  return [middle[0] - half[0], middle[1] - half[1], middle[0] + half[0], middle[1] + half[1]];
}

/** Nine boxes of half the sides of a picture, each overlapping its neighbours by half. */
export function windows(width: number, height: number): Box[] {
  const [w, h] = [Math.max(1, width - 1) / 4, Math.max(1, height - 1) / 4];
  return [0, 1, 2].flatMap((y) => [0, 1, 2].map((x): Box => [x * w, y * h, (x + 2) * w, (y + 2) * h]));
}

/** A box so many times as large about its middle. */
export function scaledBox([x0, y0, x1, y1]: Box, factor: number): Box {
  const [x, y] = [(x0 + x1) / 2, (y0 + y1) / 2];
  const [w, h] = [(factor * (x1 - x0)) / 2, (factor * (y1 - y0)) / 2];
  return [x - w, y - h, x + w, y + h];
}

export function bounds(xy: Point[], sure: boolean[]): Box {
  const seen = xy.filter((_, i) => sure[i]);
  const [xs, ys] = [seen.map((p) => p[0]), seen.map((p) => p[1])];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
}
