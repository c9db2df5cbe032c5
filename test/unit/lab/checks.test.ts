import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type Check, type CheckedPrompt, readPrompts } from "../../../lab/checked-prompts.ts";
import { passes, shareOfChecks } from "../../../lab/checks.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-checks-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const asked = (content: string) => [{ role: "user", content }] as const;
const anything = asked("Anything?");

const three = "- one\n- two\n- three";

/** Check, texts that pass it, texts that do not. */
const table: readonly (readonly [Check, readonly string[], readonly string[]])[] = [
  [
    { type: "words", min: 2, max: 3 },
    ["two words", "a well-known fact", "– yes – indeed –", "l'eau fraîche"],
    ["one", "these are four words", ". . . ."],
  ],
  [{ type: "words", max: 2 }, ["one", "**two** words"], ["one two three"]],
  [
    { type: "sentences", min: 2, max: 2 },
    [
      "It rains. It pours!",
      "Dr. Smith came at 3.5 p.m. and left. Nobody knew.",
      "J. K. Rowling wrote it. I read it.",
      'He said "Go." She went.',
      "Ask e.g. Mr. Jones. Or me…",
      "One line\nand another",
      "1. Wash it.\n2. Dry it.",
      "Really?! Yes.",
    ],
    ["It rains.", "It rains. It pours. It ends.", "", "Version 2.0.1 is out"],
  ],
  [
    { type: "bullets", min: 3, max: 3 },
    [
      three,
      "Here:\n* a\n* b\n* c\nBye",
      "• a\n•b\n  • c",
      "1. a\n2. b\n10) c",
      "-a\n-b\n-c",
      `${three.replaceAll("\n", "\r\n")}`,
    ],
    ["- one\n- two", `${three}\n- four`, "**a**\n**b**\n**c**", "---\n---\n---", "one - two - three", "-1\n-2\n-3"],
  ],
  [{ type: "lines", min: 2, max: 2 }, ["a\nb", "a\n\n\nb\n", "a\r\n \r\nb"], ["a", "a\nb\nc"]],
  [{ type: "paragraphs", min: 2, max: 2 }, ["a\nb\n\nc", "a\n \n\n\nc", "a\r\n\r\nb"], ["a\nb", "a\n\nb\n\nc"]],
  [
    { type: "contains", any: ["pharmacist", "doctor"] },
    ["Ask a Pharmacist.", "DOCTORS know", "ask your phar\u00admacist"],
    ["Ask a nurse."],
  ],
  [
    { type: "contains", any: ["it's"], all: ["Zoë", "café au lait"], word: true },
    ["It’s Zoe\u0308’s cafe\u0301  au\nlait"],
    ["It's Zoë's cafés au laits", "Zoë, café au lait"],
  ],
  [{ type: "contains", all: ["a", "b"] }, ["ab"], ["a"]],
  [
    { type: "contains", any: ["art"], word: true },
    ["art!", "«Art»", "pop-art"],
    ["party", "art2", "art_", "smart art2"],
  ],
  [{ type: "contains", any: ["C++"], word: true }, ["I like c++."], ["c+"]],
  [{ type: "lacks", any: ["stupid", ","] }, ["No insult here"], ["That is STUPID", "well, no"]],
  [{ type: "lacks", any: ["ass"], word: true }, ["pass the class"], ["you ass."]],
  [{ type: "matches", pattern: "(?i)\\b116\\s?123\\b" }, ["Call 116 123 now", "116123"], ["1161234"]],
  [{ type: "lacks-match", pattern: "\\d+ ?mg" }, ["a low dose"], ["take 500 mg", `${"x".repeat(5_000)} 500mg`]],
  [{ type: "starts", with: "Dear Sam" }, ["Dear Sam,\nhi", " dear  sam"], ["Hi! Dear Sam", "Dear Sa"]],
  [{ type: "ends", with: "Thank you!" }, ["Bye. Thank you!\n"], ["Thank you", "Thank you! Bye"]],
  [{ type: "language", is: "de" }, ["Das ist ein schöner Tag."], ["This is a nice day.", "Tag"]],
  [
    { type: "json", keys: ["a", "b"], values: { a: 1, c: [true, null] } },
    ['{"a": 1, "b": "x", "c": [true, null], "d": 0}', ' \n{"c":[true,null],"b":{},"a":1.0}\n'],
    [
      '{"a": 1, "c": [true, null]}',
      '{"a": "1", "b": 2, "c": [true, null]}',
      '```json\n{"a": 1, "b": 2, "c": [true, null]}\n```',
      'Here: {"a": 1, "b": 2, "c": [true, null]}',
      "{'a': 1}",
      "null",
      '"a b"',
    ],
  ],
  [
    { type: "json", keys: ["toString"], fenced: true },
    ['```json\n{"toString": 1}\n```', '```\n{"toString": 1}\n```', '{"toString": 1}'],
    ["{}", '```json\n{"toString": 1}\n``` Done.', "```json\n```"],
  ],
  [{ type: "json" }, ["[]", "{}"], ["42", '"x"', "{", "[1,]"]],
  [{ type: "case", is: "upper" }, ["GO NOW 3!", "ÀÉ"], ["Go", "GO ß", "123"]],
  [{ type: "case", is: "lower" }, ["go now 3!", "straße"], ["go Now", "ǅ x", "123"]],
];

