/** @module The text of one candidate, as it comes: what is certain to belong to it, and its tokens' details. */
import type { FinishReason, TokenDetail } from "../engine/engine.ts";
import type { PromptFormat } from "../policy/schema.ts";

/** What a text ends in that may be the beginning of a turn or block marker of the paper's templates. */
const markerBeginning = "(?:#|[Hh](?:u(?:m(?:an?)?)?)?|[Aa](?:s(?:s(?:i(?:s(?:t(?:a(?:nt?)?)?)?)?)?)?)?)?$";
/**
 * On a line of its own: in a text, and in the rest of one whose beginning has been shown, up to the end of a line at
 * most.
 */
const openMarker = new RegExp(`(?:^|\\n)${markerBeginning}`, "u");
const laterOpenMarker = new RegExp(`\\n${markerBeginning}`, "u");

/**
 * In the paper's formats a text is trimmed, and never ends in half a marker. What has been shown is not looked at
 * again.
 */
export class CandidateText {
  readonly #trims: boolean;
  readonly #onText: (text: string, details: readonly TokenDetail[]) => void;
  readonly #shown: string[] = [];
  #shownLength = 0;
  /** What has come and is not shown yet. */
  #held = "";
  /** Characters that have come, and those at their beginning that were trimmed off. */
  #length = 0;
  #lead = 0;
  /** Details of the tokens not shown yet, and of all those shown. */
  #waiting: readonly TokenDetail[] = [];
  readonly #details: TokenDetail[] = [];

  constructor(format: PromptFormat, onText: (text: string, details: readonly TokenDetail[]) => void) {
    this.#trims = format !== "chat";
    this.#onText = onText;
  }

  push(text: string, details: readonly TokenDetail[]): void {
    this.#length += text.length;
    this.#held += text;
    if (details.length > 0) this.#waiting = [...this.#waiting, ...details];
    if (this.#trims && this.#shownLength === 0) {
      this.#held = this.#held.trimStart();
      this.#lead = this.#length - this.#held.length;
    }
    this.#show(this.#trims ? this.#certain() : this.#held.length);
  }

  /** The whole text, and its tokens' details; what was held back is shown. */
  end(finish: FinishReason): { readonly text: string; readonly details: readonly TokenDetail[] } {
    const whole = this.#trims ? this.#held.trimEnd().length : this.#held.length;
    const certain = this.#trims && finish === "length" ? this.#certain() : whole;
    // Nothing but what may be half a marker is better than nothing.
    this.#show(certain === 0 && this.#shownLength === 0 ? whole : certain);
    return { text: this.#shown.join(""), details: this.#details };
  }

  /** Characters of what is held that will not turn out to belong to a marker, or to be white space at the end. */
  #certain(): number {
    const marker = this.#shownLength === 0 ? openMarker : laterOpenMarker;
    return this.#held.trimEnd().replace(marker, "").trimEnd().length;
  }

  /** Shows so many characters of what is held. */
  #show(count: number): void {
    if (count === 0) return;
    const text = this.#held.slice(0, count);
    this.#held = this.#held.slice(count);
    this.#shown.push(text);
    this.#shownLength += count;
    const details = this.#waiting.length === 0 ? this.#waiting : this.#detailsUpTo(this.#shownLength);
    this.#details.push(...details);
    this.#onText(text, details);
  }

  /** Of the tokens that begin before `end`; those that lie in white space which was trimmed off are dropped. */
  #detailsUpTo(end: number): TokenDetail[] {
    const lead = this.#lead;
    const begun = this.#waiting.filter(({ offset }) => offset - lead < end);
    const kept = begun.filter(
      ({ offset }, i) => offset >= lead || (this.#waiting[i + 1]?.offset ?? this.#length) > lead,
    );
    this.#waiting = this.#waiting.slice(begun.length);
    return kept.map((detail) => ({ ...detail, offset: Math.max(0, detail.offset - lead) }));
  }
}
