import { expected, type TypedArray, UsageError } from "@krait/core";
import type { Dim, Graph } from "@krait/graph";
import type { LayerRouting } from "./layers/index.js";

/** A layer that sends each token to topK experts. */
export interface RoutedLayer {
  name: string;
  topK: number;
  experts: number;
}

/**
 * Experts [tokens, topK] of the tokens of one sequence, best first, by layer. As given to a run: a layer that is absent chooses by itself, and
 * so does a token whose row begins with −1. An expert that a row names twice counts twice.
 */
export type Choices = Readonly<Record<string, Int32Array>>;

const givenName = (layer: RoutedLayer) => `${layer.name}.given`;
const chosenName = (layer: RoutedLayer) => `${layer.name}.chosen`;

/** Declares the inputs and outputs of the layers' choices. */
export function declareRouting(
  graph: Graph,
  tokens: Dim,
  layers: readonly RoutedLayer[],
): ReadonlyMap<string, LayerRouting> {
  return new Map(
    layers.map((layer) => [
      layer.name,
      {
        given: graph.input(givenName(layer), "i32", [tokens, layer.topK]),
        chose: (experts) => graph.output(chosenName(layer), experts),
      },
    ]),
  );
}

/**
 * Throws `UsageError` (INVALID_OPTION) unless the choices are of layers of the model, of all tokens, and of experts that there are: before a
 * run begins, so that its sessions stay as they are.
 */
export function checkChoices(choices: Choices, tokens: number, layers: readonly RoutedLayer[]): void {
  for (const [name, rows] of Object.entries(choices)) {
    const layer = layers.find((l) => l.name === name);
    if (!layer) {
      throw new UsageError(expected("layers that choose among experts", "the choices of a sequence", name), {
        code: "INVALID_OPTION",
        hint: "Load the model with routing; what a run chose is named by layer.",
      });
    }
    const { topK, experts } = layer;
    if (!(rows instanceof Int32Array)) {
      throw new UsageError(expected("an Int32Array", `the choices of ${name}`, rows), {
        code: "INVALID_OPTION",
        hint: "Leave a layer out to let it choose.",
      });
    }
    if (rows.length !== tokens * topK) {
      throw new UsageError(expected(`${tokens * topK} experts`, `the choices of ${name}`, rows.length), {
        code: "INVALID_OPTION",
        hint: `Each of the ${tokens} tokens goes to ${topK}.`,
      });
    }
    const free = (i: number) => rows[i - (i % topK)] === -1;
    const wrong = rows.find((e, i) => !free(i) && !(Number.isInteger(e) && e >= 0 && e < experts));
    if (wrong !== undefined) {
      throw new UsageError(expected(`experts from 0 to ${experts - 1}`, `the choices of ${name}`, wrong), {
        code: "INVALID_OPTION",
        hint: "A row whose first expert is −1 lets the layer choose.",
      });
    }
  }
}

/** The inputs of a run over sequences with these choices. */
export function givenInputs(
  layers: readonly RoutedLayer[],
  lengths: readonly number[],
  choices: readonly (Choices | undefined)[],
): Record<string, Int32Array> {
  const inputs: Record<string, Int32Array> = {};
  for (const layer of layers) {
    const rows = new Int32Array(lengths.reduce((a, b) => a + b, 0) * layer.topK).fill(-1);
    let at = 0;
    lengths.forEach((n, i) => {
      const given = choices[i]?.[layer.name];
      if (given) rows.set(given, at);
      at += n * layer.topK;
    });
    inputs[givenName(layer)] = rows;
  }
  return inputs;
}

/** What a run chose, per sequence. */
export function chosenOf(
  layers: readonly RoutedLayer[],
  lengths: readonly number[],
  outputs: Readonly<Record<string, TypedArray>>,
): Choices[] {
  let at = 0;
  return lengths.map((n) => {
    const part = layers.map((layer) => {
      const rows = outputs[chosenName(layer)] as Int32Array;
      return [layer.name, rows.slice(at * layer.topK, (at + n) * layer.topK)] as const;
    });
    at += n;
    return Object.fromEntries(part);
  });
}

/** Those of tokens [from, to). */
export function sliceChoices(
  choices: Choices,
  layers: readonly RoutedLayer[],
  from: number,
  to: number | undefined,
): Choices {
  const part = ({ name, topK }: RoutedLayer) =>
    [name, choices[name]!.subarray(from * topK, to === undefined ? undefined : to * topK)] as const;
  return Object.fromEntries(layers.map(part));
}

/** Those of stretches of a sequence that come one behind the other. */
export function joinChoices(parts: readonly Choices[], layers: readonly RoutedLayer[]): Choices {
  const whole = ({ name }: RoutedLayer) =>
    [name, Int32Array.from(parts.flatMap((part) => Array.from(part[name]!)))] as const;
  return Object.fromEntries(layers.map(whole));
}

/** How often a layer sends a token to other experts, whatever their order. */
export interface Flips {
  /** Tokens × layers. */
  of: number;
  flipped: number;
}

/** Where two runs over the same tokens chose differently. */
export function countFlips(a: Choices, b: Choices, layers: readonly RoutedLayer[]): Flips {
  const flips = { of: 0, flipped: 0 };
  for (const { name, topK } of layers) {
    const [left, right] = [a[name]!, b[name]!];
    for (let from = 0; from < left.length; from += topK) {
      const set = (rows: Int32Array) => rows.slice(from, from + topK).sort();
      flips.of++;
      if (set(left).join() !== set(right).join()) flips.flipped++;
    }
  }
  return flips;
}