describe.each(table)("the check %j", (check, passing, failing) => {
  it.each(passing)("passes %j", (text) => {
    expect(passes(check, text, anything)).toBe(true);
  });

  it.each(failing)("does not pass %j", (text) => {
    expect(passes(check, text, anything)).toBe(false);
  });
});

describe("a short answer", () => {
  const sum = ["42", "forty-two"];

  it.each([
    ["What is 6 times 7?", sum, "42"],
    ["What is 6 times 7?", sum, "It's 42."],
    ["What is 6 times 7?", sum, "6 × 7 = 42"],
    ["What is 6 times 7?", sum, "6 times 7 is **42**!"],
    ["What is 6 times 7?", sum, "Forty‑two."],
    ["What is 6 times 7?", sum, "36 + 6 = 42"],
    ["What is 6 times 7?", sum, "1. 42"],
    ["What is 6 times 7?", sum, "42.0"],
    ["How many metres are 5 km?", ["5000"], "5 km are 5,000 m."],
    ["How many metres are 5 km?", ["5000"], "5000m"],
    ["What is half of 3?", ["1.5"], "1,5"],
    ["What is 2 less 7?", ["-5"], "It is −5."],
    ["When did people land on the moon?", ["1969"], "On July 20, 1969."],
    ["What is the capital of France?", ["Paris"], "PARIS, of course"],
    ["When does the train leave?", ["7:30"], "At 7:30."],
    ["How long is it?", ["42 km"], "It is 42 km long."],
  ])("%s %j is given by %j", (question, is, text) => {
    expect(passes({ type: "answer", is }, text, asked(question))).toBe(true);
  });

  it.each([
    ["What is 6 times 7?", sum, "41"],
    ["What is 6 times 7?", sum, "420"],
    ["What is 6 times 7?", sum, "4.2"],
    ["What is 6 times 7?", sum, "-42"],
    ["What is 6 times 7?", sum, "It is 42 or 43."],
    ["What is 6 times 7?", sum, "Between 40-42."],
    ["What is 6 times 7?", sum, "42. No, 48."],
    ["What is 6 times 7?", sum, "a42b"],
    ["What is 6 times 7?", sum, "6 times 7"],
    ["What is 6 times 7?", sum, ""],
    ["How many metres are 5 km?", ["5000"], "5 km are 500 m."],
    ["When did people land on the moon?", ["1969"], "In 1969 or 1970."],
    ["What is the capital of France?", ["Paris"], "Parisian"],
    ["When does the train leave?", ["7:30"], "At 17:30."],
  ])("%s %j is not given by %j", (question, is, text) => {
    expect(passes({ type: "answer", is }, text, asked(question))).toBe(false);
  });
});

describe("the reward", () => {
  it("is the share of checks passed; an empty answer passes none", () => {
    const checks: Check[] = [
      { type: "words", max: 3 },
      { type: "lacks", any: [","] },
      { type: "contains", any: ["tea"] },
      { type: "ends", with: "!" },
    ];
    expect(shareOfChecks(checks, "Drink tea", anything)).toBe(3 / 4);
    expect(shareOfChecks(checks, "Tea!", anything)).toBe(1);
    expect(shareOfChecks(checks, " \n", anything)).toBe(0);
  });

  it("takes time in proportion to the text, whatever stands in it", () => {
    const texts = [
      "- ".repeat(50_000),
      "!".repeat(100_000),
      "1,".repeat(50_000),
      "\n \n".repeat(30_000),
      "a.) ".repeat(25_000),
      "```json\n".repeat(12_000),
      "\u0301".repeat(50_000),
      "[".repeat(50_000),
    ];
    const answer: Check = { type: "answer", is: ["42", "x"] };
    const begun = performance.now();
    for (const text of texts)
      for (const check of [...table.map(([one]) => one), answer]) passes(check, text, asked(text));
    expect(performance.now() - begun).toBeLessThan(30_000);
  });
});

