/** The joints over the picture that they were found in. */

import type { Skeleton } from "./skeleton";

const SHOWN = 0.2;
const COLOURS = { left: "#54d6c4", right: "#ffb86b", middle: "#eef2f7" };

const colour = (joint: string): string => (joint.startsWith("left_") ? COLOURS.left : joint.startsWith("right_") ? COLOURS.right : COLOURS.middle);

/** The picture that is being looked at: the video goes on meanwhile. Upright, as a canvas draws a turned phone's video, and as an ImageBitmap of the video would not be in Chromium with a GPU. */
export class Kept {
  private readonly canvas = document.createElement("canvas");

  keep(video: HTMLVideoElement): HTMLCanvasElement {
    const { canvas } = this;
    const { videoWidth: width, videoHeight: height } = video;
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    canvas.getContext("2d")!.drawImage(video, 0, 0, width, height);
    return canvas;
  }
}

/** Joints `xy` with their scores in a picture of this size, over the `picture`, or over whatever is below. */
export function drawOverlay(
  canvas: HTMLCanvasElement, width: number, height: number, skeleton: Skeleton | null, xy: [number, number][] | null, score: number[],
  picture: CanvasImageSource | null = null,
): void {
  if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d")!;
  context.clearRect(0, 0, width, height);
  if (picture) context.drawImage(picture, 0, 0, width, height);
  if (!skeleton || !xy) return;
  const thick = Math.max(2, Math.hypot(width, height) / 220);
  context.lineCap = "round";
  // Pixel centres lie at whole numbers, a canvas' at halves.
  const at = (joint: number): [number, number] => [xy[joint]![0] + 0.5, xy[joint]![1] + 0.5];
  const bones = skeleton.parents.flatMap((parent, joint) => (parent !== joint && score[joint]! >= SHOWN && score[parent]! >= SHOWN ? [[joint, parent] as const] : []));
  for (const [wide, of] of [[thick + 2, () => "#0008"], [thick, colour]] as const) {
    context.lineWidth = wide;
    for (const [joint, parent] of bones) {
      context.strokeStyle = of(skeleton.joints[joint]!);
      context.beginPath();
      context.moveTo(...at(joint));
      context.lineTo(...at(parent));
      context.stroke();
    }
  }
  skeleton.joints.forEach((name, joint) => {
    if (score[joint]! < SHOWN) return;
    context.fillStyle = "#12161d";
    context.strokeStyle = colour(name);
    context.lineWidth = thick * 0.7;
    context.beginPath();
    context.arc(...at(joint), thick * 1.1, 0, 2 * Math.PI);
    context.fill();
    context.stroke();
  });
}
