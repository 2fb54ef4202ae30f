/** Less jitter at little lag: the 1-Euro filter (Casiez, Roussel and Vogel, CHI 2012), as poseling.runtime.smoothing has it. */

export const PICTURE = { cutoff: 1.7, beta: 0.3, unit: 1 / 34 };
export const SPACE = { cutoff: 0.8, beta: 0.4, unit: 0.05 };
const SPEED_CUTOFF = 0.4;
const GAP = 0.5;

/** The share of the new value that a low-pass filter with this cutoff in Hz takes, when `step` seconds have passed. */
export function alpha(cutoff: number, step: number): number {
  return 1 / (1 + 1 / (2 * Math.PI * cutoff * step));
}

/** Each number has its own cutoff, which grows with its speed. What is not finite is no sample: the last value is held. */
export class OneEuro {
  private value: number[] | null = null;
  private speed: number[] = [];
  private seen: number[] = [];

  constructor(
    public cutoff: number,
    public beta: number,
    private readonly speedCutoff = SPEED_CUTOFF,
    private readonly gap = GAP,
  ) {}

  filter(values: ArrayLike<number>, seconds: number, unit = 1): number[] {
    if (!Number.isFinite(seconds)) throw new Error(`seconds is ${seconds}; the filter needs the time of each frame`);
    this.value ??= Array.from(values, () => NaN);
    if (this.value.length !== values.length) throw new Error(`the value has ${values.length} numbers, but those before had ${this.value.length}`);
    for (let i = 0; i < values.length; i++) {
      const now = values[i]!;
      const passed = seconds - (this.seen[i] ?? -Infinity);
      if (!Number.isFinite(now)) continue;
      if (passed > this.gap || passed < 0) {
        this.value[i] = now;
        this.speed[i] = 0;
      } else if (passed > 0) {
        const last = this.value[i]!;
        const speed = this.speed[i]!;
        this.speed[i] = speed + alpha(this.speedCutoff, passed) * ((now - last) / passed - speed);
        const frequency = this.cutoff + (this.beta * Math.abs(this.speed[i]!)) / unit;
        this.value[i] = last + alpha(frequency, passed) * (now - last);
      } else continue;
      this.seen[i] = seconds;
    }
    return [...this.value];
  }

  reset(): void {
    this.value = null;
    this.speed = [];
    this.seen = [];
  }
}

/** The longer side in pixels of the box around joints, at least 1. */
export function size(xy: [number, number][]): number {
  const finite = xy.filter((p) => p.every(Number.isFinite));
  if (!finite.length) return 1;
  const span = (axis: 0 | 1): number => Math.max(...finite.map((p) => p[axis])) - Math.min(...finite.map((p) => p[axis]));
  return Math.max(1, span(0), span(1));
}
