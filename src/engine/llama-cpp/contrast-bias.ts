/**
 * @module Contrastive decoding as what is added to C⁺'s logits before the usual samplers: the contrast of two contexts,
 * token by token (§ 2.3 of the paper, arXiv 2402.09320; OPAD, ICLR 2025).
 */
import type { Token } from "../engine.ts";

/**
 * Added to the logits of tokens that are not among C⁺'s likeliest: beside any of those they weigh nothing, in 32 bits,
 * but where a grammar allows none of those, they decide among themselves as C⁺ has them.
 */
const leftOut = -1024;

/**
 * What turns C⁺'s logits into those of π⁺·(π⁺/π⁻)^α, in nats:
 *
 *     log π⁺(y) + α·(log π⁺(y) − log π⁻(y)) = log π⁺(y) + added(y)
 *
 * for each token y that both maps hold: log π(y ∣ C⁺, before) and log π(y ∣ C⁻, before). Whatever is the same for all
 * tokens falls out when they are normalised. α = 0 adds nothing.
 *
 * @example contrasted(new Map([[7, -1]]), new Map([[7, -3]]), 0.5); // Map { 7 → 1 }
 */
export function contrasted(
  positive: ReadonlyMap<Token, number>,
  negative: ReadonlyMap<Token, number>,
  alpha: number,
): Map<Token, number> {
  return new Map(
    [...positive].map(([token, logprob]) => [token, alpha * (logprob - (negative.get(token) ?? Number.NaN))]),
  );
}

/** Of the whole vocabulary, as llama.cpp takes them; filled anew at each step. */
export class ContrastBias {
  readonly tokens: Uint32Array;
  readonly values: Float32Array;

  constructor(vocabularySize: number) {
    this.tokens = Uint32Array.from({ length: vocabularySize }, (_, token) => token);
    this.values = new Float32Array(vocabularySize);
  }

  /** `own`: what is added to logits anyway; `added`: by the contrast, to the tokens that compete. Throws where it is no number. */
  fill(own: ReadonlyMap<Token, number>, added: ReadonlyMap<Token, number>): void {
    this.values.fill(leftOut);
    for (const [token, bias] of own) this.values[token] = leftOut + bias;
    for (const [token, contrast] of added) {
      if (Number.isNaN(contrast)) throw new Error(`llama.cpp returned no log-probability of the token ${token}`);
      this.values[token] = contrast + (own.get(token) ?? 0);
    }
  }
}
