/**
 * @module Turns the text of one answer, as it comes, into what a client sees of it: content, tool calls,
 * log-probabilities.
 */
import { type CallPiece, CallReader } from "../constraint/call-reader.ts";
import type { FinishReason, TokenDetail } from "../engine/engine.ts";
import type { ToolCall, ToolSyntax } from "../types/conversation.ts";
import type { Answer, AnswerEvent } from "./generation.ts";

export interface AnswerReaderOptions {
  /** Which of the request's answers it is. */
  readonly index: number;
  /** Null: the answer holds no tool calls. */
  readonly syntax: ToolSyntax | null;
  /** There is no text but calls: what is cut off before the first of them is not shown. */
  readonly mustCall: boolean;
  readonly logprobs: boolean;
  readonly newCallId: () => string;
}

export class AnswerReader {
  readonly #options: AnswerReaderOptions;
  readonly #calls: CallReader | null;
  readonly #toolCalls: ToolCall[] = [];
  #content = "";
  /** Details of tokens whose text is not content yet, in its order, and of those whose text is. */
  readonly #waiting: TokenDetail[] = [];
  readonly #logprobs: TokenDetail[] = [];
  #consumed = 0;

  constructor(options: AnswerReaderOptions) {
    this.#options = options;
    this.#calls = options.syntax === null ? null : new CallReader(options.syntax, options.mustCall);
  }

  /** Characters of the text that have been read. */
  get consumed(): number {
    return this.#consumed;
  }

  push(text: string, details: readonly TokenDetail[]): AnswerEvent[] {
    this.#consumed += text.length;
    for (const detail of details) this.#waiting.push(detail);
    if (this.#calls === null) return text === "" ? [] : [this.#text(text)];
    return this.#events(this.#calls.push(text));
  }

  /** The last events, "finish" at the end. */
  end(finish: FinishReason): AnswerEvent[] {
    const rest = this.#events(this.#calls?.end() ?? []);
    const called = this.#toolCalls.length > 0;
    const answer: Answer = {
      content: called && this.#content === "" ? null : this.#content,
      toolCalls: this.#toolCalls,
      finish: called && finish === "stop" ? "tool_calls" : finish,
      logprobs: this.#options.logprobs ? this.#logprobs : null,
    };
    return [...rest, { type: "finish", index: this.#options.index, answer }];
  }

  #events(pieces: readonly CallPiece[]): AnswerEvent[] {
    return pieces.map((piece) => this.#event(piece));
  }

  #event(piece: CallPiece): AnswerEvent {
    const { index, newCallId } = this.#options;
    switch (piece.type) {
      case "text":
        return this.#text(piece.text);
      case "call": {
        const id = newCallId();
        this.#toolCalls.push({ id, name: piece.name, arguments: "" });
        return { type: "call", index, call: this.#toolCalls.length - 1, id, name: piece.name };
      }
      case "arguments": {
        const call = this.#toolCalls.length - 1;
        const last = this.#toolCalls[call] as ToolCall;
        this.#toolCalls[call] = { ...last, arguments: last.arguments + piece.text };
        return { type: "arguments", index, call, text: piece.text };
      }
    }
  }

  #text(text: string): AnswerEvent {
    this.#content += text;
    const later = this.#waiting.findIndex(({ offset }) => offset >= this.#content.length);
    const begun = this.#waiting.splice(0, later < 0 ? this.#waiting.length : later);
    for (const detail of begun) this.#logprobs.push(detail);
    return { type: "text", index: this.#options.index, text, logprobs: this.#options.logprobs ? begun : null };
  }
}
