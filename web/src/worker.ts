/** The network, away from the page's own thread: frames come in, poses go out, one at a time. */

import wasmModule from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import wasmBinary from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import gpuModule from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.mjs?url";
import gpuBinary from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import type { InferenceSession, TypedTensor } from "onnxruntime-web";
import { type Box, type Picture, type Point, cropOf, invert, warp } from "./crop";
import type { V3 } from "./math";
import type { Ask, Provider, Tell } from "./messages";
import { roots } from "./skeleton";
import { type Spec, readSpec } from "./spec";
import { type Answer, Tracker } from "./tracker";

type Ort = typeof import("onnxruntime-web/wasm");

/** A session that was timed. */
interface Running {
  provider: Provider;
  run: (input: Uint8Array) => Promise<InferenceSession.OnnxValueMapType>;
  milliseconds: number;
  session: InferenceSession;
}

const WARM = 3;
const TIMED = 8;
/** How many numbers each output has for a joint. */
const EACH: Record<string, number> = { xy: 2, score: 1, xyz: 3 };

let running: Running | null = null;
let spec: Spec | null = null;
let tracker: Tracker | null = null;
let looked: Box = [0, 0, 1, 1];
let canvas: OffscreenCanvas | null = null;

const tell = (message: Tell, transfer: Transferable[] = []): void => (self as unknown as Worker).postMessage(message, transfer);

// Messages are taken one after the other: a frame that comes while the file is opened waits.
let queue: Promise<void> = Promise.resolve();
self.onmessage = ({ data }: MessageEvent<Ask>): void => {
  queue = queue.then(async () => {
    try {
      if (data.type === "load") await load(data);
      else if (data.type === "reset") tracker?.reset();
      else await frame(data.bitmap, data.seconds, data.sent, data.keep);
    } catch (error) {
      tell({ type: "refused", message: error instanceof Error ? error.message : String(error) });
    }
  });
};

/** Opens a file, and keeps the one before if that cannot be done. */
async function load({ file, name, gpu, threads: wanted }: Extract<Ask, { type: "load" }>): Promise<void> {
  const next = readSpec(file, name);
  const threads = self.crossOriginIsolated ? wanted : 1;
  let found: Running;
  try {
    found = await open("wasm", file, next, threads);
  } catch (error) {
    throw new Error(`${name}: cannot be run (${firstLine(error)}); fetch or export it again`);
  }
  const timed: Partial<Record<Provider, number>> = { wasm: found.milliseconds };
  if (gpu) {
    // Where it cannot be had, or cannot run this network, there is nothing to say: the processor does it.
    const other = await open("webgpu", file, next, threads).catch(() => null);
    if (other) {
      timed.webgpu = other.milliseconds;
      const [faster, slower] = other.milliseconds < found.milliseconds ? [other, found] : [found, other];
      await slower.session.release();
      found = faster;
    }
  }
  await running?.session.release();
  [running, spec, tracker] = [found, next, new Tracker(roots(next.skeleton.joints))];
  tell({ type: "loaded", spec, provider: found.provider, threads: found.provider === "wasm" ? threads : 1, timed });
}

/** A session of a provider, tried with a grey picture and timed: the median of some runs. */
async function open(provider: Provider, file: ArrayBuffer, contract: Spec, threads: number): Promise<Running> {
  const ort: Ort = provider === "wasm" ? await import("onnxruntime-web/wasm") : await import("onnxruntime-web/webgpu");
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = provider === "wasm" ? { mjs: wasmModule, wasm: wasmBinary } : { mjs: gpuModule, wasm: gpuBinary };
  ort.env.logLevel = "error";
  const session = await ort.InferenceSession.create(new Uint8Array(file), { executionProviders: [provider], graphOptimizationLevel: "all" });
  const [width, height] = contract.size;
  const run = (input: Uint8Array): Promise<InferenceSession.OnnxValueMapType> =>
    session.run({ crops: new ort.Tensor("uint8", input, [1, height, width, 3]) }, contract.outputs);
  const grey = new Uint8Array(width * height * 3).fill(128);
  const times: number[] = [];
  for (let i = 0; i < WARM + TIMED; i++) {
    const start = performance.now();
    const out = await run(grey);
    for (const name of contract.outputs) {
      const values = out[name];
      const right = values?.type === "float32" && values.size === EACH[name]! * contract.skeleton.joints.length;
      if (!right) throw new Error(`its ${name} is not what its contract says`);
    }
    if (i >= WARM) times.push(performance.now() - start);
  }
  return { provider, run, session, milliseconds: times.sort((a, b) => a - b)[TIMED >> 1]! };
}

async function frame(bitmap: ImageBitmap, seconds: number, sent: number, keep: boolean): Promise<void> {
  const picture = read(bitmap);
  const { width, height } = picture;
  if (!running || !spec || !tracker) return tell({ type: "pose", person: null, seconds, sent, width, height, network: 0, picture: null });
  let network = 0;
  const { run } = running;
  const contract = spec;
  const look = async (region: Box): Promise<Answer> => {
    const crop = cropOf(region, contract.size, 1);
    const start = performance.now();
    const out = await run(warp(picture, crop));
    network += performance.now() - start;
    looked = region;
    const rows = (name: string): number[][] => {
      const values = (out[name] as TypedTensor<"float32">).data;
      const length = EACH[name]!;
      return contract.skeleton.joints.map((_, j) => Array.from(values.subarray(length * j, length * (j + 1))));
    };
    return {
      // Rounded as a Pose is in Python.
      xy: rows("xy").map((p) => invert(crop, p as Point).map(Math.fround) as Point),
      score: rows("score").map((s) => s[0]!),
      xyz: contract.outputs.includes("xyz") ? (rows("xyz") as V3[]) : null,
    };
  };
  const found = await tracker.step(width, height, seconds, look);
  const person = found && { id: found.id, xy: found.xy, score: found.score, xyz: found.xyz, looked };
  const kept = keep ? picture.data : null;
  tell({ type: "pose", person, seconds, sent, width, height, network, picture: kept }, kept ? [kept.buffer] : []);
}

function read(bitmap: ImageBitmap): Picture {
  const { width, height } = bitmap;
  if (canvas?.width !== width || canvas.height !== height) canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true })!;
  context.drawImage(bitmap, 0, 0);
  bitmap.close();
  return context.getImageData(0, 0, width, height);
}

function firstLine(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  return text.split("\n")[0]!.slice(0, 160);
}
