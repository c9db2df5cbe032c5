/** How much of an answer is a demonstration's text. */
import { describe, expect, it } from "vitest";
import { chatCompletionSchema } from "../../../src/http/answer-schemas.ts";
import { CopySources, sourcesOf } from "../../../src/icdpo/copied.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";
import { icdpo, measure, policy, request, says, sHat, signOf } from "./scripted-policy.ts";

const poem = "The rain it raineth every day, upon the just and unjust fellow";

/** By the definition, each 5-gram and run compared with each. */
function slowly(answer: readonly string[], texts: readonly (readonly string[])[]) {
  const holds = (run: readonly string[]) =>
    texts.some((text) => text.some((_, at) => run.every((word, i) => text[at + i] === word)));
  const grams = answer.slice(4).map((_, at) => answer.slice(at, at + 5));
  const runs = answer.flatMap((_, from) => answer.slice(from).map((_, more) => answer.slice(from, from + more + 1)));
  return {
    share: grams.length === 0 ? 0 : grams.filter(holds).length / grams.length,
    run: Math.max(0, ...runs.filter(holds).map(({ length }) => length)),
  };
}

describe("what an answer has in common with texts", () => {
  it.each([
    ["all of one", poem, 1, 12],
    ["nothing", "Bring an umbrella, it is going to pour this afternoon", 0, 1],
    ["a part", "Sorry: the rain it raineth every day. Take a coat", 2 / 6, 6],
    ["another case, punctuation and line breaks", "THE RAIN;\nit raineth every day", 1, 6],
    ["fewer than five words", "the rain it raineth", 0, 4],
    ["no words", " … ", 0, 0],
  ])("is known where it is %s", (_, answer, share, run) => {
    expect(new CopySources([poem]).copiedIn(answer)).toEqual({ share: expect.closeTo(share), run });
  });

  it("is of any of several texts, and never of one's end and the next one's beginning", () => {
    const sources = new CopySources(["one two three", "four five six seven eight"]);
    expect(sources.copiedIn("one two three four five six")).toEqual({ share: 0, run: 3 });
    expect(sources.copiedIn("two four five six seven eight")).toEqual({ share: 0.5, run: 5 });
  });

  it("is seen in writing without spaces, and with marks", () => {
    expect(new CopySources(["今日は雨が降ります"]).copiedIn("今日は雨が降りません")).toMatchObject({ run: 8 });
    expect(new CopySources(["Ça va très bien, merci à vous"]).copiedIn("ça va très bien merci")).toEqual({
      share: 1,
      run: 5,
    });
  });

  it("is what comparing everything with everything finds", () => {
    const random = randomFrom(7);
    const words = (count: number) => Array.from({ length: count }, () => "abc"[Math.floor(random() * 3)] as string);
    for (let round = 0; round < 200; round++) {
      const texts = [words(Math.floor(random() * 15)), words(Math.floor(random() * 25))];
      const answer = words(Math.floor(random() * 20));
      const sources = new CopySources(texts.map((text) => text.join(" ")));
      const { share, run } = slowly(answer, texts);
      expect(sources.copiedIn(answer.join(" "))).toEqual({ share: expect.closeTo(share), run });
    }
  });

  it("takes time in proportion to the texts, the most repetitive ones too", () => {
    const timeOf = (count: number): number => {
      const text = "a ".repeat(count) + "b a ".repeat(count);
      const since = performance.now();
      expect(new CopySources([text]).copiedIn(text)).toEqual({ share: 1, run: 3 * count });
      return performance.now() - since;
    };
    timeOf(1_000);
    // Quadratic, it would be some 10⁹ steps.
    expect(timeOf(20_000)).toBeLessThan(2_000);
  });

  it("leaves out what demonstrations ask, and takes all that they answer", () => {
    const sources = sourcesOf([
      {
        id: "rain",
        messages: [
          { role: "user", content: "What is the weather like in London today?" },
          { role: "assistant", content: "Grey as it ever was." },
          { role: "user", content: "And tomorrow?" },
        ],
        chosen: poem,
      },
    ]);
    expect(sources?.copiedIn("what is the weather like in London today").run).toBe(1);
    expect(sources?.copiedIn("grey as it ever was").share).toBe(1);
    expect(sources?.copiedIn(poem).share).toBe(1);
    expect(sourcesOf([])).toBeNull();
  });
});

