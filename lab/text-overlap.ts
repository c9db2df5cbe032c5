/** @module How much of one text is in another: ROUGE-L and chrF. */

/** Letters, with their marks, and digits in a row, small. */
function wordsOf(text: string): string[] {
  return (
    text
      .normalize("NFKC")
      .toLowerCase()
      .match(/[\p{L}\p{M}\p{N}]+/gu) ?? []
  );
}

/**
 * ROUGE-L (Lin, 2004) of whole texts, F₁ in [0, 1]: 2PR / (P + R), where P and R are the longest common subsequence's
 * words as a share of the answer's and of the reference's. Words as they are, without stemming.
 *
 * @example rougeL("police kill the gunman", "police killed the gunman"); // 0.75
 */
export function rougeL(answer: string, reference: string): number {
  const [own, wanted] = [wordsOf(answer), wordsOf(reference)];
  if (own.length === 0 || wanted.length === 0) return 0;
  return (2 * longestCommonSubsequence(own, wanted)) / (own.length + wanted.length);
}

function longestCommonSubsequence(a: readonly string[], b: readonly string[]): number {
  let above = new Uint32Array(b.length + 1);
  for (const word of a) {
    const row = new Uint32Array(b.length + 1);
    for (let j = 1; j <= b.length; j++)
      row[j] = word === b[j - 1] ? (above[j - 1] as number) + 1 : Math.max(above[j] as number, row[j - 1] as number);
    above = row;
  }
  return above[b.length] as number;
}

const chrfOrder = 6;
/** Recall counts twice as much as precision. */
const chrfBeta = 2;

/**
 * chrF2 (Popović, 2015), in [0, 1]: the mean over n = 1 … 6 of F_β of character n-grams, white space left out, as
 * chrF++.py and sacrebleu with `eps_smoothing` have it. A text of fewer characters has no n-grams, and 0 there.
 */
export function chrf(answer: string, reference: string): number {
  const [own, wanted] = [answer, reference].map((text) => [...text.replace(/\s+/gu, "")]) as [string[], string[]];
  let sum = 0;
  for (let n = 1; n <= chrfOrder; n++) {
    const [ours, theirs] = [counted(sequences(own, n, "")), counted(sequences(wanted, n, ""))];
    let common = 0;
    for (const [sequence, count] of ours) common += Math.min(count, theirs.get(sequence) ?? 0);
    if (common === 0) continue;
    const [precision, recall] = [common / (own.length - n + 1), common / (wanted.length - n + 1)];
    sum += ((1 + chrfBeta ** 2) * precision * recall) / (chrfBeta ** 2 * precision + recall);
  }
  return sum / chrfOrder;
}

/** `[parts - n + 1]`: what stands in a row. */
function sequences(parts: readonly string[], n: number, separator: string): string[] {
  return Array.from({ length: Math.max(0, parts.length - n + 1) }, (_, i) => parts.slice(i, i + n).join(separator));
}

function counted(values: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const value of values) counts.set(value, (counts.get(value) ?? 0) + 1);
  return counts;
}
