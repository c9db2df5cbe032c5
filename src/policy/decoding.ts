/** @module How a policy's tokens are drawn, where that is not by C⁺ alone, and what goes with it. */
import type { Capabilities } from "../engine/engine.ts";
import type { Policy } from "./policy.ts";
import type { PolicySettings } from "./schema.ts";

/**
 * How tokens are drawn, where that is by contrast. With `stream: contrast` those of streams alone are: by the policy that
 * `forStreams` makes of this one.
 */
export function contrastOf({ decode, stream }: Pick<PolicySettings, "decode" | "stream">): PolicySettings["decode"] {
  return stream === "contrast" ? undefined : decode;
}

/** What a streamed request for one answer is answered by: with `stream: contrast` one answer, drawn as `decode` says. */
export function forStreams(policy: Policy): Policy {
  const { settings } = policy;
  if (settings.stream !== "contrast") return policy;
  return { ...policy, settings: { ...settings, candidates: 1, prune: undefined, stream: undefined } };
}

/** Tokens that compete at each place. */
export function competingAt({ decode, sampling }: Pick<PolicySettings, "decode" | "sampling">): number {
  return decode?.top ?? sampling.top_k;
}

/** What does not go with a policy's decoding, if anything: the field, and why. */
export function misfitOfDecoding(
  settings: PolicySettings,
  capabilities: Pick<Capabilities, "contrast">,
): { readonly path: readonly string[]; readonly reason: string } | null {
  const { decode, score, candidates, block, stream, scorer } = settings;
  const at = (path: string, reason: string) => ({ path: path.split("."), reason });
  const streamsOnly = stream === "contrast";
  if (decode === undefined)
    return streamsOnly
      ? at("stream", "decode says how the tokens of streams are drawn: write decode: { type: contrast, alpha: 0.5 }")
      : null;
  if (capabilities.contrast !== true)
    return at(
      "decode.type",
      "this engine samples after one context at a time, and contrast needs two in step; the embedded engine has it (type: llama)",
    );
  if (score.type !== "contrast")
    return at(
      "score",
      "decode: contrast needs a negative context: write score: { type: contrast, negative: rejected }",
    );
  if (score.negative === "reference")
    return at("score.negative", "decode: contrast is between two contexts of one model: rejected, near or base");
  if (scorer !== undefined) return at("scorer", "decode: contrast is between two contexts of the model that samples");
  if (competingAt(settings) === 0)
    return at("decode.top", "must be given where sampling.top_k is 0: the likeliest tokens alone compete");
  if (streamsOnly) return null;
  if (candidates !== 1)
    return at(
      "candidates",
      "decode: contrast makes one answer: write candidates: 1, or stream: contrast if it is for streams alone",
    );
  if (block !== undefined) return at("block", "decode: contrast makes one answer, of which no block is chosen");
  if (stream !== undefined) return at("stream", "decode: contrast makes one answer, which streams token by token");
  if (score.reward !== undefined)
    return at("score.reward", "decode: contrast makes one answer, which no reward is needed to choose");
  return null;
}
