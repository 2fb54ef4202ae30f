/** Skeletons by the names of their joints, as poseling.skeleton has them. What a network answers in, its file says. */

export interface Skeleton {
  name: string;
  joints: string[];
  parents: number[];
}

/** The joints of the body that is fitted, poseling.skeleton.MOVNECT15. */
export const MOVNECT15 = [
  "head_top", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
  "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle", "pelvis",
] as const;

/** The joints that are by definition the middle of two others. */
const MIDDLES: Record<string, [string, string]> = {
  pelvis: ["left_hip", "right_hip"],
  thorax: ["left_shoulder", "right_shoulder"],
};

/** For each joint of MOVNECT15 the two joints of a skeleton that it is the middle of, mostly one joint twice; null where it has none. */
export function sources(joints: readonly string[]): ([number, number] | null)[] {
  const one = (name: string): [number, number] | null => {
    const at = joints.indexOf(name);
    if (at >= 0) return [at, at];
    const [a, b] = (MIDDLES[name] ?? []).map((j) => joints.indexOf(j));
    return a !== undefined && b !== undefined && a >= 0 && b >= 0 ? [a, b] : null;
  };
  // The thorax, or the middle of the shoulders, stands for a neck.
  return MOVNECT15.map((name) => one(name) ?? (name === "neck" ? one("thorax") : null));
}

/** The joints whose middle is the root: the pelvis, or both hips, or where there is neither all of them. */
export function roots(joints: readonly string[]): number[] {
  if (joints.includes("pelvis")) return [joints.indexOf("pelvis")];
  const hips = MIDDLES["pelvis"]!.map((j) => joints.indexOf(j));
  return hips.every((j) => j >= 0) ? hips : joints.map((_, j) => j);
}
