/** @module The end of a JSON object or list in text that comes in pieces. */
export class JsonEnd {
  #depth = 0;
  #inString = false;
  #escaped = false;
  isOver = false;

  /** How many characters of `text`, from a place in it, belong to it. */
  push(text: string, from = 0): number {
    for (let i = from; i < text.length; i++) {
      this.#see(text[i] as string);
      if (this.isOver) return i + 1 - from;
    }
    return text.length - from;
  }

  #see(character: string): void {
    if (this.#escaped) this.#escaped = false;
    else if (this.#inString) {
      this.#escaped = character === "\\";
      this.#inString = character !== '"';
    } else if (character === '"') this.#inString = true;
    else if (character === "{" || character === "[") this.#depth += 1;
    else if (character === "}" || character === "]") {
      this.#depth -= 1;
      this.isOver = this.#depth === 0;
    }
  }
}
