import { type Attack, file, tensor } from "../helpers.js";

const honest = file({ a: tensor("U8", [4], 0, 4) }, 4);

/** Formats that run code when they are loaded, by their names and by their first bytes. */
export const attacks: Attack[] = [
  ...["model.pt", "model.pth", "pytorch_model.bin", "MODEL.CKPT", "x.pkl", "x.pickle"].map((fileName) => ({
    name: `the name ${fileName}`,
    code: "PICKLE_REFUSED",
    bytes: honest,
    fileName,
  })),
  ...[2, 3, 4, 5].map((protocol) => ({
    name: `pickle protocol ${protocol} under an honest name`,
    code: "PICKLE_REFUSED",
    bytes: Uint8Array.of(0x80, protocol, 0x63, 0x6f, 0x73, 0x0a, 0x73, 0x79, 0x73, 0x2e),
  })),
  { name: "a pickle of four bytes", code: "PICKLE_REFUSED", bytes: Uint8Array.of(0x80, 4, 0x4e, 0x2e) },
  { name: "a zip", code: "PICKLE_REFUSED", bytes: Uint8Array.of(0x50, 0x4b, 3, 4, 20, 0, 0, 0, 0, 0, 0, 0) },
  { name: "an empty zip", code: "PICKLE_REFUSED", bytes: Uint8Array.of(0x50, 0x4b, 5, 6, ...new Array(18).fill(0)) },
];
