import { describe, expect, test } from "vitest";
import { Sampler } from "../src/index.js";

const logits = () => Float32Array.from([0, 2, 1, -3, 1.5]);
/** How often each token comes in n draws. */
function shares(sampler: Sampler, n = 4000): number[] {
  const counts = new Array<number>(5).fill(0);
  for (let i = 0; i < n; i++) counts[sampler.next(logits())]!++;
  return counts.map((c) => c / n);
}
const softmax = (values: readonly number[]) => {
  const e = values.map(Math.exp);
  return e.map((x) => x / e.reduce((a, b) => a + b));
};

describe("sampling", () => {
  test("temperature 0 takes the likeliest, the first of equals", () => {
    const sampler = new Sampler();
    expect(sampler.next(logits())).toBe(1);
    expect(sampler.next(Float32Array.from([5, 1, 5]))).toBe(0);
    expect(sampler.draws).toBe(0);
  });

  test("draws follow the softmax of the logits over the temperature", () => {
    for (const temperature of [0.5, 1, 2]) {
      const want = softmax(Array.from(logits(), (x) => x / temperature));
      shares(new Sampler({ temperature, seed: 3 })).forEach((share, i) => {
        expect(Math.abs(share - want[i]!)).toBeLessThan(0.03);
      });
    }
  });

  test("top-k, top-p and min-p leave out what they should and keep the rest in proportion", () => {
    // Likelihoods of 1, 4, 2, 0, 3: 0.49, 0.30, 0.18, … of the whole about 0.46, 0.28, 0.17, 0.06, 0.003.
    const two = softmax([2, 1.5]);
    for (const options of [{ topK: 2 }, { topP: 0.7 }, { minP: 0.5 }]) {
      const got = shares(new Sampler({ temperature: 1, seed: 5, ...options }));
      expect([got[0], got[2], got[3]], JSON.stringify(options)).toEqual([0, 0, 0]);
      expect(Math.abs(got[1]! - two[0]!)).toBeLessThan(0.03);
    }
    expect(shares(new Sampler({ temperature: 1, topP: 1e-9 }), 50)[1]).toBe(1);
    expect(shares(new Sampler({ temperature: 1, topK: 1 }), 50)[1]).toBe(1);
  });

  test("a seed gives the same tokens again, another seed others, and draws can be skipped", () => {
    const run = (sampler: Sampler, n: number) => Array.from({ length: n }, () => sampler.next(logits()));
    const first = run(new Sampler({ temperature: 1, seed: 9 }), 60);
    expect(run(new Sampler({ temperature: 1, seed: 9 }), 60)).toEqual(first);
    expect(run(new Sampler({ temperature: 1, seed: 10 }), 60)).not.toEqual(first);
    const late = new Sampler({ temperature: 1, seed: 9 });
    late.skip(40);
    expect(run(late, 20)).toEqual(first.slice(40));
  });

  test("the repetition penalty makes tokens that were there less likely, of either sign", () => {
    const sampler = new Sampler({ repetitionPenalty: 2 });
    sampler.see([1]);
    expect(sampler.next(logits())).toBe(4); // 2 / 2 = 1 is under 1.5
    const negative = new Sampler({ repetitionPenalty: 2 });
    negative.see([0]);
    expect(negative.next(Float32Array.from([-1, -1.5]))).toBe(1);
  });

  test("wrong options are named", () => {
    for (const options of [{ temperature: -1 }, { topP: 0 }, { topK: 1.5 }, { minP: 2 }, { seed: -1 }])
      expect(() => new Sampler(options)).toThrow(expect.objectContaining({ code: "INVALID_OPTION" }));
  });
});
