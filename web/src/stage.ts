/** The room that the avatar stands in. */

import {
  ACESFilmicToneMapping, CircleGeometry, Color, DirectionalLight, Fog, Group, HemisphereLight, Mesh, MeshStandardMaterial, type Object3D, PCFShadowMap,
  MeshBasicMaterial, PerspectiveCamera, PlaneGeometry, RingGeometry, Scene, ShadowMaterial, Texture, Vector3, WebGLRenderer,
} from "three";
import { OrbitControls } from "three/examples/jsm/controls/OrbitControls.js";
import type { VRM } from "@pixiv/three-vrm";
import { BONES, SHARES, lowest } from "./kinematics";
import { type Q, type V3, add, multiply, inverse, part, rotate } from "./math";
import type { Model } from "./mannequin";
import { Retarget, places, rigOf } from "./retarget";

const LENGTHS = BONES.map((bone) => SHARES[bone]!);
const LEGS = SHARES["thigh"]! + SHARES["shin"]!;
const START: V3 = [0.48, 1.28, 4.3];
const MIDDLE = 0.86;
const SLOW = 40; // milliseconds from one picture to the next, in the mean, after which there are fewer pixels
const COARSEST = 0.5;
const HEIGHT = 0.9; // metres from foot to hip that a model of another unit is given

interface Dressed {
  model: Model;
  target: Retarget;
  group: Group;
  hips: V3;
  vrm: VRM | null;
}

export class Stage {
  private readonly renderer: WebGLRenderer;
  private readonly scene = new Scene();
  private readonly camera = new PerspectiveCamera(30, 1, 0.1, 60);
  private readonly orbit: OrbitControls;
  private readonly key = new DirectionalLight(0xfff1dd, 2.6);
  private avatar: Dressed | null = null;
  private shown: Q[] | null = null;
  private wanted: Q[] | null = null;
  private place: V3 = [0, 0, 0];
  private shownPlace: V3 = [0, 0, 0];
  /** Whether something moved since the last picture: a room in which nothing does costs nothing. */
  private stale = true;
  private settled = true;
  /** Pixels of the canvas for each of the page's: fewer where a picture takes long. */
  private ratio = Math.min(window.devicePixelRatio, 2);
  private slow = 0;

  /** Error if there is no WebGL. */
  constructor(readonly canvas: HTMLCanvasElement) {
    this.renderer = new WebGLRenderer({ canvas, antialias: true, preserveDrawingBuffer: true });
    this.renderer.shadowMap.enabled = true;
    this.renderer.shadowMap.type = PCFShadowMap;
    this.renderer.toneMapping = ACESFilmicToneMapping;
    this.renderer.toneMappingExposure = 1.05;
    const back = new Color(0x1b2330);
    this.scene.background = back;
    this.scene.fog = new Fog(back, 7, 16);
    this.scene.add(new HemisphereLight(0xdfe9ff, 0x3a3128, 1.5));
    const { key } = this;
    key.position.set(2, 4, 3);
    key.castShadow = true;
    key.shadow.mapSize.set(1024, 1024);
    key.shadow.camera.left = key.shadow.camera.bottom = -2;
    key.shadow.camera.right = key.shadow.camera.top = 2;
    key.shadow.normalBias = 0.02;
    const rim = new DirectionalLight(0x7fc8ff, 1.4);
    rim.position.set(-3, 2.5, -3);
    this.scene.add(key, rim, ...floor());
    this.camera.position.set(...START);
    this.orbit = new OrbitControls(this.camera, canvas);
    this.orbit.target.set(0, MIDDLE, 0);
    this.orbit.enablePan = false;
    this.orbit.minDistance = 1.2;
    this.orbit.maxDistance = 9;
    this.orbit.maxPolarAngle = Math.PI / 2 - 0.02;
    this.orbit.listenToKeyEvents(canvas);
    this.orbit.addEventListener("change", () => (this.stale = true));
    canvas.addEventListener("keydown", (event) => this.walk(event));
    // A phone takes the graphics away from a page that was in the background; three.js makes its own again.
    canvas.addEventListener("webglcontextrestored", () => (this.stale = true));
  }

