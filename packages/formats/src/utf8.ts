import { expected, InputError } from "@krait/core";

/**
 * Offset in bytes of the first byte that breaks UTF-8 (RFC 3629: no overlong forms, surrogates or values above U+10FFFF; a
 * cut sequence counts from its first byte). -1 when all is well.
 */
export function invalidUtf8Offset(bytes: Uint8Array): number {
  const n = bytes.length;
  for (let i = 0; i < n; ) {
    const lead = bytes[i]!;
    if (lead < 0x80) {
      i++;
      continue;
    }
    let more: number;
    let low = 0x80;
    let high = 0xbf;
    if (lead >= 0xc2 && lead <= 0xdf) more = 1;
    else if (lead >= 0xe0 && lead <= 0xef) {
      more = 2;
      if (lead === 0xe0) low = 0xa0;
      if (lead === 0xed) high = 0x9f;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
      more = 3;
      if (lead === 0xf0) low = 0x90;
      if (lead === 0xf4) high = 0x8f;
    } else return i;
    for (let k = 1; k <= more; k++) {
      const byte = bytes[i + k];
      if (byte === undefined || byte < low || byte > high) return i;
      low = 0x80;
      high = 0xbf;
    }
    i += more + 1;
  }
  return -1;
}

/**
 * Decodes strictly; a byte order mark stays as U+FEFF.
 * Throws `InputError` (`code`) that names the offset of the first bad byte.
 */
export function decodeUtf8(bytes: Uint8Array, name: string, code: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    const offset = invalidUtf8Offset(bytes);
    const shown = offset < 0 ? `${bytes.length} bytes` : `byte 0x${bytes[offset]!.toString(16)} at offset ${offset}`;
    throw new InputError(expected("UTF-8", name, shown), {
      code,
      hint: "Convert it to UTF-8 (iconv -t UTF-8), or repair the bytes at that offset.",
      cause,
    });
  }
}
