/**
 * Schemas as real programs send them. None is refused unless it is strict; every text of a grammar that keeps to the
 * whole schema is valid against it, and every text of another is JSON.
 */
import { beforeAll, describe, expect, it } from "vitest";
import { answerGrammar } from "../../../src/gateway/answer-grammar.ts";
import { randomFrom } from "../../../src/icdpo/seed.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { type CorpusSchema, corpus, validatorOf } from "../../corpus/corpus.ts";
import { GbnfSampler } from "./gbnf-sampler.ts";
import { grammarParser } from "./llama-grammar.ts";

/** Texts drawn from each grammar; so many of them are held against llama.cpp's own reader. */
const draws = Number(process.env["ICDPO_TEST_DRAWS"] ?? 20);
const readByLlama = 3;

let parse: Awaited<ReturnType<typeof grammarParser>>;
beforeAll(async () => {
  parse = await grammarParser();
});

/** The grammar of an answer's format, whose texts are values of the schema; null: refused. */
function compiled({ schema }: CorpusSchema, strict: boolean) {
  const format = { type: "json-schema", schema, path: "schema", strict } as const;
  try {
    return answerGrammar({ tools: [], toolChoice: "auto", parallelToolCalls: true, format }, genericToolSyntax);
  } catch (error) {
    if (error instanceof GatewayError && error.code === "invalid_request") return null;
    throw error;
  }
}

/** Of texts drawn from a grammar, all of them JSON: those that are not valid against the schema. */
function misfits({ schema }: CorpusSchema, gbnf: string): string[] {
  const isValid = validatorOf(schema);
  const includes = parse(gbnf);
  const sampler = new GbnfSampler(gbnf, randomFrom(18));
  const texts = Array.from({ length: draws }, () => sampler.draw());
  for (const text of texts.slice(0, readByLlama))
    expect(includes(text), `llama.cpp does not find in its grammar: ${text}`).toBe(true);
  return texts.filter((text) => !isValid(JSON.parse(text)));
}

const entries = corpus.map((entry) => ({ ...entry, open: compiled(entry, false), closed: compiled(entry, true) }));
const generators = [...new Set(corpus.map(({ generator }) => generator))];

it("holds schemas of many generators, most of which can be kept to whole", () => {
  const strict = entries.filter(({ closed }) => closed !== null);
  const relaxed = entries.filter(({ open }) => open !== null && open.relaxed.length > 0);
  console.log(`${corpus.length} schemas: ${strict.length} can be strict, ${relaxed.length} are relaxed otherwise`);
  expect(corpus.length).toBeGreaterThanOrEqual(700);
  expect(generators.length).toBeGreaterThanOrEqual(30);
  expect(strict.length).toBeGreaterThanOrEqual(700);
});

describe.each(generators)("%s", (name) => {
  it.each(entries.filter(({ generator }) => generator === name))("$name", ({ open, closed, ...entry }) => {
    if (open === null) throw new Error("Refused, though it is not strict");
    const wrong = misfits(entry, open.gbnf as string);
    if (open.relaxed.length === 0) expect(wrong).toEqual([]);
    if (closed === null) return;
    expect(closed.relaxed).toEqual([]);
    // Mostly the same grammar.
    if (closed.gbnf !== open.gbnf) expect(misfits(entry, closed.gbnf as string)).toEqual([]);
  });
});
