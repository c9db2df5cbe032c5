/** @module Which prompts are for tuning, and which are held out: by each prompt's own hash and the seed. */
import { GatewayError } from "icdpo-gateway/laboratory";
import { contentHash } from "./cache.ts";
import type { AskedPrompt } from "./pool-rows.ts";

export interface SplitPrompts {
  readonly tuning: readonly AskedPrompt[];
  readonly heldOut: readonly AskedPrompt[];
}

/**
 * A prompt is on its side whatever others there are. Both come in an order that the hash decides, so that the first ones
 * are a fair sample. `share`: held out, of all. Throws "invalid_request" where a side is empty.
 */
export function splitPrompts(prompts: readonly AskedPrompt[], share: number, seed: number): SplitPrompts {
  const placed = prompts.map((prompt) => ({ prompt, place: placeOf(prompt, seed) }));
  const ordered = placed.toSorted((a, b) => a.place - b.place);
  const heldOut = ordered.filter(({ place }) => place < share).map(({ prompt }) => prompt);
  const tuning = ordered.filter(({ place }) => place >= share).map(({ prompt }) => prompt);
  if (heldOut.length === 0 || tuning.length === 0)
    throw new GatewayError(
      "invalid_request",
      `Of ${prompts.length} prompts ${tuning.length} are for tuning, ${heldOut.length} held out: both are needed. Give more prompts, or another --held-out or --seed.`,
    );
  return { tuning, heldOut };
}

const range = 2 ** 32;

/** In [0, 1). */
function placeOf({ messages }: AskedPrompt, seed: number): number {
  return Number.parseInt(contentHash(["tuning", seed, messages]).slice(0, 8), 16) / range;
}
