/** The avatar that is built in: a jointed figure of turned wood, made here, 1.7 metres tall. */

import {
  Group, LatheGeometry, Mesh, MeshPhysicalMaterial, MeshStandardMaterial, Object3D, SphereGeometry, Vector2, Vector3,
} from "three";
import type { Document } from "./retarget";

/** Where the bones are in a T: x to the left, y up, z to the front. Metres. The right side mirrors the left. */
const PLACES: Record<string, [string, [number, number, number]]> = {
  hips: ["", [0, 0.95, 0]],
  spine: ["hips", [0, 1.05, 0]],
  chest: ["spine", [0, 1.2, 0]],
  neck: ["chest", [0, 1.45, 0]],
  head: ["neck", [0, 1.52, 0.01]],
  leftShoulder: ["chest", [0.05, 1.39, 0]],
  leftUpperArm: ["leftShoulder", [0.19, 1.39, 0]],
  leftLowerArm: ["leftUpperArm", [0.47, 1.39, 0]],
  leftHand: ["leftLowerArm", [0.72, 1.39, 0]],
  leftUpperLeg: ["hips", [0.095, 0.91, 0]],
  leftLowerLeg: ["leftUpperLeg", [0.095, 0.49, 0]],
  leftFoot: ["leftLowerLeg", [0.095, 0.07, 0]],
};

/** What is turned on the lathe from a bone's joint to the next: radii in metres along the way, from 0 to 1. */
type Profile = [number, number][];
const LIMB = (start: number, belly: number, end: number): Profile => [[0.06, 0], [0.07, start * 0.8], [0.16, start], [0.4, belly], [0.88, end], [0.95, end * 0.8], [0.955, 0]];
const PARTS: [string, string, Profile, [number, number]][] = [
  ["hips", "spine", [[-0.95, 0], [-0.9, 0.07], [-0.5, 0.115], [0.2, 0.125], [0.75, 0.105], [0.9, 0.06], [0.92, 0]], [1.12, 0.82]],
  ["spine", "chest", [[-0.1, 0], [0, 0.07], [0.35, 0.098], [0.8, 0.1], [1, 0.07], [1.05, 0]], [1.12, 0.86]],
  ["chest", "neck", [[-0.02, 0], [0, 0.07], [0.18, 0.115], [0.55, 0.145], [0.8, 0.128], [0.93, 0.07], [0.97, 0.045], [1.02, 0.042], [1.02, 0]], [1.12, 0.78]],
  ["UpperArm", "LowerArm", LIMB(0.05, 0.049, 0.037), [1, 1]],
  ["LowerArm", "Hand", LIMB(0.037, 0.042, 0.026), [1, 1]],
  ["UpperLeg", "LowerLeg", LIMB(0.074, 0.073, 0.05), [1, 1]],
  ["LowerLeg", "Foot", LIMB(0.046, 0.055, 0.032), [1, 1]],
];
const BALLS: [string, number][] = [["UpperArm", 0.05], ["LowerArm", 0.038], ["Hand", 0.026], ["UpperLeg", 0.066], ["LowerLeg", 0.05], ["Foot", 0.036]];

export interface Model {
  scene: Object3D;
  document: Document;
  /** The object of each of the document's nodes. */
  objects: Object3D[];
}

export function mannequin(): Model {
  const wood = new MeshPhysicalMaterial({ color: 0xd9b98c, roughness: 0.55, clearcoat: 0.35, clearcoatRoughness: 0.5 });
  const dark = new MeshStandardMaterial({ color: 0x7a5636, roughness: 0.6 });
  const places = new Map<string, { parent: string; place: Vector3 }>();
  for (const [bone, [parent, place]] of Object.entries(PLACES)) {
    places.set(bone, { parent, place: new Vector3(...place) });
    if (!bone.startsWith("left")) continue;
    const mirrored = new Vector3(-place[0], place[1], place[2]);
    places.set(bone.replace("left", "right"), { parent: parent.replace("left", "right"), place: mirrored });
  }
  const bones = [...places.keys()];
  const objects = bones.map((name) => Object.assign(new Object3D(), { name }));
  const at = (bone: string): Object3D => objects[bones.indexOf(bone)]!;
  const scene = new Group();
  const nodes = bones.map((bone, i) => {
    const { parent, place } = places.get(bone)!;
    const from = parent ? place.clone().sub(places.get(parent)!.place) : place;
    objects[i]!.position.copy(from);
    (parent ? at(parent) : scene).add(objects[i]!);
    const children = bones.flatMap((other, k) => (places.get(other)!.parent === bone ? [k] : []));
    return { name: bone, translation: from.toArray(), children };
  });

  const put = (bone: string, mesh: Mesh): Mesh => {
    mesh.castShadow = mesh.receiveShadow = true;
    at(bone).add(mesh);
    return mesh;
  };
  const turned = (bone: string, to: string, profile: Profile, [wide, deep]: [number, number]): void => {
    const way = places.get(to)!.place.clone().sub(places.get(bone)!.place);
    const length = way.length();
    const curve = smooth(profile).map(([along, radius]) => new Vector2(radius, along * length));
    const mesh = put(bone, new Mesh(new LatheGeometry(curve, 40), wood));
    mesh.scale.set(wide, 1, deep);
    mesh.quaternion.setFromUnitVectors(new Vector3(0, 1, 0), way.normalize());
  };
  const ball = (bone: string, radius: number, material = dark): Mesh => put(bone, new Mesh(new SphereGeometry(radius, 32, 20), material));
  for (const [bone, to, profile, shape] of PARTS) {
    if (places.has(bone)) turned(bone, to, profile, shape);
    else for (const side of ["left", "right"]) turned(side + bone, side + to, profile, shape);
  }
  for (const [bone, radius] of BALLS) for (const side of ["left", "right"]) ball(side + bone, radius);
  ball("neck", 0.036).position.y = 0.03;
  ball("spine", 0.085).scale.set(1, 0.6, 0.8);
  const head = ball("head", 0.1, wood);
  head.scale.set(0.82, 1.18, 0.95);
  head.position.set(0, 0.1, 0.01);
  // A nose, so that one sees where it looks.
  const nose = ball("head", 0.018, wood);
  nose.scale.set(0.8, 1.4, 1);
  nose.position.set(0, 0.085, 0.108);
  for (const side of ["left", "right"]) {
    const hand = ball(`${side}Hand`, 0.045, wood);
    hand.scale.set(1.75, 0.5, 0.85);
    hand.position.x = side === "left" ? 0.075 : -0.075;
    const foot = ball(`${side}Foot`, 0.05, wood);
    foot.scale.set(0.85, 0.7, 2.1);
    foot.position.set(0, -0.037, 0.06);
  }
  return { scene, document: { nodes }, objects };
}

/** A profile with points between its own, on a Catmull-Rom curve. */
function smooth(profile: Profile): Profile {
  const out: Profile = [];
  for (let i = 0; i < profile.length - 1; i++) {
    const [a, b, c, d] = [profile[Math.max(i - 1, 0)]!, profile[i]!, profile[i + 1]!, profile[Math.min(i + 2, profile.length - 1)]!];
    for (let t = 0; t < 1; t += 0.125) {
      out.push([0, 1].map((k) => {
        const [p, q, r, s] = [a[k]!, b[k]!, c[k]!, d[k]!];
        const value = q + 0.5 * t * (r - p + t * (2 * p - 5 * q + 4 * r - s + t * (3 * (q - r) + s - p)));
        return k ? Math.max(0, value) : value;
      }) as [number, number]);
    }
  }
  return [...out, profile.at(-1)!];
}
