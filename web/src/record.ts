/** What is kept: the motion as BVH, and the picture beside the avatar as a video. */

import { type Frame, bvh, even } from "./bvh";
import { forward } from "./kinematics";
import { median } from "./math";

export function save(name: string, data: Blob): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** `poseling-2026-11-27-09-30-12.bvh` */
export function named(suffix: string): string {
  const now = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString();
  return `poseling-${now.slice(0, 19).replace(/[T:]/g, "-")}.${suffix}`;
}

/** The text of a BVH file of frames as they came, on a floor at the height of the lowest ankle; null of fewer than two. */
export function motion(frames: Frame[], lengths: number[]): string | null {
  const single = frames.filter((frame, i) => i === 0 || frame.seconds !== frames[i - 1]!.seconds);
  const steps = single.slice(1).map((frame, i) => frame.seconds - single[i]!.seconds);
  const usual = median(steps.filter((step) => step > 0));
  if (!(usual > 0)) return null;
  // Where a video starts anew or another one follows, time goes on.
  let seconds = 0;
  const ordered = single.map((frame, i): Frame => ({ ...frame, seconds: i ? (seconds += steps[i - 1]! > 0 ? steps[i - 1]! : usual) : 0 }));
  const fps = Math.min(240, Math.max(1, Math.round(100 / usual) / 100));
  const [x, , z] = ordered[0]!.place;
  let lowest = Infinity; // an hour has more frames than a function may have arguments
  for (const { rotations, place } of ordered) for (const point of forward(rotations, lengths)) lowest = Math.min(lowest, place[1] + point[1]);
  const placed = ordered.map((frame): Frame => ({ ...frame, place: [frame.place[0] - x, frame.place[1] - lowest, frame.place[2] - z] }));
  return bvh(even(placed, fps), lengths, fps);
}

const KINDS = ["video/mp4;codecs=avc1.42E01E", "video/webm;codecs=vp9", "video/webm;codecs=vp8", "video/webm"];
const RATE = 30;

/** Films what `draw` puts into a canvas, until it is stopped. */
export class Film {
  private readonly canvas = document.createElement("canvas");
  private readonly recorder: MediaRecorder;
  private readonly chunks: Blob[] = [];
  private readonly kind: string;
  private request = 0;

  /** Error if this browser records no video. */
  constructor(width: number, height: number, draw: (context: CanvasRenderingContext2D) => void) {
    const kind = typeof MediaRecorder === "undefined" ? undefined : KINDS.find((k) => MediaRecorder.isTypeSupported(k));
    if (!kind) throw new Error("this browser records no video; take its newest version");
    this.kind = kind;
    [this.canvas.width, this.canvas.height] = [width, height];
    const context = this.canvas.getContext("2d")!;
    const next = (): void => {
      draw(context);
      this.request = requestAnimationFrame(next);
    };
    next();
    this.recorder = new MediaRecorder(this.canvas.captureStream(RATE), { mimeType: kind, videoBitsPerSecond: 6e6 });
    this.recorder.ondataavailable = ({ data }): void => void this.chunks.push(data);
    this.recorder.start(1000);
  }

  /** The film, and its file's suffix. */
  async stop(): Promise<{ film: Blob; suffix: string }> {
    cancelAnimationFrame(this.request);
    await new Promise((done) => {
      this.recorder.onstop = done;
      this.recorder.stop();
    });
    return { film: new Blob(this.chunks, { type: this.kind }), suffix: this.kind.includes("mp4") ? "mp4" : "webm" };
  }
}
