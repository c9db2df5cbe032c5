/**
 * How many sequences of what length fit. Room and needs are plain numbers here: a model's sequences take `perToken`
 * bytes a token.
 */
import { describe, expect, it } from "vitest";
import {
  adviceForMore,
  chooseContext,
  chooseSize,
  fewerThatFit,
  longerSequences,
  type ModelNeeds,
  type Room,
  type Size,
  type SizeSettings,
} from "../../../../src/engine/llama-cpp/sizing.ts";
import { randomFrom } from "../../../../src/icdpo/seed.ts";
import { GatewayError } from "../../../../src/types/error.ts";

const gib = 2 ** 30;
const none: SizeSettings = { contextSize: 0, sequences: 0 };
const perToken = 100_000;

function needs(overrides: Partial<ModelNeeds> = {}): ModelNeeds {
  return {
    weights: gib,
    trainContext: 32_768,
    bytesOf: ({ contextSize, sequences }) => contextSize * sequences * perToken,
    ...overrides,
  };
}

function room(bytes: number, where: Room["where"] = "memory"): Room {
  return { bytes, where };
}

/** Free so that half of what the weights leave is just enough for so many sequences of so many tokens. */
function roomFor(contextSize: number, sequences: number, model = needs()): Room {
  return room(model.weights + 2 * model.bytesOf({ contextSize: contextSize, sequences: sequences }));
}

function size(
  given: Room,
  settings: Partial<SizeSettings> = {},
  model = needs(),
): [contextSize: number, sequences: number] {
  const { contextSize, sequences } = chooseSize(model, given, { ...none, ...settings });
  return [contextSize, sequences];
}

/** What is said when it does not fit. */
function refusal(given: Room, settings: Partial<SizeSettings> = {}, model = needs()): string {
  try {
    chooseSize(model, given, { ...none, ...settings });
  } catch (error) {
    expect(error).toBeInstanceOf(GatewayError);
    expect(error).toMatchObject({ code: "model_unavailable" });
    return (error as GatewayError).message;
  }
  throw new Error("it was not refused");
}

describe("without settings", () => {
  it("there are 16 sequences of 4096 tokens where these fit in half of what the weights leave", () => {
    expect(size(roomFor(4096, 16))).toEqual([4096, 16]);
  });

  it("there are never more than 16 sequences of 4096 tokens, however much is free", () => {
    expect(size(room(10_000 * gib))).toEqual([4096, 16]);
  });

  it("there are fewer sequences where less is free, before the context shrinks", () => {
    for (const sequences of [15, 9, 5, 4]) expect(size(roomFor(4096, sequences))).toEqual([4096, sequences]);
  });

  it("one byte less than so many sequences need is one sequence less", () => {
    expect(size(room(roomFor(4096, 9).bytes - 2))).toEqual([4096, 8]);
  });

  it("the context is halved where not even four sequences fit, and then holds as many as fit", () => {
    expect(size(roomFor(2048, 7))).toEqual([2048, 7]);
    expect(size(roomFor(2048, 4))).toEqual([2048, 4]);
    expect(size(roomFor(1024, 7))).toEqual([1024, 7]);
  });

  it("the smallest size may take all that the weights leave, and not one byte more", () => {
    const model = needs();
    const smallest = model.weights + model.bytesOf({ contextSize: 1024, sequences: 4 });
    expect(size(room(smallest))).toEqual([1024, 4]);
    expect(refusal(room(smallest - 1))).toContain("1024");
  });

  it("the context is the one the model was trained with where that is shorter", () => {
    for (const trainContext of [512, 1024, 2048, 4095])
      expect(size(room(1000 * gib), {}, needs({ trainContext }))).toEqual([trainContext, 16]);
  });

  it("a context that the model was trained with and that is shorter than 1024 does not shrink", () => {
    const model = needs({ trainContext: 512 });
    expect(size(room(model.weights + model.bytesOf({ contextSize: 512, sequences: 4 })), {}, model)).toEqual([512, 4]);
    refusal(room(model.weights + model.bytesOf({ contextSize: 512, sequences: 4 }) - 1), {}, model);
  });

  it.each([1025, 1500, 2000, 3000, 4095])(
    "a context of a model trained with %i tokens does not shrink below 1024",
    (trainContext) => {
      const model = needs({ trainContext });
      const [contextSize] = size(room(model.weights + model.bytesOf({ contextSize: 1024, sequences: 4 })), {}, model);
      expect(contextSize).toBeGreaterThanOrEqual(1024);
    },
  );
});

