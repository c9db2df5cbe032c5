/** @module Text that comes in pieces, and is cut before the first of some strings. */

/** Where the first of some strings begins in a text; its end, where none does. */
export function firstOf(strings: readonly string[], text: string): number {
  return Math.min(...strings.map((string) => text.indexOf(string)).filter((at) => at >= 0), text.length);
}

/** Text that ends before the first of some strings, wherever blocks part. */
export class CutText {
  readonly #stops: readonly string[];
  #text = "";
  #given = 0;
  /** What it ends before. */
  stopString: string | undefined;

  constructor(stops: readonly string[]) {
    this.#stops = stops;
  }

  /** What is now certain to belong to the text. */
  push(more: string): string {
    this.#text += more;
    const cut = firstOf(this.#stops, this.#text);
    if (cut < this.#text.length) this.stopString = this.#stops.find((stop) => this.#text.startsWith(stop, cut));
    return this.#give(this.stopString !== undefined ? cut : this.#text.length - this.#openStop());
  }

  /** All that was held back. */
  end(): string {
    return this.#give(this.#text.length);
  }

  /** Characters at the end that may be the beginning of a stop string. */
  #openStop(): number {
    const longest = Math.max(0, ...this.#stops.map(({ length }) => length - 1));
    for (let length = Math.min(longest, this.#text.length); length > 0; length--)
      if (this.#stops.some((stop) => stop.startsWith(this.#text.slice(-length)))) return length;
    return 0;
  }

  #give(end: number): string {
    const given = this.#text.slice(this.#given, Math.max(this.#given, end));
    this.#given = Math.max(this.#given, end);
    return given;
  }
}
