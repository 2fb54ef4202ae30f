/** The page. */

import { Estimator, type Body, type Result } from "./estimator";
import type { Frame } from "./bvh";
import { lowest } from "./kinematics";
import { mannequin } from "./mannequin";
import type { V3 } from "./math";
import { loadModel } from "./model";
import { Kept, drawOverlay } from "./overlay";
import { Film, motion, named, save } from "./record";
import { Source } from "./source";
import { Stage } from "./stage";
import { mirrored } from "./turns";

const NETWORK = "./model/pose.onnx";
const ABOUT = "./model/about.json";
/** Seconds in which the avatar does most of what it shall: between two frames it goes on. */
const EASE = 0.05;
/** Metres to the side that it follows. */
const ASIDE = 0.9;

const $ = <T extends HTMLElement>(id: string): T => document.getElementById(id) as T;
const video = $<HTMLVideoElement>("video");
const overlay = $<HTMLCanvasElement>("overlay");
const settings = { mirror: $<HTMLInputElement>("mirror"), joints: $<HTMLInputElement>("joints"), smoothing: $<HTMLInputElement>("smoothing"), height: $<HTMLInputElement>("height") };

const estimator = new Estimator();
const source = new Source(video, (why) => {
  alert(why);
  idle();
});
let stage: Stage | null = null;
let last: Result | null = null;
let middle: number | null = null;
let take: { frames: Frame[]; lengths: number[] } | null = null;
let film: Film | null = null;
let sends = false;

/** Said by a screen reader at once, and shown until something goes well again. */
function alert(text: string): void {
  $("alert").textContent = text;
}

function say(text: string): void {
  $("alert").textContent = "";
  $("status").textContent = text;
}

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Does something that may go wrong, and says so. */
async function attempt(what: () => Promise<unknown> | unknown): Promise<void> {
  try {
    await what();
  } catch (error) {
    alert(reason(error));
  }
}

// --- the network

const ready = (async (): Promise<void> => {
  const response = await fetch(NETWORK).catch(() => null);
  if (!response?.ok) throw new Error(`${NETWORK}: the network's file is not there; start the page with \`poseling live\`, or choose a network under Settings`);
  const about = await fetch(ABOUT).then((r) => (r.ok ? r.json() : {}), () => ({})) as { name?: string; terms?: string; vmc?: boolean };
  await network(await response.arrayBuffer(), about.name ?? "pose.onnx", about.terms);
  sends = about.vmc === true;
})();
ready.catch((error: unknown) => {
  $("engine").textContent = "no network";
  alert(reason(error));
});

async function network(file: ArrayBuffer, name: string, terms?: string): Promise<void> {
  await estimator.load(file, name);
  const { spec, provider, threads, timed } = estimator;
  const engine = provider === "webgpu" ? "WebGPU" : `WASM × ${threads}`;
  $("engine").textContent = engine;
  const measured = Object.entries(timed).map(([which, ms]) => `${which === "webgpu" ? "WebGPU" : "WASM"} ${ms.toFixed(1)} ms`).join(", ");
  const size = spec!.size.join(" x ");
  $("network").textContent = `${name}${terms ? `, ${terms}` : ""}: ${spec!.skeleton.joints.length} joints from ${size} pixels; measured here: ${measured}.`;
  const depth = estimator.lifts ? "2D network: depth is a guess" : "3D network: depth is as it sees it";
  $("note").textContent = estimator.moves ? depth : "This network sees no body: joints only";
  say(`${name} is ready on ${engine}`);
}

// --- frames

let busy = false;
let stamps: number[] = [];
const looked = new Kept();

async function frame(seconds: number, taken: number): Promise<void> {
  if (busy || !estimator.spec || !video.videoWidth) return;
  busy = true;
  try {
    // What is shown is the picture that was looked at, so that the joints fit it however long that took.
    const picture = looked.keep(video);
    const found = await estimator.look(picture, picture.width, picture.height, seconds, taken);
    if (source.kind !== "none") show(found, picture);
  } catch (error) {
    alert(reason(error));
  } finally {
    busy = false;
  }
}

function show(result: Result, picture: HTMLCanvasElement | null = null): void {
  last = result;
  const { width, height, xy, person, body, latency } = result;
  const joints = settings.joints.checked;
  drawOverlay(overlay, width, height, estimator.spec?.skeleton ?? null, joints ? xy : null, person?.score ?? [], joints ? picture : null);
  const now = performance.now();
  stamps = [...stamps.filter((t, i) => now - t < 2000 || i === stamps.length - 1), now];
  const fps = (1000 * (stamps.length - 1)) / (now - stamps[0]!);
  $("fps").textContent = Number.isFinite(fps) ? fps.toFixed(fps < 10 ? 1 : 0) : "–";
  $("latency").textContent = latency.toFixed(0);
  if (body) move(body, result.seconds);
}

