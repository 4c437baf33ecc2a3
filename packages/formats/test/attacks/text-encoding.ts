import { type Attack, file } from "../helpers.js";

const withName = (...name: number[]) => {
  const before = new TextEncoder().encode('{"');
  const after = new TextEncoder().encode('":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}');
  return file(Uint8Array.of(...before, ...name, ...after));
};

/** Headers that are not UTF-8: some readers would take them, and see another name than we do. */
export const attacks: Attack[] = [
  { name: "a byte that never occurs", code: "JSON_NOT_UTF8", bytes: withName(0xff) },
  { name: "an overlong slash", code: "JSON_NOT_UTF8", bytes: withName(0xc0, 0xaf) },
  { name: "a surrogate", code: "JSON_NOT_UTF8", bytes: withName(0xed, 0xa0, 0x80) },
  { name: "a value above U+10FFFF", code: "JSON_NOT_UTF8", bytes: withName(0xf4, 0x90, 0x80, 0x80) },
  { name: "a cut character", code: "JSON_NOT_UTF8", bytes: withName(0xe2, 0x82) },
  { name: "a byte order mark in front", code: "SAFETENSORS_HEADER", bytes: file("\ufeff{}") },
  { name: "UTF-16", code: "SAFETENSORS_HEADER", bytes: file(Uint8Array.of(0xff, 0xfe, 0x7b, 0, 0x7d, 0)) },
];
