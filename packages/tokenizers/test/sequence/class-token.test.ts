import { describe, expect, it } from "vitest";
import { interleave, placeClassToken } from "../../src/sequence/index.js";
import { collect, type Flat, flatten, random, source, tokens } from "./helpers.js";

const seed = Number(process.env.KRAIT_SEED ?? Date.now() % 2 ** 31);
const places = ["first", "middle", "last"] as const;

/** Sound and pictures whose tokens come in windows; the sequence and its sources. */
function sequence(count: number, rng = random(seed), separators = true) {
  const video = source(2, tokens(0.25, 0.3, Math.ceil(count / 2)), { rng });
  const audio = source(1, tokens(0, 0.4, Math.floor(count / 2), 1000), { rng });
  return { parts: interleave([video, audio], { separators }), sources: [video, audio] };
}

/** The sequence with its class token; what was asked of `count`. */
async function place(
  where: (typeof places)[number],
  { tokens: n, hold = 0, claimed }: { tokens: number; hold?: number; claimed?: number },
) {
  const plain = flatten(await collect(sequence(n).parts));
  let asked = 0;
  const count = async () => {
    asked++;
    return claimed ?? plain.length;
  };
  const rows = flatten(await collect(placeClassToken(sequence(n).parts, { place: where, holdTokens: hold, count })));
  return { plain, rows, asked };
}

describe(`the class token, seed ${seed}`, () => {
  it.each([1, 2, 3, 4, 7, 126, 127, 128])("stands first, in the middle or last of %d tokens and more", async (n) => {
    for (const where of places) {
      for (const hold of [0, 1, Math.ceil(n / 2), n, 10_000]) {
        const { plain, rows, asked } = await place(where, { tokens: n, hold });
        const N = plain.length;
        const at = { first: 0, middle: Math.floor(N / 2), last: N }[where];
        const time = where === "last" ? Math.max(...plain.map(([, , , end]) => end)) : plain[at]![2];
        const wanted: Flat[] = [...plain.slice(0, at), [254, -1, time, time], ...plain.slice(at)];
        expect(rows, `${where}, ${hold} held`).toEqual(wanted);
        expect(asked, `${where}, ${hold} held`).toBe(where === "middle" && hold < N ? 1 : 0);
      }
    }
  });

  it("leaves a sequence without tokens as it is", async () => {
    for (const where of places) expect(await place(where, { tokens: 0 })).toMatchObject({ rows: [], asked: 0 });
  });

  it("holds back no more than it may", async () => {
    for (const [where, hold] of [
      ["first", 0],
      ["last", 0],
      ["middle", 40],
    ] as const) {
      const long = source(1, tokens(0, 0.1, 2000), { size: 4 });
      const count = async () => {
        expect(long.pulled).toBeLessThanOrEqual(hold + 30);
        return 2099;
      };
      const parts = placeClassToken(interleave([long]), { place: where, holdTokens: hold, count });
      let given = 0;
      for await (const part of parts) {
        given += "time" in part ? 1 : part.to - part.from;
        // A window of 20 tokens is read ahead.
        expect(long.pulled - given).toBeLessThanOrEqual(hold + 30);
      }
      expect(given).toBe(2100);
    }
  });

  it("says so where there are more or fewer tokens than were counted", async () => {
    for (const claimed of [5, 49, 51, 500]) {
      const wrong = place("middle", { tokens: 50, claimed });
      await expect(wrong, `${claimed}`).rejects.toMatchObject({ kind: "input", code: "LENGTH_CHANGED" });
    }
  });

  it("closes the sources when it is left, or when counting fails", async () => {
    for (const where of places) {
      const { parts, sources } = sequence(60);
      for await (const _ of placeClassToken(parts, { place: where, holdTokens: 3, count: async () => 60 })) break;
      expect(sources.map(({ returned }) => returned)).toEqual([1, 1]);
    }
    const { parts, sources } = sequence(60);
    const count = () => Promise.reject(new Error("no"));
    await expect(collect(placeClassToken(parts, { place: "middle", holdTokens: 3, count }))).rejects.toThrow("no");
    expect(sources.map(({ returned }) => returned)).toEqual([1, 1]);
  });
});