describe("settings", () => {
  it("are kept, whatever the model was trained with and however much is free", () => {
    expect(size(room(1000 * gib), { contextSize: 16_384, sequences: 64 })).toEqual([16_384, 64]);
    expect(size(room(1000 * gib), { contextSize: 16_384 }, needs({ trainContext: 2048 }))).toEqual([16_384, 16]);
    expect(size(room(1000 * gib), { contextSize: 100, sequences: 1 })).toEqual([100, 1]);
  });

  it("of the context leave the number of sequences to what is free", () => {
    expect(size(roomFor(10_000, 6), { contextSize: 10_000 })).toEqual([10_000, 6]);
    expect(size(roomFor(500, 40), { contextSize: 500 })).toEqual([500, 16]);
  });

  it("of the sequences leave the context to what is free", () => {
    expect(size(roomFor(4096, 32), { sequences: 32 })).toEqual([4096, 32]);
    expect(size(roomFor(2048, 32), { sequences: 32 })).toEqual([2048, 32]);
    expect(size(roomFor(4096, 1), { sequences: 1 })).toEqual([4096, 1]);
  });

  it("may take all that the weights leave, and are refused beyond it", () => {
    const model = needs();
    const exact = model.weights + model.bytesOf({ contextSize: 8192, sequences: 20 });
    expect(size(room(exact), { contextSize: 8192, sequences: 20 })).toEqual([8192, 20]);
    refusal(room(exact - 1), { contextSize: 8192, sequences: 20 });
    refusal(room(model.weights + model.bytesOf({ contextSize: 8192, sequences: 4 }) - 1), { contextSize: 8192 });
    refusal(room(model.weights + model.bytesOf({ contextSize: 1024, sequences: 20 }) - 1), { sequences: 20 });
  });
});

describe("a model that does not fit", () => {
  const sized = needs({
    weights: 3 * gib,
    bytesOf: ({ contextSize, sequences }) => (contextSize * sequences * gib) / 4096,
  });

  it("is refused with what it needs, for what, what is free where, and the settings to lower", () => {
    const message = refusal(room(3.5 * gib, "GPU memory"), {}, sized);
    expect(message).toBe(
      "The model needs 4.00 GiB of GPU memory (3.00 GiB for the weights and 1.00 GiB for 4 sequences of 1024 tokens), but 3.50 GiB are free. " +
        "Use a smaller model or quantisation, or lower ICDPO_CONTEXT_SIZE (now 1024) and ICDPO_SEQUENCES (now 4).",
    );
  });

  it("is refused with the settings as they are", () => {
    const message = refusal(room(10 * gib), { contextSize: 8192, sequences: 12 }, sized);
    expect(message).toContain(
      "needs 27.00 GiB of memory (3.00 GiB for the weights and 24.00 GiB for 12 sequences of 8192 tokens)",
    );
    expect(message).toContain("10.00 GiB are free");
    expect(message).toContain("ICDPO_CONTEXT_SIZE (now 8192) and ICDPO_SEQUENCES (now 12)");
  });

  it("is refused where the weights alone are too large, or nothing at all is free", () => {
    for (const bytes of [0, gib, 3 * gib])
      expect(refusal(room(bytes), {}, sized)).toContain(`${(bytes / gib).toFixed(2)} GiB are free`);
  });
});

