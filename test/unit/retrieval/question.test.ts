/** What retrievers read of a conversation. */
import { describe, expect, it } from "vitest";
import { signedContext } from "../../../src/icdpo/prompt.ts";
import { embedQuestions, questionOf, saidText } from "../../../src/retrieval/question.ts";
import type { Conversation, Message } from "../../../src/types/conversation.ts";

const user = (content: string): Message => ({ role: "user", content });
const assistant = (content: string): Message => ({ role: "assistant", content });
const long = "word ".repeat(2_000);

describe("what is embedded", () => {
  it("is the user's last turn, and the user's earlier ones by the side of it", () => {
    const turns = [user("How do I say good morning in Spanish?"), assistant("Buenos días."), user("And in German?")];
    expect(questionOf(turns)).toEqual({
      asked: "And in German?",
      before: "How do I say good morning in Spanish?",
      weight: 14 / (14 + 30),
    });
    expect(questionOf(turns.slice(0, 1))).toMatchObject({ before: "", weight: 1 });
  });

  it("weighs a question by its bytes, so that one of few signs says as much", () => {
    const weight = (asked: string) => questionOf([user("before"), user(asked)]).weight;
    expect(weight("x".repeat(60))).toBeCloseTo(2 / 3, 12);
    expect(weight("猫".repeat(20))).toBeCloseTo(2 / 3, 12);
    expect(weight("")).toBe(0);
  });

  it("is no system text, no tool result, and nothing behind the question", () => {
    const called: Conversation = [
      { role: "system", content: "Be brief." },
      user("Is it raining?"),
      { ...assistant(""), toolCalls: [{ id: "1", name: "weather", arguments: "{}" }] },
      { role: "tool", content: "Rain all day.", toolCallId: "1" },
      assistant("Let me see:"),
    ];
    expect(questionOf(called)).toEqual({ asked: "Is it raining?", before: "", weight: 1 });
  });

  it("has the nearest earlier turns where there are too many, the beginning of the one that does not fit", () => {
    const turns = [user("a".repeat(100)), user("b".repeat(100)), user("c".repeat(200)), user("d")];
    expect(questionOf(turns).before).toBe(["b".repeat(56), "c".repeat(200)].join("\n"));
  });

  it("is a long question's beginning and end", () => {
    const { asked } = questionOf([user(`What is wrong here? ${long} Answer in German.`)]);
    expect(asked.length).toBe(257);
    expect(asked).toMatch(/^What is wrong here\? word .* Answer in German\.$/su);
    expect(questionOf([user("x".repeat(256))]).asked).toBe("x".repeat(256));
  });

  it("has whole characters wherever it is cut", () => {
    for (const shift of ["", "x"]) {
      const turn = user(`${shift}${"😊".repeat(1_000)}`);
      const { asked, before } = questionOf([turn, turn]);
      expect(asked.isWellFormed() && before.isWellFormed()).toBe(true);
    }
  });

  it("is empty where nobody asks", () => {
    expect(questionOf([])).toEqual({ asked: "", before: "", weight: 1 });
    expect(questionOf([{ role: "system", content: "Be brief." }]).asked).toBe("");
  });

  it("becomes one vector between those of its two texts, of length one", async () => {
    const calls: (readonly string[])[] = [];
    const embed = async (texts: readonly string[]) => {
      calls.push(texts);
      return texts.map((text) => Float32Array.from(text === "b" ? [0, 1] : text === "c" ? [-1, 0] : [1, 0]));
    };
    const [one, mixed, opposed] = await embedQuestions(
      [
        { asked: "a", before: "", weight: 1 },
        { asked: "a", before: "b", weight: 0.75 },
        { asked: "a", before: "c", weight: 0.5 },
      ],
      embed,
    );
    expect(calls).toEqual([["a", "b", "c"]]);
    expect(one).toEqual(Float32Array.of(1, 0));
    expect([mixed?.[0], mixed?.[1]]).toEqual([
      expect.closeTo(3 / Math.sqrt(10), 6),
      expect.closeTo(1 / Math.sqrt(10), 6),
    ]);
    expect(opposed).toEqual(Float32Array.of(0, 0));
  });
});

describe("what BM25 reads", () => {
  const turns = [
    { role: "system", content: "system" } as const,
    user("one"),
    assistant("two "),
    { role: "tool", content: "five", toolCallId: "1" } as const,
    user(" three\n"),
  ];

  it("is what was said, line by line", () => {
    expect(saidText(turns, "lines")).toBe("one\ntwo \n three\n");
  });

  it("ends with the user's last turn", () => {
    expect(saidText([...turns, { role: "tool", content: "result" }, assistant("Well,")], "lines")).toBe(
      saidText(turns, "lines"),
    );
    expect(saidText([assistant("Hello.")], "lines")).toBe("Hello.");
  });

  it("has the paper's markers in the paper's formats, trimmed as its code trims it", () => {
    expect(saidText(turns, "marked")).toBe("Human: one\n\nAssistant: two \n\nHuman:  three");
  });

  it.each(["hh-rlhf", "synthetic-gpt"] as const)("stands in the contexts of %s as it is", (format) => {
    const conversation =
      format === "hh-rlhf" ? [user("one"), assistant("two"), user("three")] : [user("What is rain?")];
    const context = signedContext(format, "positive", { conversation, demonstrations: [], instructions: null });
    expect(context).toMatchObject({ text: expect.stringContaining(`\n\n${saidText(conversation, "marked")}\n###`) });
  });
});
