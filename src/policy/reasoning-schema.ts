/** @module What a policy says of thoughts before answers, for models that think. */
import { z } from "zod";
import type { Thinking } from "../engine/engine.ts";

export const reasoningSchema = z
  .strictObject({
    mode: z
      .enum(["off", "auto", "on"])
      .optional()
      .describe(
        "whether answers are thought about; auto: as the model's template does; absent: off where candidates are scored and the model can, else auto",
      ),
    budget: z
      .int()
      .min(1)
      .max(1_000_000)
      .default(512)
      .describe("tokens of a thought; a longer one is closed by force, and the answer begins"),
    thoughts: z
      .enum(["shared", "own"])
      .default("shared")
      .describe("one thought for all candidates, of which only the answers compete; or one for each"),
  })
  .optional()
  .describe("for models that think; others do not heed it");

export type ReasoningSettings = Readonly<z.output<typeof reasoningSchema>>;

/** What a request says of it; it goes first. */
export interface AskedReasoning {
  readonly thinks?: boolean | undefined;
  /** Tokens of a thought. */
  readonly budget?: number | undefined;
  /** Told to templates that know it. */
  readonly effort?: "low" | "medium" | "high" | undefined;
}

/** What a request and its policy come to, for a model that thinks. */
export interface Reasoning {
  /** How the model writes its thoughts. */
  readonly thinking: Thinking;
  readonly thinks: boolean;
  /** Tokens of a thought. */
  readonly budget: number;
  readonly thoughts: "shared" | "own";
  /** Told to templates that know it. */
  readonly effort?: string | undefined;
  /** The client's limit counts thought and answer together, as OpenAI's does; absent: it gave none. */
  readonly within?: number | undefined;
}

const defaultBudget = 512;

/** `isScored`: candidates compete by scores; `within`: the client's limit of tokens. */
export function reasoningOf(
  settings: ReasoningSettings,
  {
    isScored,
    within,
    asked = {},
  }: { readonly isScored: boolean; readonly within?: number | undefined; readonly asked?: AskedReasoning | undefined },
  thinking: Thinking,
): Reasoning {
  const { off, byDefault, efforts } = thinking;
  const mode = settings?.mode ?? (isScored && off !== null ? "off" : "auto");
  const { thinks = mode === "auto" ? byDefault : mode === "on", budget, effort } = asked;
  return {
    thinking,
    thinks,
    budget: budget ?? settings?.budget ?? defaultBudget,
    thoughts: settings?.thoughts ?? "shared",
    ...(effort !== undefined && efforts.includes(effort) && { effort }),
    ...(within !== undefined && { within }),
  };
}
