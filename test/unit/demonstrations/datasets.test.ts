import { describe, expect, it } from "vitest";
import { withoutSystemTurn } from "../../../src/demonstrations/chat-rows.ts";
import {
  type DatasetFormat,
  detectFormat,
  type Example,
  readExample,
  type Unusable,
} from "../../../src/demonstrations/datasets.ts";

function read(line: unknown): Example | Unusable {
  return readExample(detectFormat(line) as DatasetFormat, line);
}

const transcripts = (chosen: string, rejected: string) => read({ chosen, rejected });
/** The same dialogue before two responses. */
const dialogue = (before: string, chosen = "good", rejected = "bad") =>
  transcripts(`${before}\n\nAssistant: ${chosen}`, `${before}\n\nAssistant: ${rejected}`);
const user = (content: string) => ({ role: "user", content });
const assistant = (content: string) => ({ role: "assistant", content });

describe("a transcript of HH-RLHF", () => {
  it("is its prompt's turns and the last answer", () => {
    const before = "\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: Say\n\nmore:";
    expect(dialogue(before, "One\n\nTwo\nHuman: three", " worse ")).toEqual({
      messages: [user("Hi"), assistant("Hello."), user("Say\n\nmore:")],
      chosen: "One\n\nTwo\nHuman: three",
      rejected: "worse",
    });
  });

  it.each([
    ["chosen", "\n\nHuman: a\n\nAssistant: good\n\nHuman: thanks", "\n\nHuman: a\n\nAssistant: bad"],
    ["rejected", "\n\nHuman: a\n\nAssistant: good", "\n\nHuman: a\n\nAssistant: bad\n\nHuman: no"],
    ["both", "\n\nHuman: a\n\nAssistant: good\n\nHuman: b", "\n\nHuman: a\n\nAssistant: bad\n\nHuman: b"],
    ["an empty one", "\n\nHuman: a\n\nAssistant: good\n\nHuman:", "\n\nHuman: a\n\nAssistant: bad"],
    ["without a space", "\n\nHuman: a\n\nAssistant: good\n\nHuman:b", "\n\nHuman: a\n\nAssistant: bad"],
  ])("that ends with a Human turn is dropped, never part of a response: %s", (_, chosen, rejected) => {
    expect(transcripts(chosen, rejected)).toEqual({ reason: "the transcript ends with a Human turn" });
  });

  it("tells two turns of one side in a row from one", () => {
    expect(dialogue("\n\nHuman: a\n\nHuman: b")).toMatchObject({ messages: [user("a"), user("b")] });
    expect(dialogue("\n\nHuman: a\n\nb")).toMatchObject({ messages: [user("a\n\nb")] });
    const twice = "\n\nHuman: a\n\nAssistant: b\n\nAssistant: c\n\nHuman: d";
    expect(dialogue(twice)).toMatchObject({ messages: [user("a"), assistant("b"), assistant("c"), user("d")] });
    // The last of two answers in a row is an answer to no user's turn.
    expect(dialogue("\n\nHuman: a\n\nAssistant: b")).toEqual({
      reason: "the prompt does not end with the user's turn",
    });
    expect(transcripts("\n\nHuman: a\n\nAssistant: b\n\nAssistant: c", "\n\nHuman: a\n\nAssistant: b")).toEqual({
      reason: "the two responses have different prompts",
    });
  });

  it.each([
    ["\n\nHuman: a", "\n\nHuman: a", "no assistant turn"],
    ["Read this.\n\nHuman: a\n\nAssistant: b", "Read this.\n\nHuman: a\n\nAssistant: c", "text before the first turn"],
    ["\n\nHuman: a\n\nAssistant: b", "\n\nHuman: other\n\nAssistant: c", "the two responses have different prompts"],
    ["\n\nHuman:\n\nHuman: a\n\nAssistant: b", "\n\nHuman:\n\nHuman: a\n\nAssistant: c", "an empty prompt"],
    ["\n\nHuman: a\n\nAssistant: ", "\n\nHuman: a\n\nAssistant: c", "an empty response"],
    ["\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a\n\nAssistant: b ", "both responses are the same"],
    [
      "\n\nAssistant: a\n\nAssistant: b",
      "\n\nAssistant: a\n\nAssistant: c",
      "the prompt does not end with the user's turn",
    ],
  ])("is dropped with its reason: %j", (chosen, rejected, reason) => {
    expect(transcripts(chosen, rejected)).toEqual({ reason });
  });
});