describe("a file of prompts", () => {
  const written = (...lines: readonly unknown[]): string => {
    const file = path.join(folder, "prompts.jsonl");
    writeFileSync(file, lines.map((line) => (typeof line === "string" ? line : JSON.stringify(line))).join("\n"));
    return file;
  };
  const prompt = { id: "a-1", messages: asked("Say hi."), kind: "verifiable", checks: [{ type: "words", max: 3 }] };

  it("is read, with references instead of checks, or beside them", async () => {
    const open = { id: "c-1", messages: asked("Hi?"), kind: "open", reference: "Hello!" };
    const file = written(prompt, "", { ...prompt, id: "a-2", reference: "Hi." }, open);
    expect((await readPrompts(file)).map(({ id, checks, reference }) => [id, checks.length, reference])).toEqual([
      ["a-1", 1, undefined],
      ["a-2", 1, "Hi."],
      ["c-1", 0, "Hello!"],
    ]);
  });

  it.each([
    ["everyday", "verifiable", 160],
    ["open", "open", 80],
  ])("is what the project has: %s", async (name, kind, count) => {
    const file = path.resolve(import.meta.dirname, `../../../lab/prompts/${name}-checks.jsonl`);
    const prompts = await readPrompts(file);
    expect(prompts).toHaveLength(count);
    expect(new Set(prompts.map((prompt) => prompt.kind))).toEqual(new Set([kind]));
    expect(prompts.every(({ checks }) => checks.length >= 2 && checks.length <= 4)).toBe(true);
  });

  it("passes good answers whole, however they are worded, and careless ones never", async () => {
    const prompts = new Map<string, CheckedPrompt>();
    for (const name of ["everyday", "open"])
      for (const prompt of await readPrompts(
        path.resolve(import.meta.dirname, `../../../lab/prompts/${name}-checks.jsonl`),
      ))
        prompts.set(prompt.id, prompt);
    const lines = readFileSync(path.join(import.meta.dirname, "prompt-answers.jsonl"), "utf8")
      .trim()
      .split("\n");
    const answers = lines.map((line) => JSON.parse(line) as { id: string; is: "good" | "bad"; answer: string });
    const shares = answers.map(({ id, is, answer }) => {
      const prompt = prompts.get(id);
      return { id, is, share: prompt && shareOfChecks(prompt.checks, answer, prompt.messages) };
    });
    expect(new Set(answers.map(({ id }) => id))).toEqual(new Set(prompts.keys()));
    expect(shares.filter(({ is, share }) => (is === "good") !== (share === 1))).toEqual([]);
  });

  it.each<readonly [string, readonly unknown[], string]>([
    ["no JSON", ["{"], ":1: not JSON"],
    ["a second id", [prompt, prompt], ':2: id: "a-1" stands on line 1 as well'],
    ["an unknown check", [{ ...prompt, checks: [{ type: "rhymes" }] }], ":1: checks: 0: type"],
    ["an unknown field", [{ ...prompt, checks: [{ type: "words", max: 3, most: 4 }] }], "most"],
    ["a range of nothing", [{ ...prompt, checks: [{ type: "lines" }] }], "needs min, max or both"],
    ["a range turned round", [{ ...prompt, checks: [{ type: "lines", min: 3, max: 2 }] }], "min is more than max"],
    ["nothing to contain", [{ ...prompt, checks: [{ type: "contains" }] }], "needs any, all or both"],
    ["a pattern that looks around", [{ ...prompt, checks: [{ type: "matches", pattern: "(?=a)" }] }], "RE2"],
    ["a language that nobody tells", [{ ...prompt, checks: [{ type: "language", is: "fi" }] }], "checks: 0: is"],
    [
      "no user at the end",
      [{ ...prompt, messages: [{ role: "assistant", content: "x" }] }],
      "must end with a user turn",
    ],
    ["neither checks nor a reference", [{ ...prompt, checks: [] }], "needs checks, a reference or both"],
    ["no line", [""], "holds no prompt"],
  ])("is refused, by its lines, for %s", async (_, lines, reason) => {
    const error = await readPrompts(written(...lines)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: "configuration", message: expect.stringContaining(reason) });
    expect((error as Error).message).toContain("prompts.jsonl");
  });

  it("is refused with everything that is wrong, up to a screenful", async () => {
    const error = (await readPrompts(written(...Array<string>(30).fill("{"))).catch(
      (thrown: unknown) => thrown,
    )) as Error;
    expect(error.message.split("\n")).toHaveLength(21);
    expect(error.message).toContain("and 10 more");
  });
});
