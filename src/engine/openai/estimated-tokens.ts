/** @module Estimates of tokens, for a service that tells nothing of its tokenizer. */
import type { Token } from "../engine.ts";

/** UTF-8 bytes of a token, about: English, code, Chinese. */
export const tokenBytes = 4;

/** Tokens of a text that comes in pieces. */
export class Estimate {
  #bytes = 0;

  /** By how many the estimate has grown. */
  add(piece: string): number {
    const before = this.#bytes;
    this.#bytes += countBytes(piece);
    return Math.ceil(this.#bytes / tokenBytes) - Math.ceil(before / tokenBytes);
  }
}

export function countTokens(text: string): number {
  return Math.ceil(countBytes(text) / tokenBytes);
}

function countBytes(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit > 0x7f) bytes += unit > 0x7ff && (unit < 0xd800 || unit > 0xdfff) ? 2 : 1;
  }
  return bytes;
}

export function estimatedTokens(count: number): Token[] {
  return new Array<Token>(count).fill(0);
}
