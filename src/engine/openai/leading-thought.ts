/** @module A thought that a service has left at the beginning of its content, told apart as it comes. */
import { thoughtMarks } from "../../text/without-thought.ts";

export interface Parted {
  readonly thought: string;
  readonly text: string;
}

/** White space may stand before a thought, and between it and the answer. */
export class LeadingThought {
  #stage: "before" | "thought" | "after" | "answer" = "before";
  #closing = "";
  /** What has come, and may yet be either, or a part of a mark. */
  #held = "";
  #length = 0;
  #answerStart: number | null = null;

  /** Where the answer begins in all that has come, in UTF-16 code units; null: it has not begun. */
  get answerStart(): number | null {
    return this.#answerStart;
  }

  push(piece: string): Parted {
    this.#length += piece.length;
    this.#held += piece;
    if (this.#stage === "before") this.#begin();
    const thought = this.#stage === "thought" ? this.#think() : "";
    if (this.#stage === "after") this.#goOn();
    return { thought, text: this.#stage === "answer" ? this.#take(this.#held.length) : "" };
  }

  /** Nothing more comes: half a mark is what it looks like. */
  end(): Parted {
    if (this.#stage === "thought") return { thought: this.#take(this.#held.length), text: "" };
    if (this.#stage === "before") this.#answer();
    return { thought: "", text: this.#stage === "answer" ? this.#take(this.#held.length) : "" };
  }

  #begin(): void {
    const begun = this.#held.trimStart();
    const mark = thoughtMarks.find(({ opening }) => begun.startsWith(opening));
    if (mark !== undefined) {
      this.#closing = mark.closing;
      this.#held = begun.slice(mark.opening.length);
      this.#stage = "thought";
    } else if (!thoughtMarks.some(({ opening }) => opening.startsWith(begun))) this.#answer();
  }

  #think(): string {
    const end = this.#held.indexOf(this.#closing);
    if (end < 0) return this.#take(this.#held.length - halfMark(this.#held, this.#closing));
    const thought = this.#take(end);
    this.#held = this.#held.slice(this.#closing.length);
    this.#stage = "after";
    return thought;
  }

  #goOn(): void {
    this.#held = this.#held.trimStart();
    if (this.#held !== "") this.#answer();
  }

  #answer(): void {
    this.#answerStart = this.#length - this.#held.length;
    this.#stage = "answer";
  }

  #take(length: number): string {
    const taken = this.#held.slice(0, length);
    this.#held = this.#held.slice(length);
    return taken;
  }
}

/** How many characters at a text's end may begin the mark. */
function halfMark(text: string, mark: string): number {
  for (let length = Math.min(mark.length - 1, text.length); length > 0; length--)
    if (mark.startsWith(text.slice(-length))) return length;
  return 0;
}
