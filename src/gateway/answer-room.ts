/** @module How large an answer may become: it is held whole, and a small request may ask for a very large one. */
import { GatewayError } from "../types/error.ts";

/** Characters. */
const largestAnswer = 32 * 2 ** 20;
/** Of a token's text, and of its log-probability or that of one alternative, roughly, as a client gets them. */
const textSize = 8;
export const detailSize = 100;
const numberSize = 20;

/**
 * `tokens` of all answers together; `details`: log-probabilities told of each, alternatives among them. Throws
 * "invalid_request".
 */
export function checkAnswerSize(tokens: number, details: number, param: string): void {
  checkSize(tokens * (textSize + details * detailSize), "Ask for fewer answers, tokens or log-probabilities.", param);
}

/** Tokens of each answer that would just do. */
export function fittingTokens(answers: number, details: number): number {
  return Math.floor(largestAnswer / (answers * (textSize + details * detailSize)));
}

/** The same for lists of numbers. */
export function checkVectorsSize(vectors: number, dimensions: number): void {
  checkSize(vectors * dimensions * numberSize, "Send fewer texts at once, or encoding_format: base64.", "input");
}

function checkSize(size: number, remedy: string, param: string): void {
  if (size <= largestAnswer) return;
  const [would, most] = [size, largestAnswer].map((characters) => Math.ceil(characters / 2 ** 20));
  throw new GatewayError(
    "invalid_request",
    `Invalid '${param}': the answer might take ${would} MB; at most ${most} are allowed. ${remedy}`,
    { param },
  );
}
