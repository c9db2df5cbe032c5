/** @module A policy whose retriever finds what a test gives, and engines whose log-probabilities stand in tables. */
import type { Engine, Sample, SampleEvent, SamplingParameters, Token } from "../../../src/engine/engine.ts";
import { type Measurement, type MeasureRequest, measure as measureOn } from "../../../src/icdpo/measure.ts";
import { type IcdpoOutcome, type IcdpoRequest, icdpo as icdpoOn } from "../../../src/icdpo/pipeline.ts";
import type { Models, Policy } from "../../../src/policy/policy.ts";
import { type PolicySettings, type PromptFormat, policySchema } from "../../../src/policy/schema.ts";
import type { Conversation, Demonstration } from "../../../src/types/conversation.ts";
import { quiet, type Script, ScriptedEngine } from "../scripted-engine.ts";

export const conversation: Conversation = [{ role: "user", content: "How do magnets work?" }];
export const instructions = { positive: "GOOD", negative: "BAD" };

export function demonstration(id: string, length = 4): Demonstration {
  const fill = (letter: string) => letter.repeat(length);
  return {
    id,
    messages: [{ role: "user", content: `ask-${id}` }],
    chosen: `${id}+${fill("c")}`,
    rejected: `${id}-${fill("r")}`,
  };
}

export interface PolicyOptions {
  readonly score: unknown;
  readonly candidates?: PolicySettings["candidates"];
  readonly demonstrations?: readonly Demonstration[];
  readonly instructions?: PolicySettings["instructions"] | null;
  readonly format?: PromptFormat;
  readonly maxTokens?: number;
  readonly decode?: PolicySettings["decode"];
  readonly prune?: PolicySettings["prune"];
}

/** A policy whose retriever finds the demonstrations in the order given. */
export function policy(options: PolicyOptions): Policy & { readonly format: PromptFormat } {
  const {
    score,
    candidates = 3,
    demonstrations = [demonstration("one"), demonstration("two")],
    format = "chat",
    maxTokens = 20,
    prune,
  } = options;
  const named = demonstrations.length > 0 ? { demonstrations: "set", retriever: { type: "random" } } : {};
  const guidance = options.instructions === null ? {} : { instructions: options.instructions ?? instructions };
  const settings = policySchema.parse({
    ...named,
    ...guidance,
    score,
    candidates,
    ...(options.decode && { decode: options.decode }),
    prune,
    sampling: { max_tokens: maxTokens },
  });
  const retrieve = async (_: Conversation, { shots }: { shots: number }) =>
    demonstrations.slice(0, shots).map((found, place) => ({ demonstration: found, similarity: 0.9 - place / 10 }));
  return {
    name: "test",
    id: "test@0123456789ab",
    settings,
    goesOn: true,
    format,
    ...samplingBy(new ScriptedEngine(), format),
    demonstrations,
    retriever: demonstrations.length > 0 ? { retrieve } : null,
    source: { demonstrations: "", model: "scripted" },
  };
}

/** One model does it all. */
export function samplingBy(engine: Engine, format: PromptFormat): Models {
  const sampler = { engine, format };
  return { sampler, scorer: sampler, reference: null };
}

export function icdpo(
  engine: Engine,
  { format, ...rest }: ReturnType<typeof policy>,
  of: IcdpoRequest,
): Promise<IcdpoOutcome> {
  return icdpoOn({ ...rest, ...samplingBy(engine, format) }, of);
}

export function measure(
  engine: Engine,
  { format, ...rest }: ReturnType<typeof policy>,
  of: MeasureRequest,
): Promise<Measurement> {
  return measureOn({ ...rest, ...samplingBy(engine, format) }, of);
}

export const sHat = { type: "contrast", negative: "rejected" } as const;
export const s = { type: "contrast", negative: "base" } as const;
export const likelihood = { type: "likelihood" } as const;

export function request(
  overrides: Partial<Omit<IcdpoRequest, "sampling">> & { sampling?: Partial<SamplingParameters> } = {},
): IcdpoRequest {
  const sampling = { temperature: 1, topP: 0.8, topK: 50, maxTokens: 20, stop: [], ...overrides.sampling };
  return { conversation, answers: 1, seed: 7, now: () => 0, ...overrides, sampling };
}

/** Samples that say these texts. */
export function says(...texts: string[]): Required<Pick<Script, "sample">> {
  return { sample: (index) => ({ text: texts[index] ?? "" }) };
}

export type Sums = Readonly<Record<string, readonly [positive: number, negative: number, base: number]>>;

export function signOf(context: string): "positive" | "negative" | "base" {
  if (context.includes("GOOD") || context.includes("polite/")) return "positive";
  return context.includes("BAD") || context.includes("offensive/") ? "negative" : "base";
}

/** log π of each response after C⁺, C⁻ and C⁰. */
export function table(sums: Sums): Required<Pick<Script, "sum">> {
  return {
    sum(context, response) {
      const row = sums[response.trim()];
      if (row === undefined) throw new Error(`no sums for "${response}"`);
      return row[{ positive: 0, negative: 1, base: 2 }[signOf(context)]] as number;
    },
  };
}

/** What was scored after which context, C⁺ first. */
export function scoreCalls(engine: ScriptedEngine) {
  const calls = engine.calls.flatMap((call) =>
    call.type === "score" ? [{ sign: signOf(call.context), responses: call.responses }] : [],
  );
  return calls.toSorted((a, b) => b.sign.localeCompare(a.sign));
}

export function sampleCall(engine: ScriptedEngine) {
  const call = engine.calls.find(({ type }) => type === "sample");
  if (call?.type !== "sample") throw new Error("nothing was sampled");
  return call;
}

/** An engine whose samples are noted as given, whatever their text tokenises to. */
export class FixedSamplesEngine extends ScriptedEngine {
  readonly #samples: readonly Sample[];

  constructor(samples: readonly Sample[], script: Script) {
    super(script);
    this.#samples = samples;
  }

  override async *sample(): AsyncGenerator<SampleEvent> {
    for (const [index, sample] of this.#samples.entries()) {
      yield { type: "text", index, text: sample.text, tokens: sample.tokens.length };
      yield { type: "done", index, sample };
    }
  }
}

export const never = new Promise<never>(() => {});

/** How each of the engine's calls stands. */
export function states(engine: ScriptedEngine): string[] {
  return engine.calls.map(({ type, state }) => `${type} ${state}`);
}

/** Rejections that nobody handles while `act` runs, and after it. */
export async function unhandledRejections(act: () => Promise<unknown>): Promise<unknown[]> {
  const unhandled: unknown[] = [];
  const note = (reason: unknown) => void unhandled.push(reason);
  process.on("unhandledRejection", note);
  try {
    await act();
    await quiet();
  } finally {
    process.off("unhandledRejection", note);
  }
  return unhandled;
}

export const noted = (
  text: string,
  tokens: readonly Token[],
  logprobs: readonly number[],
  endLogprobs: readonly number[],
): Sample => ({
  text,
  finish: "stop",
  tokens,
  logprobs,
  endLogprobs,
});
