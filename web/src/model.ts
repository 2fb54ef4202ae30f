/** An avatar from a file: VRM 0 and 1, and any GLB whose bones are a humanoid's by name. */

import { VRMLoaderPlugin, type VRM } from "@pixiv/three-vrm";
import { Mesh, type Object3D } from "three";
import { GLTFLoader } from "three/examples/jsm/loaders/GLTFLoader.js";
import { MeshoptDecoder } from "three/examples/jsm/libs/meshopt_decoder.module.js";
import type { Model } from "./mannequin";
import { type Document, rigOf } from "./retarget";

export interface Loaded extends Model {
  vrm: VRM | null;
}

const LARGEST = 300e6;

/** Error in one line that names the file if it cannot be an avatar. */
export async function loadModel(file: File): Promise<Loaded> {
  try {
    if (file.size > LARGEST) throw new Error(`has ${Math.round(file.size / 1e6)} MB, more than an avatar may`);
    const bytes = await file.arrayBuffer();
    rigOf(documentOf(bytes)); // says what is missing before anything is decoded
    const loader = new GLTFLoader();
    loader.setMeshoptDecoder(MeshoptDecoder);
    // The bones are turned here, and not by three-vrm.
    loader.register((parser) => new VRMLoaderPlugin(parser, { autoUpdateHumanBones: false }));
    const gltf = await loader.parseAsync(bytes, "");
    const document = gltf.parser.json as Document;
    const objects = (await gltf.parser.getDependencies("node")) as Object3D[];
    gltf.scene.traverse((object) => {
      // A skinned mesh leaves the box in which it was modelled.
      if (object instanceof Mesh) object.castShadow = !(object.frustumCulled = false);
    });
    return { scene: gltf.scene, document, objects, vrm: (gltf.userData["vrm"] as VRM | undefined) ?? null };
  } catch (error) {
    throw new Error(`${file.name}: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/** The glTF document in a file's bytes. */
export function documentOf(bytes: ArrayBuffer): Document {
  const view = new DataView(bytes);
  let text = new Uint8Array(bytes);
  if (bytes.byteLength >= 20 && view.getUint32(0, true) === 0x46546c67) {
    const length = view.getUint32(12, true);
    const whole = view.getUint32(4, true) === 2 && view.getUint32(16, true) === 0x4e4f534a;
    if (!whole || view.getUint32(8, true) > bytes.byteLength || 20 + length > bytes.byteLength) throw new Error("this GLB file is cut short; fetch or export it again");
    text = text.subarray(20, 20 + length);
  }
  try {
    const found: unknown = JSON.parse(new TextDecoder().decode(text));
    if (found && typeof found === "object" && "asset" in found) return found as Document;
  } catch {
    // told below
  }
  throw new Error("this is neither VRM nor GLB");
}
