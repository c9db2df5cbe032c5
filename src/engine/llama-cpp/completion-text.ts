/** @module Turns sampled tokens into text as they come: whole characters only, and never past a stop string. */
import type { Token } from "../engine.ts";

/** Text of `tokens`, given the tokens before them. */
export type Detokenize = (tokens: readonly Token[], previous: readonly Token[]) => string;

/** Half a character at the end shows as these. */
const incompleteEnd = /\uFFFD+$/u;
/** No character takes more bytes, so no more tokens, than this. */
const longestCharacter = 4;
/** The detokeniser looks back no further than this. */
const lookBack = 8;

export class CompletionText {
  readonly #detokenize: Detokenize;
  readonly #stop: readonly string[];
  #previous: Token[] = [];
  /** Tokens since the last whole character, and how much of their text is taken. */
  #pending: Token[] = [];
  #taken = 0;
  #waiting = 0;
  /** What has been emitted. To read it takes time in its length, which a token must not. */
  #emitted = "";
  /** What comes after it: whatever a stop string may still begin in. */
  #held = "";
  /** `[tokens]`: where each begins in the text. */
  readonly #offsets: number[] = [];
  #stopString: string | undefined;

  constructor(detokenize: Detokenize, stop: readonly string[]) {
    this.#detokenize = detokenize;
    this.#stop = stop;
  }

  /** The stop string that has been met: the text ends before it. */
  get stopString(): string | undefined {
    return this.#stopString;
  }

  get text(): string {
    return this.#emitted + this.#held;
  }

  /** `[tokens]`: where each from the given one on that begins in the emitted text begins, in UTF-16 code units. */
  offsetsFrom(first: number): readonly number[] {
    let end = first;
    while (end < this.#offsets.length && (this.#offsets[end] as number) < this.#emitted.length) end += 1;
    return this.#offsets.slice(first, end);
  }

  /** Adds a token; returns the text that is now certain to belong to the answer. */
  push(token: Token): string {
    this.#offsets.push(this.#emitted.length + this.#held.length);
    this.#pending.push(token);
    const piece = this.#detokenize(this.#pending, this.#previous);
    const whole = piece.replace(incompleteEnd, "");
    this.#waiting = whole.length > this.#taken ? 1 : this.#waiting + 1;
    // Bytes that no further token can complete are shown as they are.
    const settled = whole.length === piece.length || this.#waiting >= longestCharacter;
    const certain = settled ? piece : whole;
    this.#append(certain.slice(this.#taken));
    this.#taken = certain.length;
    if (settled) {
      this.#previous = [...this.#previous, ...this.#pending].slice(-lookBack);
      this.#pending = [];
      this.#taken = 0;
      this.#waiting = 0;
    }
    return this.#emit(this.#held.length - (this.#stopString === undefined ? heldBack(this.#held, this.#stop) : 0));
  }

  /** The answer is over: returns what was held back. Half a character at the end is dropped. */
  end(): string {
    return this.#emit(this.#held.length);
  }

  #append(piece: string): void {
    this.#held += piece;
    const met = this.#stop.map((stop) => ({ stop, at: this.#held.indexOf(stop) })).filter(({ at }) => at >= 0);
    const [first, ...others] = met;
    if (first === undefined) return;
    const { stop, at } = others.reduce((earliest, one) => (one.at < earliest.at ? one : earliest), first);
    this.#held = this.#held.slice(0, at);
    this.#stopString = stop;
  }

  #emit(length: number): string {
    const text = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    this.#emitted += text;
    return text;
  }
}

/** How many characters at the end of `text` might be the beginning of a stop string. */
function heldBack(text: string, stop: readonly string[]): number {
  let longest = 0;
  const last = text.at(-1);
  for (const string of stop)
    for (let length = Math.min(string.length - 1, text.length); length > longest; length--)
      // Most beginnings end in another character, which is seen without a copy.
      if (string[length - 1] === last && text.endsWith(string.slice(0, length))) longest = length;
  return longest;
}
