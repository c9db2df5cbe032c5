/** @module The text of a thought, as it comes. */

/** White space is told once it is followed by something. */
export class ThoughtText {
  readonly #onText: (text: string) => void;
  #isEmpty = true;
  #space = "";

  constructor(onText: (text: string) => void) {
    this.#onText = onText;
  }

  push(text: string): void {
    const rest = this.#space + text;
    const shown = (this.#isEmpty ? rest.trimStart() : rest).trimEnd();
    this.#space = this.#isEmpty && shown === "" ? "" : rest.slice(rest.trimEnd().length);
    if (shown === "") return;
    this.#isEmpty = false;
    this.#onText(shown);
  }
}
