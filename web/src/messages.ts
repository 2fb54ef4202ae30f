/** What the page and its worker tell each other. */

import type { Box } from "./crop";
import type { Spec } from "./spec";
import type { Answer } from "./tracker";

export type Provider = "wasm" | "webgpu";

export type Ask =
  | { type: "load"; file: ArrayBuffer; name: string; gpu: boolean; threads: number }
  | { type: "frame"; bitmap: ImageBitmap; seconds: number; sent: number; keep: boolean }
  | { type: "reset" };

/** A person, and the region that the last look at it was of. */
export interface Found extends Answer {
  id: number;
  looked: Box;
}

export type Tell =
  | { type: "loaded"; spec: Spec; provider: Provider; threads: number; timed: Partial<Record<Provider, number>> }
  | { type: "refused"; message: string }
  | {
      type: "pose";
      person: Found | null;
      seconds: number;
      sent: number;
      width: number;
      height: number;
      /** Milliseconds of the network, all looks of this frame together. */
      network: number;
      picture: Uint8ClampedArray | null;
    };