  /** Arrow keys walk around the avatar, + and - come nearer and go away, 0 goes back to the front. */
  private walk(event: KeyboardEvent): void {
    const turn = { ArrowLeft: -0.15, ArrowRight: 0.15 }[event.key];
    const zoom = { "+": 0.9, "=": 0.9, "-": 1.1 }[event.key];
    const offset = this.camera.position.clone().sub(this.orbit.target);
    if (turn) offset.applyAxisAngle(new Vector3(0, 1, 0), turn);
    else if (zoom) offset.multiplyScalar(zoom);
    else if (event.key === "0") offset.set(START[0], START[1] - MIDDLE, START[2]);
    else return;
    event.preventDefault();
    this.camera.position.copy(this.orbit.target).add(offset);
  }

  /** Error if the model is no humanoid. */
  dress(model: Model, vrm: VRM | null = null): void {
    const target = new Retarget(rigOf(model.document));
    const size = target.hipHeight > 0.25 && target.hipHeight < 3 ? 1 : HEIGHT / target.hipHeight;
    const { points } = places(target.rig);
    const hips = points[target.rig.bones["hips"]!]!;
    const front = rotate(target.axes, [0, 0, 1]);
    const group = new Group();
    group.add(model.scene);
    group.scale.setScalar(size);
    group.rotation.y = -Math.atan2(front[0], front[2]); // VRM 0 looks the other way
    if (this.avatar) {
      this.scene.remove(this.avatar.group);
      dispose(this.avatar.group);
    }
    this.avatar = { model, target, group, hips, vrm };
    this.scene.add(group);
    this.stale = true;
    this.wear(this.shown ?? this.rest(), this.shownPlace);
  }

  private rest(): Q[] {
    // Arms that hang down: a T is how nobody stands.
    const down = (sign: number): Q => [Math.cos(0.62), 0, 0, sign * Math.sin(0.62)];
    const rest: Q[] = Array.from({ length: 13 }, (): Q => [1, 0, 0, 0]);
    rest[9] = down(-1);
    rest[10] = down(1);
    return rest;
  }

  /** What the avatar shall do: upright turns (13), and how far it is to the side of the middle, in metres. */
  set(rotations: Q[], place: V3): void {
    this.wanted = rotations;
    this.settled = false;
    this.place = place;
  }

  /** The turns that it shows now. */
  get turns(): Q[] | null {
    return this.shown;
  }

  /** A picture of the room; the avatar goes on towards what it shall do, most of the way in `ease` seconds. */
  render(lapse: number, ease: number): void {
    if (this.wanted && !this.settled) {
      const share = ease > 0 ? 1 - Math.exp(-lapse / ease) : 1;
      const from = this.shown ?? this.wanted;
      this.shown = from.map((q, i) => {
        const next = multiply(q, part(multiply(inverse(q), this.wanted![i]!), share));
        const length = Math.hypot(...next);
        return next.map((v) => v / length) as Q;
      });
      this.shownPlace = this.shownPlace.map((v, i) => v + share * (this.place[i]! - v)) as V3;
      const away = Math.max(...this.shown.map((q, i) => 1 - Math.abs(q.reduce((sum, v, k) => sum + v * this.wanted![i]![k]!, 0))));
      this.settled = away < 1e-7;
      this.stale = true;
      this.wear(this.shown, this.shownPlace);
    }
    this.fit();
    this.orbit.update();
    if (!this.stale && !this.avatar?.vrm) return;
    this.avatar?.vrm?.update(lapse);
    this.renderer.render(this.scene, this.camera);
    this.stale = false;
    this.pace(1000 * lapse);
  }