describe("candidates that are copies", () => {
  const demonstrations = [
    { id: "rain", messages: [{ role: "user" as const, content: "?" }], chosen: poem, rejected: "No" },
  ];
  const original = "Bring an umbrella";
  const script = {
    ...says(poem, original, "It rains"),
    // Ŝ of 9 nats for the poem, 3 for what is original, 2 for what is short.
    sum: (context: string, response: string) =>
      signOf(context) === "positive" ? -1 : response === poem ? -10 : response === original ? -4 : -3,
  };
  const order = async (copied: "equal" | "last" | undefined, engine = new ScriptedEngine(script)) => {
    const asked = policy({ score: { ...sHat, copied }, demonstrations, maxTokens: 100 });
    return (await icdpo(engine, asked, request({ sampling: { maxTokens: 100 } }))).ranked.map(({ text }) => text);
  };

  it("are equals, unless a policy says otherwise; by it they win only if all are", async () => {
    expect((await order(undefined))[0]).toBe(poem);
    expect((await order("equal"))[0]).toBe(poem);
    expect(await order("last")).toEqual([original, "It rains", poem]);
    expect((await order("last", new ScriptedEngine({ ...script, ...says(poem, poem, poem) })))[0]).toBe(poem);
  });

  it("go after those that were cut off", async () => {
    const cut = {
      ...script,
      sample: (index: number) => (index === 0 ? { text: poem } : { text: original, finish: "length" as const }),
    };
    const asked = policy({ score: { ...sHat, copied: "last", unfinished: "last" }, demonstrations, maxTokens: 100 });
    const { ranked } = await icdpo(new ScriptedEngine(cut), asked, request({ sampling: { maxTokens: 100 } }));
    expect(ranked[0]?.text).toBe(original);
  });

  it("are not chosen of given completions", async () => {
    const asked = { conversation: request().conversation, completions: [poem, original], seed: 1 };
    const chosenBy = async (copied: "equal" | "last") =>
      (await measure(new ScriptedEngine(script), policy({ score: { ...sHat, copied }, demonstrations }), asked)).chosen;
    expect(await chosenBy("equal")).toBe(0);
    expect(await chosenBy("last")).toBe(1);
  });

  it("are left before the end where the answer is chosen by blocks", async () => {
    const blockwise = (copied: "equal" | "last") => {
      const asked = policy({ score: { ...sHat, copied }, demonstrations, maxTokens: 200 });
      return { ...asked, settings: { ...asked.settings, block: { tokens: 62 } } };
    };
    const engine = new ScriptedEngine({ ...script, sample: (index) => ({ text: index === 0 ? poem : original }) });
    const ask = request({ sampling: { maxTokens: 200 } });
    const [copy] = (await icdpo(engine, blockwise("equal"), ask)).ranked;
    expect(copy).toMatchObject({ text: poem, copied: { share: 1, run: 12 } });
    const [own] = (await icdpo(engine, blockwise("last"), ask)).ranked;
    expect(own).toMatchObject({ text: original, copied: { share: 0, run: 0 } });
  });

  it("are explained, where demonstrations were shown", async () => {
    const { chat } = await gateway({ sample: () => ({ text: "First, look at the clouds. Warm the pot first." }) });
    const { icdpo: explained } = chatCompletionSchema.parse(await (await chat({ icdpo: { explain: true } })).json());
    expect(explained?.candidates[0]?.copied).toEqual({ share: 0, run: 4 });
    const plain = await json(await chat({ model: "plain", icdpo: { explain: true } }));
    expect(plain.icdpo.candidates[0]).not.toHaveProperty("copied");
  });
});