describe("other formats", () => {
  it("take a prompt that is itself a transcript for its turns", () => {
    const line = { prompt: "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:", chosen: " d", rejected: "e" };
    const turns = [user("a"), assistant("b"), user("c")];
    expect(read(line)).toEqual({ messages: turns, chosen: "d", rejected: "e" });
    expect(read({ ...line, prompt: "Human: a" })).toMatchObject({ messages: [user("a")] });
    expect(read({ ...line, prompt: "a\n\nb" })).toEqual({ messages: [user("a\n\nb")], chosen: "d", rejected: "e" });
    expect(read({ ...line, prompt: "Read.\n\nHuman: a\n\nAssistant:" })).toEqual({
      reason: "text before the first turn",
    });
  });

  it("take the first of a ranked list, and the last, as the paper's code does", () => {
    const prefix = ["<|prompter|>Hi", "<|assistant|>Hello.", "<|prompter|>Why\n\nHuman: x", "<|assistant|>"];
    const messages = [user("Hi"), assistant("Hello."), user("Why\n\nHuman: x")];
    const suffix = [" good ", "fair", "bad"];
    expect(read({ prefix: [prefix, prefix, prefix], suffix })).toEqual({ messages, chosen: "good", rejected: "bad" });
    expect(read({ prefix, suffix: ["good"] })).toEqual({ messages, chosen: "good", rejected: undefined });
    expect(read({ prefix: [prefix, ["<|prompter|>Other"]], suffix })).toEqual({
      reason: "the two responses have different prompts",
    });
    expect(read({ prefix: [["Hi", "<|assistant|>"]], suffix })).toMatchObject({ messages: [user("Hi")] });
    expect(read({ prefix: [["<|prompter|>Hi", "and more"]], suffix })).toEqual({
      reason: "a turn without its speaker",
    });
  });

  it("take the authors' demonstrations, a bad response or none", () => {
    const line = {
      prompt: "\n\nHuman: a\n\nAssistant: b\n\nHuman: c",
      pos_response: "d",
      neg_response: "e",
      meta: "x",
    };
    expect(read(line)).toEqual({ messages: [user("a"), assistant("b"), user("c")], chosen: "d", rejected: "e" });
    expect(read({ ...line, neg_response: null })).toMatchObject({ chosen: "d", rejected: undefined });
  });

  it("take TRL's preferences with the prompt apart, or with it in both dialogues", () => {
    const expected = { messages: [user("a")], chosen: "b", rejected: "c" };
    const whole = { chosen: [user("a"), assistant("b")], rejected: [user("a"), assistant("c")] };
    expect(read({ prompt: [user("a")], chosen: [assistant("b")], rejected: [assistant("c")] })).toEqual(expected);
    expect(read(whole)).toEqual(expected);
    // As UltraFeedback's binarized rows have it.
    expect(read({ ...whole, prompt: "a", messages: whole.chosen, score_chosen: 7 })).toEqual(expected);
    expect(read({ ...whole, rejected: [user("x"), assistant("c")] })).toEqual({
      reason: "the two responses have different prompts",
    });
    expect(read({ ...whole, rejected: whole.chosen })).toEqual({ reason: "both responses are the same" });
    const longer = { chosen: [...whole.chosen, user("d"), assistant("e")], rejected: whole.rejected };
    expect(read(longer)).toEqual({ reason: "a response of several turns" });
  });

  it("take prompts and completions, those that are marked bad not", () => {
    expect(read({ prompt: "a", completion: "b" })).toEqual({ messages: [user("a")], chosen: "b", rejected: undefined });
    const line = { prompt: [user("a")], completion: [assistant("b")], label: true };
    expect(read(line)).toMatchObject({ messages: [user("a")], chosen: "b" });
    expect(read({ ...line, label: false })).toEqual({ reason: "a completion marked as bad, without a good one" });
  });

  it("take ShareGPT's dialogues, and its pairs", () => {
    const [human, gpt] = [
      { from: "human", value: "a" },
      { from: "gpt", value: "b" },
    ];
    const expected = { messages: [user("a")], chosen: "b" };
    expect(read({ conversations: [human, gpt] })).toMatchObject(expected);
    expect(read({ conversations: [user("a"), assistant("b")] })).toMatchObject(expected);
    expect(read({ conversations: [human], chosen: gpt, rejected: { from: "gpt", value: "c" } })).toEqual({
      ...expected,
      rejected: "c",
    });
    expect(read({ conversations: [human, gpt, human] })).toEqual({ reason: "no assistant turn" });
    expect(read({ conversations: [human, { from: "function_call", value: "{}" }, gpt] })).toEqual({
      reason: "tool calls",
    });
  });

  it("keep a system message as the first turn; where no turn can be, its text or nothing", () => {
    const system = (content: string) => ({ role: "system", content });
    const chat = [system("Be kind."), user("a"), assistant("b"), user("c"), assistant("d")];
    const example = read({ messages: chat });
    expect(example).toEqual({ messages: chat.slice(0, -1), chosen: "d", rejected: undefined });
    if ("reason" in example) throw new Error(example.reason);
    expect(withoutSystemTurn(example.messages)).toEqual([user("Be kind.\n\na"), assistant("b"), user("c")]);
    expect(withoutSystemTurn(example.messages, true)).toEqual([user("a"), assistant("b"), user("c")]);
    const developer = [{ role: "developer", content: [{ type: "text", text: "Be kind." }] }, user("a"), assistant("b")];
    expect(read({ messages: developer })).toMatchObject({ messages: [system("Be kind."), user("a")] });
    expect(read({ messages: [system(" "), user("a"), assistant("b")] })).toMatchObject({ messages: [user("a")] });
    expect(read({ messages: [user("a"), system("x"), user("b"), assistant("c")] })).toEqual({
      reason: "a system message after the first turn",
    });
  });

  it("tell a response of two turns from one", () => {
    const line = {
      input: { messages: [user("a")] },
      preferred_output: [assistant("b"), assistant("c")],
      non_preferred_output: [assistant("d")],
    };
    expect(read(line)).toEqual({ reason: "a response of several turns" });
    expect(read({ ...line, preferred_output: [assistant("b\nc")] })).toEqual({
      messages: [user("a")],
      chosen: "b\nc",
      rejected: "d",
    });
    expect(read({ messages: [user("a"), assistant("b"), assistant("c")] })).toEqual({
      reason: "the prompt does not end with the user's turn",
    });
  });

  it("keep a demonstration's near negatives, none of which is the chosen response", () => {
    const line = { id: "x", messages: [user("a")], chosen: "b", rejected: "c", near: ["d", "e"] };
    expect(read(line)).toEqual({ messages: [user("a")], chosen: "b", rejected: "c", near: ["d", "e"] });
    expect(read({ ...line, near: ["d", "b"] })).toEqual({ reason: "both responses are the same" });
    expect(read({ ...line, near: [" "] })).toEqual({ reason: "an empty response" });
  });

  const thought = (text: string) => `<think>\nHm.\n</think>\n\n${text}`;

  it.each([
    ["hh-rlhf", dialogue("\n\nHuman: a", thought("b"), thought("c")), "a"],
    ["synthetic-gpt", read({ prompt: "a", chosen: thought("b"), rejected: thought("c") }), "a"],
    [
      "openai-preference",
      read({
        input: { messages: [user("a")] },
        preferred_output: [assistant(thought("b"))],
        non_preferred_output: [
          {
            role: "assistant",
            content: [
              { type: "thinking", thinking: "Hm." },
              { type: "text", text: "c" },
            ],
          },
        ],
      }),
      "a",
    ],
    ["demonstrations", read({ id: "x", messages: [user("a")], chosen: thought("b"), rejected: thought("c") }), "a"],
    ["a question about thoughts", read({ prompt: thought("a"), chosen: "b", rejected: "c" }), thought("a")],
  ])("keep answers without what was thought before them: %s", (_, example, question) => {
    expect(example).toMatchObject({ messages: [user(question)], chosen: "b", rejected: "c" });
  });

  it("keep no thought of earlier turns and near negatives, and no response that is nothing else", () => {
    const messages = [user("a"), assistant(thought("b")), user("c")];
    expect(read({ id: "x", messages, chosen: "d", rejected: "e", near: [thought("f")] })).toEqual({
      messages: [user("a"), assistant("b"), user("c")],
      chosen: "d",
      rejected: "e",
      near: ["f"],
    });
    expect(read({ id: "x", messages, chosen: "<think>\nI was cut" })).toEqual({ reason: "an empty response" });
    expect(read({ id: "x", messages, chosen: "d", rejected: thought("d") })).toEqual({
      reason: "both responses are the same",
    });
  });

  it("take no picture for a thought", () => {
    const picture = { role: "user", content: [{ type: "image_url", image_url: { url: "data:," } }] };
    expect(detectFormat({ messages: [picture, assistant("b")] })).toBeNull();
  });
});
