/**
 * @module How much of an answer is copied from texts that stood in its context, by words: matching statistics (Chang and
 * Lawler, 1994) on a suffix automaton (Blumer et al., 1985), in time linear in all lengths.
 */
import type { Demonstration } from "../types/conversation.ts";

/** Of an answer. */
export interface Copied {
  /** Of its 5-grams, those that the texts hold: from 0 to 1; 0 of fewer than five words. */
  readonly share: number;
  /** Words of the longest run that it has in common with one of the texts. */
  readonly run: number;
}

/** Words of a 5-gram. */
const gram = 5;

/** Of plain answers next to none have more than this share, of those made with demonstrations one in eight. */
export const muchCopied = 0.2;

/** A longest run of words that ends in one place, and what may follow on it. */
interface State {
  length: number;
  link: number;
  readonly next: Map<string, number>;
}

/** Writing without spaces: each of its characters counts as a word. */
const unspaced = ["Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar"]
  .map((script) => `\\p{Script=${script}}`)
  .join("");
const word = new RegExp(`[${unspaced}]|(?:(?![${unspaced}])[\\p{L}\\p{M}\\p{N}])+`, "gu");

/** As they are compared: without case and punctuation. */
function wordsOf(text: string): string[] {
  return text.normalize("NFKC").toLowerCase().match(word) ?? [];
}

/** What demonstrations show of answers; null where there are none. Their questions are not recited, but like the asked one. */
export function sourcesOf(demonstrations: readonly Demonstration[]): CopySources | null {
  if (demonstrations.length === 0) return null;
  return new CopySources(
    demonstrations.flatMap(({ messages, chosen }) => [
      ...messages.filter(({ role }) => role === "assistant").map(({ content }) => content),
      chosen,
    ]),
  );
}

/**
 * What answers are held against.
 *
 * @example
 * new CopySources(["Warm the pot first, then pour."]).copiedIn("First: warm the pot first, then wait.");
 * // { share: 1 / 3, run: 5 }: "warm the pot first then" is one of three 5-grams
 */
export class CopySources {
  readonly #states: State[] = [{ length: 0, link: -1, next: new Map() }];

  constructor(texts: readonly string[]) {
    for (const text of texts) this.#add(wordsOf(text));
  }

  copiedIn(answer: string): Copied {
    const words = wordsOf(answer);
    const runs = this.#runs(words);
    const grams = words.length - gram + 1;
    return {
      share: grams < 1 ? 0 : runs.filter((length) => length >= gram).length / grams,
      run: runs.reduce((longest, length) => Math.max(longest, length), 0),
    };
  }

  /** `[words]`: how many words up to each, at most, stand in a text as they do here. */
  #runs(words: readonly string[]): number[] {
    let [state, length] = [0, 0];
    return words.map((next) => {
      while (state !== 0 && !this.#at(state).next.has(next)) {
        state = this.#at(state).link;
        length = this.#at(state).length;
      }
      const following = this.#at(state).next.get(next);
      if (following !== undefined) [state, length] = [following, length + 1];
      else length = 0;
      return length;
    });
  }

  /** All runs of a text. Each text begins at the start, so that no run goes from one into the next. */
  #add(words: readonly string[]): void {
    let last = 0;
    for (const next of words) last = this.#extended(last, next);
  }

  /** The state of all that has been read, one word longer. */
  #extended(last: number, next: string): number {
    const known = this.#at(last).next.get(next);
    if (known !== undefined) return this.#withLength(known, last, next);
    const added = this.#push({ length: this.#at(last).length + 1, link: 0, next: new Map() });
    let state = last;
    for (; state >= 0 && !this.#at(state).next.has(next); state = this.#at(state).link)
      this.#at(state).next.set(next, added);
    if (state >= 0) this.#at(added).link = this.#withLength(this.#at(state).next.get(next) as number, state, next);
    return added;
  }

  /** The state that `next` leads to from `from`; where it has longer runs as well, one of its own is split off. */
  #withLength(reached: number, from: number, next: string): number {
    const length = this.#at(from).length + 1;
    const original = this.#at(reached);
    if (original.length === length) return reached;
    const clone = this.#push({ length, link: original.link, next: new Map(original.next) });
    original.link = clone;
    for (let state = from; state >= 0 && this.#at(state).next.get(next) === reached; state = this.#at(state).link)
      this.#at(state).next.set(next, clone);
    return clone;
  }

  #at(state: number): State {
    return this.#states[state] as State;
  }

  #push(state: State): number {
    return this.#states.push(state) - 1;
  }
}