describe("the reason", () => {
  it.each<[string, Partial<SizeSettings>, string]>([
    ["what is free", {}, "chosen by what is free"],
    ["the setting of the context", { contextSize: 2048 }, "as ICDPO_CONTEXT_SIZE says"],
    ["the setting of the sequences", { sequences: 8 }, "as ICDPO_SEQUENCES says"],
    ["both settings", { contextSize: 2048, sequences: 8 }, "as ICDPO_CONTEXT_SIZE and ICDPO_SEQUENCES say"],
  ])("names %s, and says in numbers what is taken of what", (_, settings, reason) => {
    const { why, contextSize, sequences } = chooseSize(needs(), room(64 * gib, "GPU memory"), { ...none, ...settings });
    const taken = ((contextSize * sequences * perToken) / gib).toFixed(2);
    expect(why).toBe(
      `1.00 GiB for the weights and ${taken} GiB for ${sequences} sequences of ${contextSize} tokens, of 64.00 GiB free GPU memory; ${reason}`,
    );
  });
});

it("who needs a longer context is told what to set, or that the model has no more", () => {
  expect(adviceForMore(8192, 8192, none)).toContain("another model");
  expect(adviceForMore(4096, 8192, none)).toContain("ICDPO_SEQUENCES");
  const set = adviceForMore(2048, 8192, { ...none, contextSize: 2048 });
  expect(set).toContain("ICDPO_CONTEXT_SIZE");
  expect(set).toContain("8192");
});

describe("longer sequences", () => {
  const longer = (given: Room, settings: Partial<SizeSettings> = {}, model = needs()): [number, number][] => {
    const all = { ...none, ...settings };
    return longerSequences(model, given, chooseSize(model, given, all), all).map(({ contextSize, sequences }) => [
      contextSize,
      sequences,
    ]);
  };

  it("are twice as long and so on, up to what the model was trained with, six of each at most", () => {
    expect(longer(room(1000 * gib))).toEqual([
      [8192, 6],
      [16_384, 6],
      [32_768, 6],
    ]);
    expect(longer(room(1000 * gib), {}, needs({ trainContext: 10_000 }))).toEqual([
      [8192, 6],
      [10_000, 6],
    ]);
    expect(longer(room(1000 * gib), {}, needs({ trainContext: 4096 }))).toEqual([]);
  });

  it("are fewer where less is free, and no longer than one of them fits", () => {
    // Beside 16 usual ones, which take half, a quarter of what the weights leave is for them: 32,768 tokens here.
    expect(longer(roomFor(4096, 16))).toEqual([
      [8192, 4],
      [16_384, 2],
      [32_768, 1],
    ]);
    expect(longer(roomFor(1024, 4))).toEqual([[2048, 1]]);
  });

  it("are no more than the setting of sequences says, and none where the setting of the context says how long", () => {
    expect(longer(room(1000 * gib), { sequences: 2 }, needs({ trainContext: 8192 }))).toEqual([[8192, 2]]);
    expect(longer(room(1000 * gib), { contextSize: 4096 })).toEqual([]);
  });

  it("are as many as there is memory for when they are opened", () => {
    const { bytesOf } = needs();
    const wanted = { contextSize: 8192, sequences: 6 };
    const free = (sequences: number): Room => room((bytesOf({ ...wanted, sequences }) * 4) / 3 + 1);
    expect(fewerThatFit(wanted, room(1000 * gib), bytesOf)).toEqual(wanted);
    expect(fewerThatFit(wanted, free(2), bytesOf)).toEqual({ ...wanted, sequences: 2 });
    const refused = expect.objectContaining({ code: "out_of_room", message: expect.stringContaining("8192 tokens") });
    expect(() => fewerThatFit(wanted, room(free(1).bytes - 10), bytesOf)).toThrow(refused);
  });
});

