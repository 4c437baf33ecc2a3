import { describe, it } from "vitest";
import { built } from "../fixtures.js";
import { refusesModel, spoiltModel } from "./checkpoints.js";

const NAME = "backbone.layers.0.mixer.in_proj.weight";

describe.skipIf(!built)("a published model whose weights", () => {
  it.each([
    ["have a shape whose product overflows", [2 ** 32, 2 ** 32], "SAFETENSORS_SHAPE"],
    ["have a shape beyond what a number holds", [2 ** 53, 3], "SAFETENSORS_SHAPE"],
    ["have a shape that wraps to their own size", [2 ** 63, 2], "SAFETENSORS_SHAPE"],
    ["claim a terabyte", [2 ** 19, 2 ** 20], "SAFETENSORS_SHAPE"],
    ["have a negative dimension", [-1, 64], "SAFETENSORS_SHAPE"],
    ["have half a row", [1.5, 64], "SAFETENSORS_SHAPE"],
  ])("%s are refused", async (_, shape, code) => {
    const folder = await spoiltModel({
      header: (header) => {
        header[NAME]!.shape = shape;
      },
    });
    await refusesModel(folder, code, NAME);
  });

  it.each([
    ["are said to be of another size of number", "F32", "SAFETENSORS_SHAPE"],
    ["are said to be of a dtype of no kind", "F7", "SAFETENSORS_DTYPE"],
    ["are integers of the same size", "I16", "TENSOR_DTYPE"],
  ])("%s are refused", async (_, dtype, code) => {
    const folder = await spoiltModel({
      header: (header) => {
        header[NAME]!.dtype = dtype;
      },
    });
    await refusesModel(folder, code, NAME);
  });

  it("have a dimension of one too many are refused", async () => {
    const folder = await spoiltModel({
      header: (header) => header[NAME]!.shape.push(1),
    });
    await refusesModel(folder, "TENSOR_SHAPE", NAME);
  });
});
