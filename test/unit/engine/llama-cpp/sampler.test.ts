import { describe, expect, it } from "vitest";
import type { Logits } from "../../../../src/engine/llama-cpp/backend.ts";
import type { NativeLibrary } from "../../../../src/engine/llama-cpp/native-context.ts";
import { NativeSamplers } from "../../../../src/engine/llama-cpp/native-samplers.ts";
import { type SamplerConfig, samplerConfig } from "../../../../src/engine/llama-cpp/sampler.ts";

const model = { vocabularySize: 100, controlTokens: [90, 91], endTokens: [99] };
const request = {
  temperature: 1,
  topP: 0.9,
  topK: 40,
  maxTokens: 9,
  stop: [],
  seeds: [1],
  logprobs: false,
};
const prompt = [1, 2];
const sampled = [3, 4];
const before = [...prompt, ...sampled];
const at = (more: object, mayEnd = true): SamplerConfig =>
  samplerConfig({ request: { ...request, ...more }, prompt, sampled, mayEnd }, model, 64);

describe("a sampler's set-up", () => {
  it("says min_p only where it cuts, and where something is drawn", () => {
    expect(at({})).toEqual({ temperature: 1, topK: 40, topP: 0.9 });
    expect(at({ minP: 0 })).toEqual(at({}));
    expect(at({ minP: 0.1 })).toEqual({ ...at({}), minP: 0.1 });
    expect(at({ minP: 0.1, temperature: 0 })).toEqual({});
  });

  it("counts the prompt for a repetition penalty, as far back as asked for", () => {
    const penalized = (more: object) => {
      const { repeatPenalty, repeatPenaltyTokens, repeatPenaltyMaxTokens } = at({ repetitionPenalty: 1.2, ...more });
      return [repeatPenalty, repeatPenaltyTokens && [...repeatPenaltyTokens], repeatPenaltyMaxTokens];
    };
    expect(penalized({})).toEqual([1.2, before, 64]);
    expect(penalized({ repetitionWindow: 2 })).toEqual([1.2, [3, 4], 2]);
    expect(penalized({ repetitionWindow: 0 })).toEqual([undefined, undefined, undefined]);
    expect(at({ repetitionPenalty: 1 })).toEqual(at({}));
  });

  it("counts the completion alone for OpenAI's penalties", () => {
    expect(at({ presencePenalty: 1 }).repeatPenaltyTokens).toEqual(Uint32Array.from(sampled));
  });

  it("forbids what ends a turn where it may not end", () => {
    const { tokenBiasKeys, tokenBiasValues } = at({}, false);
    expect([...(tokenBiasKeys ?? [])]).toEqual([90, 91, 99]);
    expect([...(tokenBiasValues ?? [])]).toEqual(Array(3).fill(Number.NEGATIVE_INFINITY));
  });
});

describe("a sampler", () => {
  /** Notes what samplers are set to; draws 7, 8, 9 … */
  function library() {
    const configs: SamplerConfig[] = [];
    let next = 7;
    const context = { sampleToken: async () => next++ };
    const createSampler = () => ({ applyConfig: (config: SamplerConfig) => void configs.push(config) });
    const row = { context, row: 0 } as unknown as Logits;
    return { configs, row, library: { createSampler } as unknown as NativeLibrary };
  }
  const forbidden = ({ tokenBiasKeys }: SamplerConfig): boolean => tokenBiasKeys?.includes(99) ?? false;

  it("lets a turn end after as many tokens as asked for, with what was sampled so far in mind", async () => {
    const { configs, row, library: native } = library();
    const asked = { ...request, minTokens: 2, repetitionPenalty: 1.1 };
    const sampler = new NativeSamplers(native, model, 64).create(asked, 5, before);
    expect(forbidden(configs.at(-1) as SamplerConfig)).toBe(true);
    const { length } = configs;
    await sampler.sample(row);
    await sampler.sample(row);
    expect(configs).toHaveLength(length);
    await sampler.sample(row);
    await sampler.sample(row);
    expect(configs).toHaveLength(length + 1);
    const last = configs.at(-1) as SamplerConfig;
    expect(forbidden(last)).toBe(false);
    expect([...(last.repeatPenaltyTokens ?? [])]).toEqual([...before, 7, 8]);
    expect(last.seed).toBe(5);
  });

  it("never lets it end where ends are to be ignored", async () => {
    const { configs, row, library: native } = library();
    const sampler = new NativeSamplers(native, model, 64).create({ ...request, ignoreEos: true }, 5, before);
    const { length } = configs;
    for (let i = 0; i < 20; i++) await sampler.sample(row);
    expect(configs).toHaveLength(length);
    expect(forbidden(configs.at(-1) as SamplerConfig)).toBe(true);
  });

  it("may end at once where nothing is said of it", async () => {
    const { configs, library: native } = library();
    new NativeSamplers(native, model, 64).create(request, 5, before);
    expect(configs.some(forbidden)).toBe(false);
  });
});
