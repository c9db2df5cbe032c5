/**
 * @module Reads tool calls off an answer that keeps to the grammar of `tool-calls.ts`, piece by piece as it is
 * generated.
 */
import type { ToolSyntax } from "../types/conversation.ts";
import { JsonEnd } from "./json-end.ts";
import { callHead, callTrigger } from "./tool-calls.ts";

export type CallPiece =
  /** `at`: where in the answer it begins, if calls have come before it. */
  | { readonly type: "text"; readonly text: string; readonly at?: number }
  | { readonly type: "call"; readonly name: string }
  /** More of the arguments of the call that came last. */
  | { readonly type: "arguments"; readonly text: string };

type State = "text" | "name" | "arguments" | "after";

export class CallReader {
  readonly #syntax: ToolSyntax;
  readonly #trigger: string;
  readonly #mustCall: boolean;
  #state: State = "text";
  /**
   * What has been generated, and not been read yet; of it, so many characters are known to be white space, or not to
   * begin a call.
   */
  #rest = "";
  #seen = 0;
  #json = new JsonEnd();

  constructor(syntax: ToolSyntax, mustCall: boolean) {
    this.#syntax = syntax;
    this.#mustCall = mustCall;
    this.#trigger = callTrigger(syntax);
  }

  /** A call has begun: what comes is no text any more. */
  get isCalling(): boolean {
    return this.#state !== "text";
  }

  /** What is held back is more than white space: it may be the beginning of a call. */
  get isOpening(): boolean {
    return this.#state === "text" && this.#rest.trim() !== "";
  }

  /** Lets go of white space that is held back: a call follows it. */
  dropSpace(): void {
    this.#rest = "";
    this.#seen = 0;
  }

  push(text: string): CallPiece[] {
    this.#rest += text;
    const pieces: CallPiece[] = [];
    for (;;) {
      const [state, length] = [this.#state, this.#rest.length];
      pieces.push(...this.#read());
      if (this.#state === state && this.#rest.length === length) return pieces;
    }
  }

  /** The answer is over: text that might have gone on as a call is text. Half a call is what has been read of it. */
  end(): CallPiece[] {
    const rest = this.#rest;
    this.#rest = "";
    return this.#state === "text" && !this.#mustCall ? textPiece(rest) : [];
  }

  #read(): CallPiece[] {
    switch (this.#state) {
      case "text":
        return this.#readText();
      case "name":
        return this.#readName();
      case "arguments":
        return this.#readArguments();
      case "after":
        return this.#readAfter();
    }
  }

  /** White space before a call, or at the end of what there is, is held back: it may lead to a call. */
  #readText(): CallPiece[] {
    const at = this.#rest.indexOf(this.#trigger, this.#seen);
    if (at >= 0) {
      const text = this.#take(at).trimEnd();
      this.#take(this.#trigger.length);
      // A trigger that is the call's beginning is read again with the name.
      if (this.#trigger !== this.#syntax.opening) this.#rest = callHead(this.#syntax) + this.#rest;
      this.#state = "name";
      return textPiece(text);
    }
    const held = heldBack(this.#rest, this.#trigger);
    const certain = this.#rest.length - held;
    const written = this.#mustCall ? 0 : this.#rest.slice(this.#seen, certain).trimEnd().length;
    const text = written === 0 ? "" : this.#take(this.#seen + written);
    this.#seen = certain - text.length;
    return textPiece(text);
  }

  #readName(): CallPiece[] {
    const head = `${callHead(this.#syntax)}"`;
    const middle = `", ${JSON.stringify(this.#syntax.arguments)}: `;
    const end = this.#rest.indexOf(middle, Math.max(head.length, this.#seen));
    if (end < 0) {
      this.#seen = Math.max(0, this.#rest.length - middle.length + 1);
      return [];
    }
    const name = this.#rest.slice(head.length, end);
    this.#take(end + middle.length);
    this.#state = "arguments";
    this.#json = new JsonEnd();
    return [{ type: "call", name }];
  }

  #readArguments(): CallPiece[] {
    const length = this.#json.push(this.#rest);
    if (this.#json.isOver) this.#state = "after";
    const text = this.#take(length);
    return text === "" ? [] : [{ type: "arguments", text }];
  }

  /** The call's closing brace, then another call or the end. */
  #readAfter(): CallPiece[] {
    const next = `}${this.#syntax.between ?? ""}`;
    if (this.#syntax.between !== null && this.#rest.startsWith(next)) {
      this.#take(next.length);
      this.#state = "name";
    }
    return [];
  }

  #take(length: number): string {
    const taken = this.#rest.slice(0, length);
    this.#rest = this.#rest.slice(length);
    this.#seen = 0;
    return taken;
  }
}

function textPiece(text: string): CallPiece[] {
  return text === "" ? [] : [{ type: "text", text }];
}

/** How many characters at the end of `text` may be the beginning of `marker`. */
function heldBack(text: string, marker: string): number {
  for (let length = Math.min(marker.length - 1, text.length); length > 0; length--)
    if (text.endsWith(marker.slice(0, length))) return length;
  return 0;
}
