/**
 * @module Reads an answer that may call tools, where the model may also have written its calls in a way of its own. What
 * may become such a call is held back until it is known.
 */
import { CallBlock, type OfferedNames, offeredNames } from "./call-block.ts";
import type { CallPiece, CallReader } from "./call-reader.ts";

export interface LooseRules {
  /** Of the tools that are offered. */
  readonly names: ReadonlySet<string>;
  /** Whether a call keeps to what its tool demands: no grammar has seen to it. One that does not is text. */
  readonly accepts: (name: string, text: string) => boolean;
  /** Several calls in one answer; else all but the first are dropped. */
  readonly parallel: boolean;
  /** What the model's own calls begin with: after that, the grammar says what comes. */
  readonly trigger: string;
}

/** Nobody needs more calls in one answer. */
const mostCalls = 16;
/** What may stand before a call of the model's own: a fence, and of one that begins as JSON, a list's bracket. */
const fenceOpener = /^(?:```[\w-]*[ \t]*\n\s*)?/u;
const jsonOpener = /^(?:```[\w-]*[ \t]*\n\s*)?(?:\[\s*)?/u;
const longestOpener = 64;

export class LooseCallReader {
  readonly #strict: CallReader;
  readonly #rules: LooseRules;
  readonly #offered: OfferedNames;
  readonly #trigger: string;
  #block: CallBlock | null = null;
  #held = "";
  /** There has been nothing but white space since the line began. */
  #isFresh = true;
  /** In a fence that holds something else than calls. */
  #isForeign = false;
  #called = 0;
  /** White space after a call is not text, unless there is some on both sides. */
  #isAfterCall = false;
  #hasText = false;
  /** Characters that have been read, and where the text after the last call begins among them. */
  #position = 0;
  #resumed: number | undefined;

  constructor(strict: CallReader, rules: LooseRules) {
    this.#strict = strict;
    this.#rules = rules;
    this.#offered = offeredNames(rules.names);
    this.#trigger = rules.trigger.trimStart();
  }

  push(text: string): CallPiece[] {
    const pieces: CallPiece[] = [];
    for (let rest = text; rest !== ""; ) {
      if (this.#strict.isCalling) {
        pieces.push(...this.#strict.push(rest));
        break;
      }
      const read = this.#block === null ? this.#readText(rest, pieces) : this.#readBlock(this.#block, rest, pieces);
      this.#position += read;
      rest = rest.slice(read);
    }
    return pieces;
  }

  end(): CallPiece[] {
    const pieces: CallPiece[] = [];
    this.#block?.end();
    if (this.#block !== null) this.#settle(this.#block, pieces);
    if (this.#isAfterCall && !this.#strict.isCalling) this.#strict.dropSpace();
    return [...pieces, ...this.#placed(this.#strict.end())];
  }

  /** Text up to where a block may begin. Returns how much has been read. */
  #readText(text: string, pieces: CallPiece[]): number {
    if (this.#isAfterCall && !this.#hasText && /\s/u.test(text[0] as string)) {
      this.#isFresh ||= text.startsWith("\n");
      return 1;
    }
    if (this.#isAfterCall) this.#resumed ??= this.#position;
    if (text.trim() !== "") this.#isAfterCall = false;
    const at = this.#blockIn(text);
    pieces.push(...this.#placed(this.#strict.push(text.slice(0, at))));
    if (at === text.length || this.#strict.isCalling) return at;
    if (this.#strict.isOpening) {
      this.#isFresh = false;
      pieces.push(...this.#placed(this.#strict.push(text[at] as string)));
      return at + 1;
    }
    this.#block = new CallBlock(this.#offered);
    this.#held = "";
    return at;
  }

  /** Where a line begins like a block; the text's end, where none does. */
  #blockIn(text: string): number {
    for (let i = 0; i < text.length; i++) {
      const character = text[i] as string;
      if (character === "\n") this.#isFresh = true;
      if (!this.#isFresh || /\s/u.test(character)) continue;
      if (!this.#isForeign && /[{[<`]/u.test(character)) return i;
      this.#isFresh = false;
      if (character === "`") this.#isForeign = false;
    }
    return text.length;
  }

  #readBlock(block: CallBlock, text: string, pieces: CallPiece[]): number {
    const seen = this.#held.length <= longestOpener ? this.#held + text : "";
    const own = seen.replace(this.#trigger.startsWith("{") ? jsonOpener : fenceOpener, "");
    if (own.startsWith(this.#trigger)) {
      this.#block = null;
      this.#strict.dropSpace();
      pieces.push(...this.#strict.push(this.#rules.trigger + own.slice(this.#trigger.length)));
      return text.length;
    }
    const read = block.push(text);
    this.#held += text.slice(0, read);
    if (block.status !== "open") this.#settle(block, pieces);
    return read;
  }

  #settle(block: CallBlock, pieces: CallPiece[]): void {
    this.#block = null;
    const isText =
      block.status === "text" || !block.calls.every((call) => this.#rules.accepts(call.name, call.arguments));
    if (isText) {
      this.#isForeign = this.#held.startsWith("```");
      this.#isFresh = /\n\s*$/u.test(this.#held.slice(-longestOpener));
      pieces.push(...this.#placed(this.#strict.push(this.#held)));
      return;
    }
    this.#strict.dropSpace();
    for (const { name, arguments: text } of block.calls) {
      this.#called += 1;
      if (this.#called > (this.#rules.parallel ? mostCalls : 1)) break;
      pieces.push({ type: "call", name }, { type: "arguments", text });
    }
    this.#isAfterCall = true;
    this.#resumed = undefined;
    this.#isFresh = true;
  }

  /** Tells where text goes on after a call. */
  #placed(pieces: readonly CallPiece[]): CallPiece[] {
    return pieces.map((piece) => {
      this.#hasText ||= piece.type === "text";
      if (piece.type !== "text" || this.#resumed === undefined) return piece;
      const at = this.#resumed;
      this.#resumed = undefined;
      return { ...piece, at };
    });
  }
}
