/** Where the one person is, from frame to frame: as poseling.runtime.tracker has it for one person, but for clothes and cuts. */

import { type Box, type Point, bounds, regionOf, scaledBox, windows } from "./crop";
import { median } from "./math";
import type { V3 } from "./math";
import { size } from "./oneEuro";

const MOMENTUM = 0.75;
const RATE = 30;
const LOST = 0.2;
const KEPT = 0.33;
const LEAST = 0.5;
const USUAL = 0.2;
const UNSURE = 0.5;
const JUMP = 0.5;
const NEAR = 1;
const ALIKE = 1.6;
const REMEMBERED = 1;

/** What a network says of the person in a crop, in pixels of the picture. */
export interface Answer {
  xy: Point[];
  score: number[];
  xyz: V3[] | null;
}

export interface Person extends Answer {
  id: number;
  /** Where to look next. */
  region: Box;
  sure: boolean[];
  seen: number;
  usual: number;
  missed: number;
}

/** Looks at a region of the picture, which is shown as it is. */
export type Look = (region: Box) => Promise<Answer>;

export class Tracker {
  private person: Person | null = null;
  /** Who was there before somebody else was found, for as long as one is remembered. */
  private lost: Person | null = null;
  private started = 0;
  private turn = 0;
  private shape = "";

  constructor(private readonly roots: number[]) {}

  reset(): void {
    this.person = this.lost = null;
  }

  /** The person in a picture of this size at a time in seconds, null while nobody is found. */
  async step(width: number, height: number, seconds: number, look: Look): Promise<Person | null> {
    const shape = `${width}x${height}`;
    if (shape !== this.shape) this.reset();
    this.shape = shape;
    const whole: Box = [0, 0, Math.max(1, width - 1), Math.max(1, height - 1)];
    const last = this.person;
    const region = last ? searched(last, whole) : whole;
    const least = !last || last.missed ? LOST : Math.min(Math.max(KEPT * last.usual, LEAST * LOST), LOST);
    let answer = await this.looked(look, region, !last || last.missed > 0, least, whole);
    if (!last && !answer) {
      const parts = windows(width, height);
      answer = await this.looked(look, parts[this.turn++ % parts.length]!, true, least, whole);
    }
    this.person = this.followed(last, answer, seconds, whole);
    return this.person && !this.person.missed ? this.person : null;
  }

  /** A wide region is looked at again from nearer. */
  private async looked(look: Look, region: Box, wide: boolean, least: number, whole: Box): Promise<Person | null> {
    const there = await this.asked(look, region, wide ? LEAST * least : least, whole); // somebody small scores less
    if (!there || !wide) return there;
    const nearer = await this.asked(look, there.region, least, whole);
    return nearer ?? (there.usual >= least ? there : null);
  }

  private async asked(look: Look, region: Box, least: number, whole: Box): Promise<Person | null> {
    const { xy, score, xyz } = settled(await look(region), region);
    const sure = score.map((s) => s >= UNSURE * least);
    const mean = score.reduce((sum, s) => sum + s, 0) / score.length;
    if (mean < least || sure.filter(Boolean).length < 2) return null;
    const box = bounds(xy, sure);
    const [x, y] = [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2];
    if (!(x >= whole[0] && y >= whole[1] && x <= whole[2] && y <= whole[3])) return null;
    return { id: -1, region: regionOf(xy, sure, this.roots), xy, xyz, score, sure, seen: 0, usual: mean, missed: 0 };
  }

