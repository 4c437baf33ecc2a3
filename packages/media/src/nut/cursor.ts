import { EnvironmentError } from "@krait/core";

/** The pipe carried something that is not the NUT we asked for: a foreign or broken ffmpeg. */
export function nutError(detail: string): EnvironmentError {
  return new EnvironmentError(`Expected a NUT stream for the output of ffmpeg but received ${detail}`, {
    code: "DECODER_OUTPUT_INVALID",
    hint: "Check that `ffmpeg -version` names a release from 5.1 on and that nothing else writes to its output.",
  });
}

/** The pipe ended in mid-packet: ffmpeg died, and its own words say more than these. */
export function nutCut(where: string): EnvironmentError {
  return new EnvironmentError(
    `Expected a whole NUT stream for the output of ffmpeg but received the end inside ${where}`,
    {
      code: "DECODER_OUTPUT_CUT",
      hint: "The decoder was killed from outside, perhaps for want of memory: ask for smaller frames.",
    },
  );
}

/** Reads NUT's variable-length numbers from bytes already in memory. Every read is checked against the end. */
export class Cursor {
  constructor(
    readonly bytes: Uint8Array,
    public offset = 0,
  ) {}

  get left(): number {
    return this.bytes.length - this.offset;
  }

  byte(): number {
    if (this.offset >= this.bytes.length) throw nutError("a header that ends too early");
    return this.bytes[this.offset++]!;
  }

  u32(): number {
    return ((this.byte() << 24) | (this.byte() << 16) | (this.byte() << 8) | this.byte()) >>> 0;
  }

  /** `v`: seven bits a byte, most significant first, the top bit says that more follow. */
  v(): number {
    let value = 0;
    for (;;) {
      const byte = this.byte();
      value = value * 128 + (byte & 0x7f);
      if (value > Number.MAX_SAFE_INTEGER) throw nutError("a number beyond 53 bits");
      if ((byte & 0x80) === 0) return value;
    }
  }

  /** `s`: a signed number, folded into `v` as 0, 1, −1, 2, −2 … */
  s(): number {
    const folded = this.v() + 1;
    return folded % 2 === 1 ? (1 - folded) / 2 : folded / 2;
  }

  /** `vb`: a length and that many bytes. */
  vb(): Uint8Array {
    const length = this.v();
    if (length > this.left) throw nutError("a field longer than its header");
    this.offset += length;
    return this.bytes.subarray(this.offset - length, this.offset);
  }
}
