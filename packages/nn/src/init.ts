/** Uniform numbers in [0, 1), reproducible on every machine (sfc32). */
export type Random = () => number;

/** A stream of its own for each (seed, name), so that a tensor's values do not depend on what was drawn before it. */
export function seededRandom(seed: number, name: string): Random {
  // FNV-1a over the name gives the second half of the seed.
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  let [a, b, c, counter] = [seed >>> 0, hash >>> 0, 0x9e3779b9, 1];
  const next = () => {
    const t = (a + b + counter) >>> 0;
    counter = (counter + 1) >>> 0;
    a = (b ^ (b >>> 9)) >>> 0;
    b = (c + (c << 3)) >>> 0;
    c = ((c << 21) | (c >>> 11)) >>> 0;
    c = (c + t) >>> 0;
    return t / 4294967296;
  };
  for (let i = 0; i < 16; i++) next();
  return next;
}

/** Fills a new tensor, or the next piece of it: an element depends on nothing but the numbers drawn since the one before. */
export type Initializer = (data: Float32Array, random: Random) => void;

export const constant =
  (value: number): Initializer =>
  (data) => {
    data.fill(value);
  };

export const uniform =
  (low: number, high: number): Initializer =>
  (data, random) => {
    for (let i = 0; i < data.length; i++) data[i] = low + (high - low) * random();
  };

export const normal =
  (std: number): Initializer =>
  (data, random) => {
    for (let i = 0; i < data.length; i++) {
      data[i] = std * Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    }
  };

/** PyTorch's default for linear and convolution weights: kaiming-uniform with a = √5, i.e. U(±1/√fanIn), times `scale`. */
export const kaimingUniform = (fanIn: number, scale = 1): Initializer => {
  const bound = scale / Math.sqrt(fanIn);
  return uniform(-bound, bound);
};

/** A_log of Mamba-2: log of U(low, high) per head. */
export const logUniform =
  (low: number, high: number): Initializer =>
  (data, random) => {
    for (let i = 0; i < data.length; i++) data[i] = Math.log(low + (high - low) * random());
  };

/** dt bias of Mamba: dt log-uniform in [low, high], not under `floor`, through the inverse of softplus. */
export const dtBias =
  (low = 1e-3, high = 0.1, floor = 1e-4): Initializer =>
  (data, random) => {
    for (let i = 0; i < data.length; i++) {
      const dt = Math.max(floor, Math.exp(Math.log(low) + random() * (Math.log(high) - Math.log(low))));
      data[i] = dt + Math.log(-Math.expm1(-dt));
    }
  };
