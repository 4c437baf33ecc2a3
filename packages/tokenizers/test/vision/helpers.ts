import { fileURLToPath } from "node:url";
import { openSafetensors } from "@krait/formats";
import type { Picture } from "../../src/vision/index.js";
import { random } from "../devices.js";

const path = fileURLToPath(new URL("../fixtures/vision/golden.safetensors", import.meta.url));

/** What Pillow and transformers 5.17 made of random pictures. */
export async function readGolden() {
  await using file = await openSafetensors(path);
  const bytes: Record<string, Uint8Array> = {};
  const floats: Record<string, Float32Array> = {};
  const shapes: Record<string, readonly number[]> = {};
  for (const [name, { dtype, shape }] of file.tensors) {
    shapes[name] = shape;
    if (dtype === "u8") bytes[name] = (await file.read(name)) as Uint8Array;
    else floats[name] = await file.readFloat32(name);
  }
  return {
    bytes,
    floats,
    picture(name: string): Picture {
      const [height, width] = shapes[name]!.slice(-3) as [number, number];
      return { pixels: bytes[name]!, width, height };
    },
  };
}

export function noise(width: number, height: number, seed = 1): Picture {
  const rng = random(seed);
  return { pixels: Uint8Array.from({ length: width * height * 3 }, () => Math.floor(rng() * 256)), width, height };
}

export function greatestDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) return Number.POSITIVE_INFINITY;
  let greatest = 0;
  for (let i = 0; i < a.length; i++) greatest = Math.max(greatest, Math.abs(a[i]! - b[i]!));
  return greatest;
}
