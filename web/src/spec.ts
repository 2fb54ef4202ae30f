/** What an ONNX file says of itself: poseling.spec's PoseSpec, which is all that the page knows of a network. */

import type { Skeleton } from "./skeleton";

export interface Spec {
  model: string;
  skeleton: Skeleton;
  /** Of the input, width and height. */
  size: [number, number];
  /** What the network gives, in order: xy and score, and xyz if it knows about depth. */
  outputs: string[];
  codec?: { name?: string };
}

const KEY = "poseling";
const VERSION = "1";
const METADATA = 14;

/** The contract in an ONNX file; Error in one line that says what is wrong with it. */
export function readSpec(file: ArrayBuffer, name: string): Spec {
  let said: Map<string, string>;
  try {
    said = metadata(new Uint8Array(file));
  } catch {
    throw new Error(`${name}: is no ONNX file, or it is damaged; fetch or export it again`);
  }
  const text = said.get(KEY);
  if (text === undefined) throw new Error(`${name}: has no contract; take a file that \`poseling export\` wrote of a checkpoint, which \`poseling import\` makes of another network`);
  let spec: Spec & { version?: string };
  try {
    spec = JSON.parse(text);
  } catch {
    throw new Error(`${name}: its contract is damaged; export it again`);
  }
  if (String(spec.version ?? VERSION).split(".")[0] !== VERSION) throw new Error(`${name}: its contract is of version ${spec.version}; update Poseling`);
  if (spec.codec?.name === "adapter") throw new Error(`${name}: is fed and read in its own way, which the page cannot; \`poseling import\` makes a checkpoint of it, and \`poseling export\` a file for the page`);
  const { skeleton, size, outputs } = spec;
  const joints = skeleton?.joints;
  const whole = Array.isArray(joints) && joints.length > 0 && skeleton.parents?.length === joints.length;
  const sides = Array.isArray(size) && size.length === 2 && size.every((side) => Number.isInteger(side) && side > 0 && side <= 4096);
  if (!whole || !sides) throw new Error(`${name}: its contract names no joints or no size; export it again`);
  if (!Array.isArray(outputs) || !["xy,score", "xy,score,xyz"].includes(outputs.join())) {
    throw new Error(`${name}: gives ${outputs}, and the page needs xy and score; export it with its decoding`);
  }
  return spec;
}

/** The entries of ModelProto.metadata_props: fields of protocol buffers, of which all others are skipped. */
function metadata(bytes: Uint8Array): Map<string, string> {
  const found = new Map<string, string>();
  const text = new TextDecoder("utf-8", { fatal: true });
  let fields = 0;
  for (const [field, value] of fieldsOf(bytes)) {
    fields++;
    if (field !== METADATA || !value) continue;
    const entry = new Map([...fieldsOf(value)].map(([key, v]) => [key, v ? text.decode(v) : ""]));
    found.set(entry.get(1) ?? "", entry.get(2) ?? "");
  }
  if (!fields) throw new Error("empty");
  return found;
}

/** Each field's number, and its bytes where it has a length. */
function* fieldsOf(bytes: Uint8Array): Generator<[number, Uint8Array | null]> {
  let at = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      const byte = bytes[at++];
      if (byte === undefined) throw new Error("cut short");
      value += (byte & 127) * 2 ** shift;
      if (byte < 128) return value;
    }
    throw new Error("too long a number");
  };
  while (at < bytes.length) {
    const tag = varint();
    const field = Math.floor(tag / 8);
    if (field < 1) throw new Error("no field");
    switch (tag % 8) {
      case 0:
        varint();
        yield [field, null];
        break;
      case 1:
        at += 8;
        break;
      case 5:
        at += 4;
        break;
      case 2: {
        const length = varint();
        if (at + length > bytes.length) throw new Error("cut short");
        yield [field, bytes.subarray(at, at + length)];
        at += length;
        break;
      }
      default:
        throw new Error("no such kind of field");
    }
  }
}