function move(found: Body, seconds: number): void {
  const body = settings.mirror.checked ? { ...found, rotations: mirrored(found.rotations), place: [-found.place[0], found.place[1], found.place[2]] as V3 } : found;
  middle ??= body.place[0];
  const aside = Math.min(ASIDE, Math.max(-ASIDE, body.place[0] - middle));
  stage?.set(body.rotations, [aside, 0, 0]);
  if (take) {
    take.frames.push({ seconds, rotations: body.rotations, place: body.place });
    take.lengths = body.lengths;
  }
  if (sends) {
    const sent = JSON.stringify({ rotations: body.rotations, place: [aside, -lowest(body.rotations, body.lengths), 0], seconds }); // the lower foot on the floor
    void fetch("./vmc", { method: "POST", headers: { "Content-Type": "application/json" }, body: sent, keepalive: true }).catch(() => undefined);
  }
}

/** Asks for each new picture of the video as it is shown; where a browser does not tell, with each of the screen's. */
function follow(): void {
  const next = (now: number, meta?: VideoFrameCallbackMetadata): void => {
    if (source.kind !== "none" && !video.paused) void frame(source.kind === "file" ? (meta?.mediaTime ?? video.currentTime) : now / 1000, meta?.captureTime ?? now);
    follow();
  };
  if ("requestVideoFrameCallback" in video) video.requestVideoFrameCallback(next);
  else requestAnimationFrame((now) => next(now));
}

// --- what can be pressed

function running(text: string): void {
  document.body.classList.add("running");
  $("camera").setAttribute("aria-pressed", String(source.kind === "camera"));
  for (const id of ["bvh", "film"]) $<HTMLButtonElement>(id).disabled = false;
  estimator.reset();
  middle = null;
  stamps = [];
  say(text);
}

function idle(): void {
  document.body.classList.remove("running");
  $("camera").setAttribute("aria-pressed", "false");
  // What was recorded until then can still be saved.
  $<HTMLButtonElement>("bvh").disabled = !take;
  $<HTMLButtonElement>("film").disabled = !film;
  drawOverlay(overlay, 1, 1, null, null, []);
  for (const id of ["fps", "latency"]) $(id).textContent = "–";
}

async function openVideo(file: File): Promise<void> {
  await source.file(file).catch((error: unknown) => {
    idle();
    throw error;
  });
  settings.mirror.checked = false;
  mirror();
  running(`${file.name} plays`);
}

async function openFile(file: File): Promise<void> {
  const kind = file.name.toLowerCase().split(".").at(-1) ?? "";
  if (kind === "onnx") return network(await file.arrayBuffer(), file.name);
  if (["vrm", "glb", "gltf"].includes(kind)) {
    if (!stage) throw new Error("there is no WebGL, and so no avatar");
    const model = await loadModel(file);
    stage.dress(model, model.vrm);
    return say(`${file.name} is the avatar`);
  }
  if (file.type.startsWith("video/") || ["mp4", "webm", "mov", "m4v", "mkv"].includes(kind)) return openVideo(file);
  throw new Error(`${file.name}: is neither an avatar (.vrm, .glb) nor a video nor a network (.onnx)`);
}

const actions: Record<string, () => Promise<unknown> | unknown> = {
  async camera() {
    if (source.kind === "camera") {
      source.stop();
      idle();
      return say("The camera is off");
    }
    await source.camera().catch((error: unknown) => {
      idle();
      throw error;
    });
    settings.mirror.checked = source.facing === "user";
    mirror();
    running("The camera is on");
    $("flip").hidden = (await source.cameras()) < 2;
  },
  async flip() {
    source.facing = source.facing === "user" ? "environment" : "user";
    source.stop();
    await actions["camera"]!();
  },
  bvh() {
    const button = $("bvh");
    if (!take) {
      take = { frames: [], lengths: [] };
      button.setAttribute("aria-pressed", "true");
      return say("Motion is recorded; press again to save it");
    }
    const text = motion(take.frames, take.lengths);
    take = null;
    button.setAttribute("aria-pressed", "false");
    if (!text) throw new Error("Nobody was seen while it was recorded, so there is no motion to save.");
    save(named("bvh"), new Blob([text], { type: "text/plain" }));
    say("The motion was saved");
  },
  async film() {
    const button = $("film");
    if (!film) {
      film = beside();
      button.setAttribute("aria-pressed", "true");
      return say("A video is recorded; press again to save it");
    }
    const ended = film;
    film = null;
    button.setAttribute("aria-pressed", "false");
    const done = await ended.stop();
    save(named(done.suffix), done.film);
    say("The video was saved");
  },
  mannequin() {
    stage?.dress(mannequin());
    say("The wooden figure is the avatar");
  },
  settings() {
    const open = $("settings").classList.toggle("open");
    $("more").setAttribute("aria-expanded", String(open));
  },
};

