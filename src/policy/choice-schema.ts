/** @module What a policy says of how the choice goes: among whole answers or block by block, and what streams show. */
import { z } from "zod";

const tokensOfABlock = z.int().min(1).max(1024);

export const blockSchema = z
  .strictObject({
    tokens: z
      .union([tokensOfABlock, z.array(tokensOfABlock).min(1).max(64)], {
        error: "must be a whole number from 1 to 1024, or a list of such numbers: one for each block, the last repeats",
      })
      .default(16)
      .describe("of each block; a list: of the first, the second and so on, the last number of all further ones"),
    keep: z
      .int()
      .min(1)
      .max(16)
      .optional()
      .describe("so many of the best are kept, and all go on; streams show what they have in common; absent: 1"),
    branch: z
      .int()
      .min(2)
      .max(64)
      .optional()
      .describe("blocks that come next of each that is kept; absent: as many as make up the candidates together"),
  })
  .optional()
  .describe("choose while sampling: of n blocks of so many tokens the best is kept and sent at once");

export const streamSchema = z
  .enum(["blocks", "contrast", "whole"])
  .optional()
  .describe(
    "what a streamed request is given: blocks as they are chosen (of 8, 16, 32, then 64 tokens, if block says nothing else), one answer whose tokens are drawn as decode says, or the choice among whole answers; one that is not streamed is chosen whole. Absent: blocks for both where block is set; else blocks, where the rest of the policy goes with them",
  );

export const pruneSchema = z
  .strictObject({
    every: z.int().min(1).max(1024).default(32).describe("candidates are compared after each so many tokens"),
    keep: z.number().gt(0).lt(1).default(0.5).describe("the share of them that goes on each time, rounded up"),
  })
  .optional()
  .describe(
    "drop candidates while they are sampled: those whose beginnings score worst; absent: all are sampled whole",
  );

export type Prune = Readonly<NonNullable<z.output<typeof pruneSchema>>>;

/**
 * How many stay in a race of so many: ⌈keep · among⌉, and as many as answers are wanted.
 *
 * @example [8, 4, 2, 1].map((among) => keptOf(among, 0.5, 1)) // 4, 2, 1, 1
 */
export function keptOf(among: number, keep: number, answers: number): number {
  // Of 10 candidates 0.7 are 7, though 0.7 · 10 is a little more.
  const share = Math.ceil(keep * among - 1e-9);
  return Math.min(among, Math.max(share, answers));
}

/** First words soon, then fewer stops. */
const streamedTokens: readonly number[] = [8, 16, 32, 64];

interface Choosing {
  readonly block?:
    | {
        readonly tokens: number | readonly number[];
        readonly keep?: number | undefined;
        readonly branch?: number | undefined;
      }
    | undefined;
  readonly stream?: "blocks" | "contrast" | "whole" | undefined;
}

/** How an answer is chosen block by block. */
export interface Blocks {
  /** `[blocks]`: tokens of each, the last number for all further ones. */
  readonly tokens: readonly number[];
  /** Beginnings of answers that are kept at each block's end. */
  readonly keep: number;
  /** Blocks that come next of each; null: as many as make up the candidates together. */
  readonly branch: number | null;
}

/** By which blocks a policy says that a request is answered; null: it does not. */
export function blocksOf({ block, stream }: Choosing, isStreamed: boolean): Blocks | null {
  const isInBlocks = stream === undefined ? block !== undefined : stream === "blocks" && isStreamed;
  if (!isInBlocks) return null;
  const { tokens = streamedTokens, keep = 1, branch = null } = block ?? {};
  return { tokens: typeof tokens === "number" ? [tokens] : tokens, keep, branch };
}

/** The field by which a policy says that some requests, if not all, are answered in blocks; null: it does not. */
export function blockField(choosing: Choosing): "block" | "stream" | null {
  if (blocksOf(choosing, true) === null) return null;
  return choosing.stream === undefined ? "block" : "stream";
}
