/** From frames to a body: asks the worker for the person's joints, filters them, and fits a body or lifts one. */

import { type Fitted, Fitter } from "./fit";
import { PELVIS } from "./kinematics";
import { Lifter } from "./lift";
import type { Q, V3 } from "./math";
import type { Ask, Found, Provider, Tell } from "./messages";
import { OneEuro, PICTURE, SPACE, size } from "./oneEuro";
import { faced, guessedCamera } from "./position";
import { sources } from "./skeleton";
import type { Spec } from "./spec";
import { upright } from "./turns";

/** Larger pictures are made smaller before they are looked at: a network sees some 200 pixels of them. */
const LARGEST = 1280;
/** Beyond four, threads gain nothing for networks this small. `?threads=1` in the page's address asks for another number. */
const THREADS = Number(new URLSearchParams(location.search).get("threads")) || Math.min(4, Math.max(1, navigator.hardwareConcurrency ?? 1));
/** Seconds after which somebody who comes back begins anew. */
const REMEMBERED = 1;

export interface Body {
  /** (13) upright turns. */
  rotations: Q[];
  /** The pelvis in metres: x to the right of the picture, y up, z to the camera. */
  place: V3;
  lengths: number[];
}

export interface Result {
  seconds: number;
  width: number;
  height: number;
  /** As the network said, and filtered. */
  person: Found | null;
  xy: [number, number][] | null;
  body: Body | null;
  /** Milliseconds from when the frame was taken, and those of the network. */
  latency: number;
  network: number;
  picture: Uint8ClampedArray | null;
}

export class Estimator {
  spec: Spec | null = null;
  provider: Provider = "wasm";
  threads = 1;
  timed: Partial<Record<Provider, number>> = {};
  /** 0 is none, 1 what VNect has, more is smoother and later. */
  smoothing = 1;
  private readonly worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  private waiting: { resolve: (tell: Tell) => void; reject: (error: Error) => void } | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  private fitter: Lifter | Fitter | null = null;
  private flat = new OneEuro(PICTURE.cutoff, PICTURE.beta);
  private deep = new OneEuro(SPACE.cutoff, SPACE.beta);
  private id = -1;
  private seen = -Infinity;
  private tall = 1.7;

  constructor() {
    this.worker.onmessage = ({ data }: MessageEvent<Tell>): void => {
      const waiting = this.waiting;
      this.waiting = null;
      if (data.type === "refused") waiting?.reject(new Error(data.message));
      else waiting?.resolve(data);
    };
    this.worker.onerror = (event): void => {
      this.waiting?.reject(new Error(`the network's worker failed: ${event.message}`));
      this.waiting = null;
    };
  }

  /** Whether the network says nothing about depth. */
  get lifts(): boolean {
    return this.spec !== null && !this.spec.outputs.includes("xyz");
  }

  /** Whether its joints are a body's, which an avatar can follow: from where the hips are, or in space by any of them. */
  get moves(): boolean {
    if (!this.spec) return false;
    const from = sources(this.spec.skeleton.joints);
    return this.lifts ? from[PELVIS] !== null : from.some(Boolean);
  }

  set height(metres: number) {
    this.tall = metres;
    this.begin();
  }

  /** One message at a time; its answer. */
  private ask(message: Ask, transfer: Transferable[] = []): Promise<Tell> {
    const answer = this.turn.then(
      () =>
        new Promise<Tell>((resolve, reject) => {
          this.waiting = { resolve, reject };
          this.worker.postMessage(message, transfer);
        }),
    );
    this.turn = answer.catch(() => undefined);
    return answer;
  }

  /** Error in one line if the file is no network that the page can run; then the one before stays. */
  async load(file: ArrayBuffer, name: string): Promise<void> {
    const gpu = (await (navigator as { gpu?: { requestAdapter(): Promise<unknown> } }).gpu?.requestAdapter().catch(() => null)) ?? null;
    const told = await this.ask({ type: "load", file, name, gpu: gpu !== null, threads: THREADS });
    if (told.type !== "loaded") return;
    ({ spec: this.spec, provider: this.provider, threads: this.threads, timed: this.timed } = told);
    this.begin();
  }

  /** Forgets the person: another camera, another video. */
  reset(): void {
    this.worker.postMessage({ type: "reset" } satisfies Ask);
    this.begin();
  }

  private begin(): void {
    if (!this.spec) return;
    const { joints } = this.spec.skeleton;
    if (!this.moves) this.fitter = null;
    else this.fitter = this.lifts ? new Lifter(joints, this.tall) : new Fitter(joints, this.tall);
    this.flat.reset();
    this.deep.reset();
    this.seen = -Infinity;
  }

  /** The body in a picture that is there at a time in seconds. `taken` is when, on the page's own clock in milliseconds. */
  async look(source: CanvasImageSource & ImageBitmapSource, width: number, height: number, seconds: number, taken = performance.now(), keep = false): Promise<Result> {
    const shrink = Math.min(1, LARGEST / Math.max(width, height));
    const how = shrink < 1 ? { resizeWidth: Math.round(width * shrink), resizeHeight: Math.round(height * shrink), resizeQuality: "medium" as const } : {};
    const bitmap = await createImageBitmap(source, how);
    const told = await this.ask({ type: "frame", bitmap, seconds, sent: taken, keep }, [bitmap]);
    if (told.type !== "pose") throw new Error("the worker answered something else");
    const { person, network, picture } = told;
    const xy = person && this.filtered(person, seconds);
    const body = person && xy && this.fitter && this.fitted(this.fitter, person, xy, told.width, told.height, seconds);
    return { seconds, width: told.width, height: told.height, person, xy, body, latency: performance.now() - taken, network, picture };
  }

  private filtered(person: Found, seconds: number): [number, number][] {
    if (person.id !== this.id || !(seconds - this.seen >= 0 && seconds - this.seen <= REMEMBERED)) this.begin();
    [this.id, this.seen] = [person.id, seconds];
    if (this.smoothing <= 0) return person.xy;
    // More smoothing is a lower cutoff, at rest and in motion.
    [this.flat.cutoff, this.flat.beta] = [PICTURE.cutoff / this.smoothing, PICTURE.beta / this.smoothing];
    const values = this.flat.filter(person.xy.flat(), seconds, PICTURE.unit * size(person.xy));
    return person.xy.map((_, i) => [values[2 * i]!, values[2 * i + 1]!]);
  }

  private fitted(fitter: Lifter | Fitter, person: Found, xy: [number, number][], width: number, height: number, seconds: number): Body {
    const camera = guessedCamera(width, height);
    let fitted: Fitted;
    if (fitter instanceof Lifter) fitted = fitter.fit(xy, person.score, camera, seconds);
    else {
      let xyz = person.xyz!;
      if (this.smoothing > 0) {
        [this.deep.cutoff, this.deep.beta] = [SPACE.cutoff / this.smoothing, SPACE.beta / this.smoothing];
        const values = this.deep.filter(xyz.flat(), seconds, SPACE.unit);
        xyz = xyz.map((_, i): V3 => [values[3 * i]!, values[3 * i + 1]!, values[3 * i + 2]!]);
      }
      fitted = fitter.fit(faced(xyz, xy, person.score, camera), xy, person.score, camera, seconds);
    }
    const [x, y, z] = fitted.root ?? [0, 0, 0];
    return { rotations: upright(fitted.rotations), place: [x, -y, -z], lengths: fitted.lengths };
  }
}