/** A film of the picture, as it is shown, and the avatar beside it. */
function beside(): Film {
  const height = 720;
  const wide = Math.round((height * (video.videoWidth || 4)) / (video.videoHeight || 3) / 2) * 2;
  const canvas = stage?.canvas;
  const other = canvas ? Math.round((height * canvas.width) / Math.max(1, canvas.height) / 2) * 2 : 0;
  return new Film(wide + other, height, (context) => {
    context.save();
    if (settings.mirror.checked) context.setTransform(-1, 0, 0, 1, wide, 0);
    context.drawImage(video, 0, 0, wide, height);
    context.drawImage(overlay, 0, 0, wide, height);
    context.restore();
    if (canvas) context.drawImage(canvas, wide, 0, other, height);
  });
}

function mirror(): void {
  $("picture").classList.toggle("mirrored", settings.mirror.checked);
  middle = null;
}

document.addEventListener("click", ({ target }) => {
  const action = (target as Element).closest<HTMLElement>("[data-action]")?.dataset["action"];
  if (action) void attempt(() => actions[action]!());
});
for (const input of document.querySelectorAll<HTMLInputElement>("input[type=file]")) {
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    input.value = "";
    if (file) void attempt(() => openFile(file));
  });
}
settings.mirror.addEventListener("change", mirror);
settings.smoothing.addEventListener("input", () => {
  estimator.smoothing = Number(settings.smoothing.value);
  settings.smoothing.parentElement!.querySelector("output")!.textContent = settings.smoothing.value;
});
settings.height.addEventListener("change", () => {
  const metres = Number(settings.height.value);
  void attempt(() => {
    if (!(metres >= 0.5 && metres <= 2.5)) throw new Error("A height is from 0.5 to 2.5 metres.");
    estimator.height = metres;
    say(`Height: ${metres} metres`);
  });
});
$("settings").addEventListener("submit", (event) => event.preventDefault());
let inside = 0;
window.addEventListener("dragenter", () => document.body.classList.toggle("dropping", ++inside > 0));
window.addEventListener("dragleave", () => document.body.classList.toggle("dropping", --inside > 0));
window.addEventListener("dragover", (event) => event.preventDefault());
window.addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer?.files ?? [];
  if (file) void attempt(() => openFile(file));
});

// --- the room

try {
  stage = new Stage($<HTMLCanvasElement>("stage"));
  stage.dress(mannequin());
} catch {
  stage = null;
  $("flat").textContent = "There is no WebGL in this browser, so the avatar cannot be drawn. The joints in the picture and the recording of motion work without it.";
}
let before = performance.now();
function draw(now: number): void {
  stage?.render(Math.min(0.1, (now - before) / 1000), EASE);
  before = now;
  requestAnimationFrame(draw);
}
requestAnimationFrame(draw);
mirror();
follow();

if ("serviceWorker" in navigator && import.meta.env.PROD) {
  navigator.serviceWorker.register("./sw.js").catch(() => undefined); // without one the page needs the server, and works
}

/** For tests and the console: what is there now, and a look at one picture. */
const hook = {
  ready,
  estimator,
  openFile: (file: File): Promise<void> => attempt(() => openFile(file)),
  last: (): Result | null => last,
  bones: (): Record<string, V3> => stage?.bones() ?? {},
  turns: (): unknown => stage?.turns ?? null,
  async look(png: Blob, seconds: number): Promise<Result> {
    const bitmap = await createImageBitmap(png, { colorSpaceConversion: "none" });
    const found = await estimator.look(bitmap, bitmap.width, bitmap.height, seconds);
    show(found);
    return found;
  },
  async snapshot(): Promise<Result> {
    while (busy) await new Promise((done) => setTimeout(done, 5));
    busy = true;
    try {
      const picture = looked.keep(video);
      return await estimator.look(picture, picture.width, picture.height, performance.now() / 1000, performance.now(), true);
    } finally {
      busy = false;
    }
  },
};
declare global {
  interface Window {
    poseling: typeof hook;
  }
}
window.poseling = hook;
