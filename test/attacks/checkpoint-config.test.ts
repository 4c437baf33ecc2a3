import { describe, expect, it } from "vitest";
import { built } from "../fixtures.js";
import { refusesModel, spoiltModel } from "./checkpoints.js";

const changes: [string, Record<string, unknown>, string, string][] = [
  ["a negative number of layers", { num_hidden_layers: -1 }, "INVALID_CONFIG", "num_hidden_layers"],
  ["a billion layers", { num_hidden_layers: 1e9 }, "INVALID_CONFIG", "num_hidden_layers"],
  ["half a layer", { num_hidden_layers: 1.5 }, "INVALID_CONFIG", "num_hidden_layers"],
  ["more layers than weights", { num_hidden_layers: 1000 }, "TENSOR_MISSING", "backbone.layers."],
  ["a width of other weights", { hidden_size: 65 }, "TENSOR_SHAPE", "backbone.embeddings.weight"],
  ["groups that do not divide its heads", { n_groups: 3 }, "INVALID_CONFIG", "groups"],
  ["a vocabulary without end", { vocab_size: 1e12 }, "INVALID_CONFIG", "vocab_size"],
  ["states for all the memory there is", { state_size: 2 ** 23 }, "INVALID_CONFIG", "stateSize"],
  ["a type nobody knows", { model_type: "mamba9" }, "MODEL_TYPE_UNKNOWN", "model_type"],
  ["a type of an object's own", { model_type: "__proto__" }, "MODEL_TYPE_UNKNOWN", "model_type"],
  ["words for numbers", { hidden_size: "64" }, "INVALID_CONFIG", "hidden_size"],
];

describe.skipIf(!built)("a published model with", () => {
  it.each(changes)("%s is refused", async (_, change, code, named) => {
    await refusesModel(await spoiltModel({ config: (config) => ({ ...config, ...change }) }), code, named);
  });

  it("a config that would be a prototype, or says a thing twice, is refused", async () => {
    const text = (config: object, front: string) => JSON.stringify(config).replace("{", `{${front},`);
    const proto = await spoiltModel({ config: (config) => text(config, '"__proto__":{"hidden_size":8}') });
    await refusesModel(proto, "JSON_FORBIDDEN_KEY", "__proto__");
    expect(({} as Record<string, unknown>).hidden_size).toBeUndefined();
    const twice = await spoiltModel({ config: (config) => text(config, '"hidden_size":8') });
    await refusesModel(twice, "JSON_DUPLICATE_KEY", "hidden_size");
  });
});
