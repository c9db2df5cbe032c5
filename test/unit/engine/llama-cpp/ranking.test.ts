/** What a model with a ranking head reads, and what is made of its outputs. Its tokens are characters here. */
import { describe, expect, it } from "vitest";
import type { Token } from "../../../../src/engine/engine.ts";
import type { NativeModel } from "../../../../src/engine/llama-cpp/native-model.ts";
import { RankingSteps } from "../../../../src/engine/llama-cpp/ranking-steps.ts";
import { fittingTokens, pairPieces, queryOf, rankingText } from "../../../../src/engine/llama-cpp/ranking-text.ts";
import type { Conversation } from "../../../../src/types/conversation.ts";

const [begin, end, separator] = [1, 2, 3];
const spelled = new Map([
  ["<s>", begin],
  ["</s>", end],
]);
const characters = (text: string): Token[] => Array.from(text, (letter) => letter.codePointAt(0) as number);
const special = (text: string): Token[] =>
  text.split(/(<\/?s>)/u).flatMap((run) => spelled.get(run) ?? characters(run));

const model: NativeModel = {
  vocabularySize: 4,
  longestToken: 1,
  chatTemplate: undefined,
  bos: begin,
  eos: end,
  prependsBos: true,
  infill: undefined,
  controlTokens: [begin],
  endTokens: [end],
  kind: (token) => (token === begin || token === end ? "control" : "text"),
  endsGeneration: (token) => token === end,
  spelling: (token) => ["", "<s>", "</s>", ""][token] ?? "",
  bytes: () => new Uint8Array(),
  tokenize: (text, isSpecial) => (isSpecial ? special(text) : characters(text)),
  tokenizeContinuation: characters,
  detokenize: () => "",
};
const file = { model, separator, rerankTemplate: undefined };
const one: Conversation = [{ role: "user", content: "q" }];
const talk: Conversation = [...one, { role: "assistant", content: "a" }, { role: "user", content: "r" }];

describe("what a ranking head reads", () => {
  it("is query and document between the model's end tokens, where its file says nothing", () => {
    expect(rankingText(file)(one, "d")).toEqual([begin, ...characters("q"), end, separator, ...characters("d"), end]);
    expect(queryOf(talk)).toBe("Human: q\n\nAssistant: a\n\nHuman: r");
  });

  it("is the file's chat template, of the conversation that the response ends; what looks like a delimiter is text", () => {
    const chatTemplate =
      "{% for m in messages %}{{ m.role[0] }}:{{ m.content }}</s>{% endfor %}{{ '!' if add_generation_prompt }}";
    const text = rankingText({ ...file, model: { ...model, chatTemplate } });
    const expected = [begin, ...characters("u:q"), end, ...characters("a:x</s>"), end];
    expect(text(one, "x</s>")).toEqual(expected);
  });

  it("is the file's template for ranking before its chat template, and the one asked for before both", () => {
    const all = {
      ...file,
      model: { ...model, chatTemplate: "{{ messages[0].content }}" },
      rerankTemplate: "{query}?{document}",
    };
    expect(rankingText(all)(one, "d")).toEqual([begin, ...characters("q?d")]);
    expect(rankingText(all, "<s>{{document}}</s>{{query}}")(one, "d")).toEqual([
      begin,
      ...characters("d"),
      end,
      ...characters("q"),
    ]);
  });

  it("has a place for both, or is refused", () => {
    expect(pairPieces("a{query}b{{document}}")).toEqual(["a", "query", "b", "document", ""]);
    expect(() => pairPieces("{{query}}")).toThrow("places for both");
  });
});

describe("a conversation that is too long", () => {
  const text = (conversation: Conversation, response: string): Token[] =>
    characters(conversation.map(({ content }) => content).join("") + response);
  const of = (...contents: string[]): Conversation => contents.map((content) => ({ role: "user", content }));
  const room = { contextSize: 6, mostCharacters: 60 };

  it.each([
    ["all of it", of("aa", "bb"), "dd", "aabbdd"],
    ["the oldest message", of("a", "bb", "cc"), "dd", "bbccdd"],
    ["as many as it takes, and no more", of("aa", "b", "b", "c", "c", "c"), "dd", "bcccdd"],
    ["all but the last", of("aaaa", "bbbb", "cccc"), "dd", "ccccdd"],
    ["what is far too long, unread", of("a".repeat(70), "c"), "d", "cd"],
  ])("fits, or loses its beginning: %s", (_, conversation, response, expected) => {
    expect(fittingTokens(text, conversation, response, room)).toEqual(characters(expected));
  });

  it.each([
    ["7 tokens", of("a", "ccccc"), "dd"],
    ["101 characters", of("a", "c"), "d".repeat(100)],
  ])("is refused where its last message and the response take %s", (taken, conversation, response) => {
    expect(() => fittingTokens(text, conversation, response, room)).toThrow(
      `reads 6 tokens; the last message and an answer to it take ${taken}`,
    );
  });
});

describe("the steps of a ranking head", () => {
  const context = (outputs: readonly number[], isNormalized = false, stepTokens = 2) => {
    const log: string[] = [];
    return {
      log,
      stepTokens,
      isNormalized,
      feed: async (tokens: readonly Token[], position: number) => void log.push(`${position}:${tokens.join()}`),
      outputs: () => Float64Array.from(outputs),
      clear: () => void log.push("clear"),
    };
  };
  const { signal } = new AbortController();

  it("are texts one after another, each from its beginning", async () => {
    const native = context([1.5]);
    const steps = new RankingSteps(native, 4);
    const asked = Promise.all([steps.reward([1, 2, 3], signal), steps.reward([4], signal)]);
    expect(steps.load).toMatchObject({ active: 0, waiting: 2, freeSequences: 1, stepMs: 0, threads: 4 });
    expect(await asked).toEqual([1.5, 1.5]);
    expect(native.log).toEqual(["clear", "0:1,2", "2:3", "clear", "0:4"]);
    expect(steps.load.waiting).toBe(0);
  });

  it("end with the signal, and the next text begins anew", async () => {
    const leaving = new AbortController();
    const native = context([1]);
    const feed = async (tokens: readonly Token[], position: number) => {
      await native.feed(tokens, position);
      if (tokens.includes(9)) leaving.abort();
    };
    const steps = new RankingSteps({ ...native, feed }, 1);
    await expect(steps.reward([9, 9, 9], leaving.signal)).rejects.toMatchObject({ code: "cancelled" });
    expect(await steps.reward([4], signal)).toBe(1);
    expect(native.log).toEqual(["clear", "0:9,9", "clear", "0:4"]);
  });

  it("end in the log-odds of yes where llama.cpp makes probabilities, as far as these tell", async () => {
    const rewardOf = (...outputs: number[]) => new RankingSteps(context(outputs, true), 1).reward([1], signal);
    expect(await rewardOf(1 / (1 + Math.exp(-3.25)), 0)).toBeCloseTo(3.25, 9);
    expect(await Promise.all([rewardOf(0.5, 0.5), rewardOf(1, 0), rewardOf(0, 1)])).toEqual([0, 36, -36]);
  });

  it.each([
    [[1, 2], false, "its head has 2 outputs; a reward needs one"],
    [[1], true, "its head has 1 outputs; a reward needs two"],
    [[Number.NaN], false, "gave NaN"],
  ])("are no reward where they end in %j", async (outputs, isNormalized, complaint) => {
    await expect(new RankingSteps(context(outputs, isNormalized), 1).reward([1], signal)).rejects.toThrow(complaint);
  });
});
