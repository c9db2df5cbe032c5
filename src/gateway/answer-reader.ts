/**
 * @module Turns the text of one answer, as it comes, into what a client sees of it: content, tool calls,
 * log-probabilities.
 */
import { type CallPiece, CallReader } from "../constraint/call-reader.ts";
import { LooseCallReader, type LooseRules } from "../constraint/loose-call-reader.ts";
import { callTrigger } from "../constraint/tool-calls.ts";
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
  /** Calls that the model has written in a way of its own are read as well; null: they are text. */
  readonly loose?: Omit<LooseRules, "trigger"> | null;
  readonly logprobs: boolean;
  readonly newCallId: () => string;
}

export class AnswerReader {
  readonly #options: AnswerReaderOptions;
  readonly #calls: CallReader | LooseCallReader | null;
  readonly #toolCalls: ToolCall[] = [];
  #content = "";
  #thought = "";
  /** Details of tokens whose text is not content yet, in its order, and of those whose text is. */
  readonly #waiting: TokenDetail[] = [];
  readonly #logprobs: TokenDetail[] = [];
  #consumed = 0;
  /** Where the content ends in the text. */
  #read = 0;

  constructor(options: AnswerReaderOptions) {
    this.#options = options;
    const { syntax, mustCall, loose } = options;
    const strict = syntax === null ? null : new CallReader(syntax, mustCall);
    this.#calls =
      syntax !== null && strict !== null && loose
        ? new LooseCallReader(strict, { ...loose, trigger: callTrigger(syntax) })
        : strict;
  }

  /** Characters of the text that have been read. */
  get consumed(): number {
    return this.#consumed;
  }

  /** Text that has been read of what was thought. */
  get thought(): string {
    return this.#thought;
  }

  /** What is thought before the text. */
  think(text: string): AnswerEvent {
    this.#thought += text;
    return { type: "thought", index: this.#options.index, text };
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
      thought: this.#thought === "" ? null : this.#thought,
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
        return this.#text(piece.text, piece.at);
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

  /** `at`: where the text begins, if it does not go on where it ended. */
  #text(text: string, at?: number): AnswerEvent {
    this.#content += text;
    this.#read = (at ?? this.#read) + text.length;
    const begun = this.#begunBefore(this.#read).filter(({ offset }) => at === undefined || offset >= at);
    for (const detail of begun) this.#logprobs.push(detail);
    return { type: "text", index: this.#options.index, text, logprobs: this.#options.logprobs ? begun : null };
  }

  #begunBefore(end: number): TokenDetail[] {
    const later = this.#waiting.findIndex(({ offset }) => offset >= end);
    return this.#waiting.splice(0, later < 0 ? this.#waiting.length : later);
  }
}
