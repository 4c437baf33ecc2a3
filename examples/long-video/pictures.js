/** RGB pixels of a frame, every n-th of them, so that a side has about 56. */
export function thumbnail({ pixels, width, height }) {
  const step = Math.max(1, Math.floor(Math.min(width, height) / 56));
  const [w, h] = [Math.floor(width / step), Math.floor(height / step)];
  const small = new Uint8Array(w * h * 3);
  for (let y = 0; y < h; y++) {
    for (let x = 0; x < w; x++) {
      const from = (y * step * width + x * step) * 3;
      small.set(pixels.subarray(from, from + 3), (y * w + x) * 3);
    }
  }
  return { pixels: small, width: w, height: h };
}

/** RGB pixels as a BMP in a data URI: a header of 54 bytes, then rows of B, G, R that are padded to four bytes. */
export function dataUri({ pixels, width, height }) {
  const stride = Math.ceil((width * 3) / 4) * 4;
  const file = Buffer.alloc(54 + stride * height);
  file.write("BM");
  file.writeUInt32LE(file.length, 2);
  file.writeUInt32LE(54, 10);
  file.writeUInt32LE(40, 14);
  file.writeInt32LE(width, 18);
  file.writeInt32LE(-height, 22); // from the top down
  file.writeUInt16LE(1, 26);
  file.writeUInt16LE(24, 28);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const [at, from] = [54 + y * stride + x * 3, (y * width + x) * 3];
      for (const channel of [0, 1, 2]) file[at + channel] = pixels[from + 2 - channel];
    }
  }
  return `data:image/bmp;base64,${file.toString("base64")}`;
}
