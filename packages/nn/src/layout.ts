import { expected, UsageError } from "@krait/core";

const MAX_LAYERS = 1000;

/**
 * Reads a stack's layout: layer letters separated by spaces, groups in parentheses, counts after `x`.
 * `"(M2 M2 M2 A)x6"` is 24 layers; `"M2x3 A"` is four; a letter may carry a mark, as in `"(M1 M1r)x12"`. A list of letters is taken as it is.
 *
 * @throws UsageError (INVALID_LAYOUT) with the place of the first letter that cannot be read
 */
export function parseLayout(layout: string | readonly string[], letters: readonly string[]): string[] {
  if (typeof layout !== "string") return check([...layout], letters);
  const tokens = layout.match(/[()]|x\d+|[A-Z][A-Z0-9]*(?:(?!x\d)[a-z])?|\S/g) ?? [];
  let at = 0;
  const fail = (): never => {
    throw new UsageError(
      expected(`letters (${letters.join(", ")}), parentheses and counts`, "the layout", tokens[at] ?? layout),
      {
        code: "INVALID_LAYOUT",
        hint: 'Write layers like "(M2 M2 M2 A)x6": letters separated by spaces, groups in parentheses, counts as x6.',
      },
    );
  };
  const repeat = (layers: string[]): string[] => {
    const count = /^x(\d+)$/.exec(tokens[at] ?? "");
    if (!count) return layers;
    at++;
    const n = Number(count[1]);
    if (n * layers.length > MAX_LAYERS) tooMany(n * layers.length);
    return Array.from({ length: n }, () => layers).flat();
  };
  const sequence = (depth: number): string[] => {
    const layers: string[] = [];
    while (at < tokens.length && tokens[at] !== ")") {
      if (tokens[at] === "(") {
        if (depth > 8) fail();
        at++;
        const inner = sequence(depth + 1);
        if (tokens[at] !== ")") fail();
        at++;
        layers.push(...repeat(inner));
      } else if (letters.includes(tokens[at]!)) {
        layers.push(...repeat([tokens[at++]!]));
      } else fail();
      if (layers.length > MAX_LAYERS) tooMany(layers.length);
    }
    return layers;
  };
  const layers = sequence(0);
  if (at < tokens.length) fail();
  return check(layers, letters);
}

function check(layers: string[], letters: readonly string[]): string[] {
  if (layers.length > MAX_LAYERS) tooMany(layers.length);
  const unknown = layers.find((l) => !letters.includes(l));
  if (layers.length > 0 && unknown === undefined) return layers;
  throw new UsageError(expected(`layers out of ${letters.join(", ")}`, "the layout", unknown ?? layers), {
    code: "INVALID_LAYOUT",
    hint: "A stack holds at least one layer of a known kind.",
  });
}

function tooMany(count: number): never {
  throw new UsageError(expected(`at most ${MAX_LAYERS} layers`, "the layout", count), {
    code: "INVALID_LAYOUT",
    hint: "Check the counts in the layout.",
  });
}