  /** Makes the picture coarser, and in the end without shadows, where pictures follow each other slowly: an old phone, or no graphics card at all. */
  private pace(milliseconds: number): void {
    this.slow = 0.85 * this.slow + 0.15 * milliseconds;
    if (this.slow < SLOW) return;
    this.slow = 0;
    if (this.ratio > COARSEST) this.ratio = Math.max(COARSEST, this.ratio * 0.7);
    else this.key.castShadow = false;
  }

  private wear(rotations: Q[], place: V3): void {
    if (!this.avatar) return;
    const { target, model, hips } = this.avatar;
    const { rig } = target;
    const turns = target.turns(rotations);
    for (const node of Object.values(rig.bones)) {
      const [w, x, y, z] = turns[node]!;
      model.objects[rig.nodes[node]!]!.quaternion.set(x, y, z, w);
    }
    // The lower foot stands on the floor: where the picture's person is in depth nobody knows well enough to walk by.
    const size = target.hipHeight / LEGS;
    const lift: V3 = [place[0] / this.avatar.group.scale.x, (-lowest(rotations, LENGTHS) - LEGS) * size, 0]; // in the model's unit
    const object = model.objects[rig.nodes[rig.bones["hips"]!]!]!;
    const there = new Vector3(...add(hips, rotate(target.axes, lift)));
    const parent = object.parent!;
    parent.updateWorldMatrix(true, false);
    this.avatar.group.updateWorldMatrix(true, false);
    object.position.copy(parent.worldToLocal(this.avatar.group.localToWorld(there)));
  }

  /** Where the bones are in the room, in metres: what tests measure angles by. */
  bones(): Record<string, V3> {
    if (!this.avatar) return {};
    const { target, model, group } = this.avatar;
    group.updateWorldMatrix(true, true);
    const { bones, nodes } = target.rig;
    return Object.fromEntries(Object.entries(bones).map(([bone, node]) => [bone, model.objects[nodes[node]!]!.getWorldPosition(new Vector3()).toArray()]));
  }

  private fit(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const { ratio } = this;
    const { width, height } = this.canvas;
    if (width === Math.floor(clientWidth * ratio) && height === Math.floor(clientHeight * ratio)) return;
    this.stale = true;
    this.renderer.setPixelRatio(ratio);
    this.renderer.setSize(clientWidth, clientHeight, false);
    this.camera.aspect = clientWidth / Math.max(1, clientHeight);
    // Whole in a narrow picture, too.
    this.camera.fov = this.camera.aspect < 0.75 ? 2 * Math.atan(Math.tan(Math.PI / 12) * (0.75 / this.camera.aspect)) * (180 / Math.PI) : 30;
    this.camera.updateProjectionMatrix();
  }
}

function floor(): Object3D[] {
  const ground = new Mesh(new PlaneGeometry(60, 60), new MeshStandardMaterial({ color: 0x232d3d, roughness: 0.95 }));
  const disc = new Mesh(new CircleGeometry(0.95, 72), new MeshStandardMaterial({ color: 0x2f3d52, roughness: 0.8 }));
  const ring = new Mesh(new RingGeometry(0.95, 0.965, 96), new MeshBasicMaterial({ color: 0x54d6c4 }));
  const shade = new Mesh(new PlaneGeometry(8, 8), new ShadowMaterial({ opacity: 0.45 }));
  [ground, disc, ring, shade].forEach((mesh, i) => {
    mesh.rotation.x = -Math.PI / 2;
    mesh.position.y = -0.012 + 0.004 * i;
  });
  shade.receiveShadow = true;
  return [ground, disc, ring, shade];
}

function dispose(group: Group): void {
  group.traverse((object) => {
    if (!(object instanceof Mesh)) return;
    object.geometry.dispose();
    for (const material of [object.material].flat()) {
      for (const value of Object.values(material)) if (value instanceof Texture) value.dispose();
      material.dispose();
    }
  });
}
