/** The text of one candidate, in whatever pieces it comes. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { CandidateText } from "../../../src/icdpo/candidate-text.ts";
import type { PromptFormat } from "../../../src/policy/schema.ts";

describe("the text of a candidate", () => {
  /** Words, white space, and what may begin a marker. */
  const texts = fc
    .array(
      fc.constantFrom("a", "word", " ", "\n", "\n\n", "#", "##", "H", "Human", "h", "Assis", "tant", "ant:", "As", "."),
    )
    .map((parts) => parts.join(""));
  const formats = fc.constantFrom<PromptFormat>("chat", "hh-rlhf", "synthetic-gpt");
  const finishes = fc.constantFrom("stop" as const, "length" as const);
  const read = (format: PromptFormat, pieces: readonly string[], finish: "stop" | "length") => {
    const shown: string[] = [];
    const answer = new CandidateText(format, (text) => shown.push(text));
    for (const piece of pieces) answer.push(piece, []);
    return { shown, text: answer.end(finish).text };
  };

  it("is the same in whatever pieces it comes, and is what was shown of it", () => {
    fc.assert(
      fc.property(texts, fc.array(fc.nat(20)), formats, finishes, (text, lengths, format, finish) => {
        const pieces: string[] = [];
        let at = 0;
        for (const length of lengths) {
          pieces.push(text.slice(at, at + length));
          at += length;
        }
        const inPieces = read(format, [...pieces, text.slice(at)], finish);
        expect(inPieces.text).toBe(read(format, [text], finish).text);
        expect(inPieces.shown.join("")).toBe(inPieces.text);
        expect(inPieces.shown).not.toContain("");
      }),
    );
  });

  it.each(["chat", "hh-rlhf"] as const)(
    "takes room for itself alone, not for itself at each of its pieces: %s",
    (format) => {
      const piece = `${"x".repeat(199)} `;
      const before = process.memoryUsage().heapUsed;
      const { shown, text } = read(
        format,
        Array.from({ length: 10_000 }, () => piece),
        "length",
      );
      expect(shown.length).toBeGreaterThan(9_000);
      expect(process.memoryUsage().heapUsed - before).toBeLessThan(100 * 2 ** 20);
      expect(text.length).toBeGreaterThan(1_999_000);
    },
  );
});