describe("any model, room and settings", () => {
  const random = randomFrom(5);
  const upTo = (most: number): number => Math.floor(random() * most);
  const cases = Array.from({ length: 5000 }, () => {
    // Some memory is taken a token, some a sequence and some once, as of KV caches, recurrent states and buffers.
    const [token, sequence, once] = [1 + upTo(400_000), upTo(2) * upTo(50_000_000), upTo(gib)];
    const model = needs({
      weights: upTo(20 * gib),
      trainContext: 128 + upTo(40_000),
      bytesOf: ({ contextSize, sequences }) => once + sequences * (sequence + contextSize * token),
    });
    const settings = { contextSize: upTo(2) * (1 + upTo(16_384)), sequences: upTo(2) * (1 + upTo(40)) };
    return { model, settings, given: room(10 ** (6 + random() * 5.5)) };
  });
  const outcomes = cases.map((one) => {
    try {
      return { ...one, size: chooseSize(one.model, one.given, one.settings) as Size | null };
    } catch (error) {
      expect(error).toMatchObject({ code: "model_unavailable" });
      return { ...one, size: null };
    }
  });
  const chosen = outcomes.flatMap((one) => (one.size === null ? [] : [{ ...one, size: one.size }]));

  it("the cases are sizes and refusals, many of each", () => {
    expect(chosen.length).toBeGreaterThan(1000);
    expect(outcomes.length - chosen.length).toBeGreaterThan(1000);
  });

  it("what is chosen fits what is free", () => {
    for (const { model, given, size } of chosen)
      expect(
        model.weights + model.bytesOf({ contextSize: size.contextSize, sequences: size.sequences }),
      ).toBeLessThanOrEqual(given.bytes);
  });

  it("what is chosen is what the settings say", () => {
    for (const { settings, size } of chosen) {
      if (settings.contextSize > 0) expect(size.contextSize).toBe(settings.contextSize);
      if (settings.sequences > 0) expect(size.sequences).toBe(settings.sequences);
    }
  });

  it("what no setting says is a whole number, four to 16 sequences of at most 4096 tokens and no more than the model was trained with", () => {
    for (const { settings, size, model } of chosen) {
      expect(Number.isInteger(size.contextSize) && Number.isInteger(size.sequences)).toBe(true);
      if (settings.sequences === 0) expect(size.sequences).toSatisfy((n: number) => n >= 4 && n <= 16);
      if (settings.contextSize === 0) expect(size.contextSize).toBeLessThanOrEqual(Math.min(4096, model.trainContext));
      if (settings.contextSize === 0) expect(size.contextSize).toBeGreaterThan(0);
    }
  });

  it("leaves half of what the weights leave to others, unless the smallest size that the settings allow takes more", () => {
    for (const { settings, size, model, given } of chosen) {
      const taken = model.bytesOf({ contextSize: size.contextSize, sequences: size.sequences });
      const isSmallest =
        (settings.sequences > 0 || size.sequences === 4) && (settings.contextSize > 0 || size.contextSize <= 1024);
      if (!isSmallest) expect(taken).toBeLessThanOrEqual((given.bytes - model.weights) / 2);
    }
  });

  it("with more room there is never less, and nothing that fitted is refused", () => {
    for (const { settings, size, model, given } of chosen) {
      const roomier = chooseSize(model, room(given.bytes * 1.5), settings);
      expect(roomier.contextSize).toBeGreaterThanOrEqual(size.contextSize);
      if (roomier.contextSize === size.contextSize) expect(roomier.sequences).toBeGreaterThanOrEqual(size.sequences);
    }
  });

  it("is refused only where even the smallest size that the settings allow does not fit", () => {
    for (const { settings, size, model, given } of outcomes) {
      if (size !== null) continue;
      const smallest = model.bytesOf({
        contextSize: settings.contextSize || Math.min(model.trainContext, 1024),
        sequences: settings.sequences || 4,
      });
      if (settings.contextSize > 0 || model.trainContext <= 1024 || model.trainContext >= 4096)
        expect(model.weights + smallest).toBeGreaterThan(given.bytes);
    }
  });
});

describe("the context of a model that only reads", () => {
  it.each([
    ["the usual length", 0, 4 * gib, 4096],
    ["less where there is less room", 0, 1.2 * gib, 2048],
    ["what was asked for", 512, 4 * gib, 512],
    ["no more than the model was trained with", 100_000, 8 * gib, 32_768],
  ])("is %s", (_, wanted, bytes, contextSize) => {
    expect(chooseContext(needs(), room(bytes), wanted)).toMatchObject({ contextSize, sequences: 1 });
  });

  it("is refused with numbers where it does not fit, with the weights beside it", () => {
    const fitting = (wanted: number) => () => chooseContext(needs(), room(gib), wanted);
    expect(fitting(0)).toThrow(
      "needs 1.10 GiB of memory (1.00 GiB for the weights and 0.10 GiB for a text of 1024 tokens)",
    );
    expect(fitting(8192)).toThrow("lower its context_size");
  });
});
