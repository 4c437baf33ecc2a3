import type { Box, Size } from "./resize.js";

/** How an image is brought to size. */
export type Fit =
  /** The shorter side becomes `side`, the longer one ⌊side · long / short⌋; at most `longest` where given (transformers). */
  | { readonly kind: "shortest"; readonly side: number; readonly longest?: number | undefined }
  /** To this size, whatever the shape. */
  | { readonly kind: "exact"; readonly width: number; readonly height: number }
  /** As large as fits, in the middle of `fill` (0 to 255, default 0). */
  | { readonly kind: "letterbox"; readonly width: number; readonly height: number; readonly fill?: number | undefined }
  /** The image's own shape, sides multiples of `factor`, its area between `minPixels` and `maxPixels` (Qwen2-VL). */
  | { readonly kind: "budget"; readonly factor: number; readonly minPixels: number; readonly maxPixels: number };

/** Python's round(): halves go to the even neighbour. */
function roundHalfEven(x: number): number {
  const floor = Math.floor(x);
  const rest = x - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? floor + 1 : floor;
}

/** Size of the resized image, before any crop or padding. */
export function fittedSize(fit: Fit, { width, height }: Size): Size {
  switch (fit.kind) {
    case "exact":
      return { width: fit.width, height: fit.height };
    case "shortest": {
      const [short, long] = width <= height ? [width, height] : [height, width];
      let newShort = fit.side;
      let newLong = Math.floor((fit.side * long) / short);
      if (fit.longest !== undefined && newLong > fit.longest) {
        newShort = Math.max(1, Math.floor((fit.longest * newShort) / newLong));
        newLong = fit.longest;
      }
      return width <= height ? { width: newShort, height: newLong } : { width: newLong, height: newShort };
    }
    case "letterbox": {
      const scale = Math.min(fit.width / width, fit.height / height);
      const scaled = (side: number, most: number) => Math.min(most, Math.max(1, Math.round(side * scale)));
      return { width: scaled(width, fit.width), height: scaled(height, fit.height) };
    }
    case "budget": {
      const { factor, minPixels, maxPixels } = fit;
      const snap = (side: number) => roundHalfEven(side / factor) * factor;
      const area = snap(width) * snap(height);
      if (area > maxPixels) {
        const beta = Math.sqrt((width * height) / maxPixels);
        const down = (side: number) => Math.max(factor, Math.floor(side / beta / factor) * factor);
        return { width: down(width), height: down(height) };
      }
      if (area < minPixels) {
        const beta = Math.sqrt(minPixels / (width * height));
        const up = (side: number) => Math.ceil((side * beta) / factor) * factor;
        return { width: up(width), height: up(height) };
      }
      return { width: snap(width), height: snap(height) };
    }
  }
}

/** Which parts of the resized image are taken: the middle; three along the longer side; the four corners and the middle. */
export type CropPattern = "centre" | "three" | "five";

/**
 * Parts of `crop`'s size in the order left to right, top to bottom, with the middle last for "five". Half pixels go to the upper left; a part
 * may reach beyond an image that is smaller.
 */
export function cropBoxes(pattern: CropPattern, image: Size, crop: Size): Box[] {
  const left = image.width - crop.width;
  const top = image.height - crop.height;
  const at = (x: number, y: number): Box => ({ left: Math.floor(x), top: Math.floor(y), ...crop });
  if (pattern === "centre") return [at(left / 2, top / 2)];
  if (pattern === "five") return [at(0, 0), at(left, 0), at(0, top), at(left, top), at(left / 2, top / 2)];
  const along = [0, 0.5, 1];
  return image.width >= image.height
    ? along.map((share) => at(left * share, top / 2))
    : along.map((share) => at(left / 2, top * share));
}