  private followed(last: Person | null, person: Person | null, seconds: number, whole: Box): Person | null {
    if (!person) {
      if (!last || !(seconds - last.seen >= 0 && seconds - last.seen <= REMEMBERED)) return null;
      return { ...last, missed: last.missed + 1 };
    }
    person.seen = seconds;
    const same = [last, this.lost].find((one) => one && continues(one, person));
    if (last && same !== last) this.lost = { ...last, missed: last.missed + 1 };
    if (same) {
      person.id = same.id;
      person.usual = (1 - USUAL) * same.usual + USUAL * person.usual;
      carry(same, person);
      if (!same.missed) person.region = eased(same.region, person.region, bounds(person.xy, person.sure), seconds - same.seen);
    } else person.id = this.started++;
    // A network that is sure of nonsense could make it ever larger.
    const margin = [(whole[2] - whole[0]) / 2, (whole[3] - whole[1]) / 2];
    person.region = person.region.map((v, i) => Math.min(Math.max(v, whole[i % 2]! - margin[i % 2]!), whole[2 + (i % 2)]! + margin[i % 2]!)) as Box;
    return person;
  }
}

function searched(person: Person, whole: Box): Box {
  return [person.region, scaledBox(person.region, 2), whole][person.missed % 3]!;
}

/** Numbers alone: a joint that is not finite gets the score 0 and the middle of the region. */
function settled({ xy, score, xyz }: Answer, region: Box): Answer {
  const good = xy.map(
    (p, i) => [...p, ...(xyz?.[i] ?? [])].every((v) => Number.isFinite(v) && Math.abs(v) < 1e6) && Number.isFinite(score[i]!),
  );
  const middle: Point = [(region[0] + region[2]) / 2, (region[1] + region[3]) / 2];
  return {
    xy: xy.map((p, i) => (good[i] ? p : middle)),
    score: score.map((s, i) => (good[i] ? Math.min(Math.max(s, 0), 1) : 0)),
    xyz: xyz && xyz.map((p, i) => (good[i] ? p : [0, 0, 0])),
  };
}

function moved(last: Person, now: Person): number {
  const both = last.sure.map((s, i) => s && now.sure[i]!);
  const away = last.xy.flatMap((p, i) => (both[i] ? [(p[0] - now.xy[i]![0]) ** 2 + (p[1] - now.xy[i]![1]) ** 2] : []));
  if (!away.length) return Infinity;
  const sorted = away.map(Math.sqrt);
  return median(sorted) / size(last.xy.filter((_, i) => last.sure[i]));
}

function continues(last: Person, now: Person): boolean {
  if (!last.missed) return moved(last, now) <= JUMP;
  const boxes = [bounds(last.xy, last.sure), bounds(now.xy, now.sure)] as const;
  const [a, b] = boxes.map((box): Point => [(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]) as [Point, Point];
  const [before, after] = boxes.map((box) => Math.max(1, box[2] - box[0], box[3] - box[1])) as [number, number];
  const near = Math.hypot(a[0] - b[0], a[1] - b[1]) <= NEAR * before;
  return now.seen - last.seen <= REMEMBERED && near && Math.max(before, after) <= ALIKE * Math.min(before, after);
}

/** Puts the joints that are not sure where they were on the person, which has moved as the sure ones did. */
function carry(last: Person, now: Person): void {
  const both = now.sure.map((s, i) => s && last.sure[i]!);
  const count = Math.max(1, both.filter(Boolean).length);
  const shift = [0, 1].map((k) => now.xy.reduce((sum, p, i) => sum + (both[i] ? p[k]! - last.xy[i]![k]! : 0), 0) / count) as Point;
  now.sure.forEach((sure, i) => {
    if (sure) return;
    now.xy[i] = [last.xy[i]![0] + shift[0], last.xy[i]![1] + shift[1]];
    if (now.xyz && last.xyz) now.xyz[i] = last.xyz[i]!;
  });
}

/** The new region with momentum, and yet with the whole box of the joints in it. */
function eased(last: Box, now: Box, box: Box, seconds: number): Box {
  const momentum = MOMENTUM ** (RATE * Math.max(0, seconds));
  const mixed = now.map((v, i) => momentum * last[i]! + (1 - momentum) * v);
  return mixed.map((v, i) => (i < 2 ? Math.min(v, box[i]!) : Math.max(v, box[i]!))) as Box;
}
