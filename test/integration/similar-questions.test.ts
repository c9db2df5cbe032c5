/**
 * What the default policy's demonstrations are found for, by the default embedding model: the figures of
 * docs/policies.md. The prompts are the project's own, and none of them stands in a demonstration.
 */
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, it } from "vitest";
import { embeddingModel } from "../../src/models/catalog.ts";
import { openModelStore } from "../../src/node/runtime.ts";
import { readSettings } from "../../src/node/settings.ts";
import { parseDemonstrations, parseYaml } from "../../src/policy/parse.ts";
import { policySchema } from "../../src/policy/schema.ts";
import { embeddingRetriever } from "../../src/retrieval/embedding.ts";
import { loadEmbedder } from "../../src/retrieval/local-embedder.ts";
import type { Retrieved, Retriever } from "../../src/retrieval/retriever.ts";
import type { Conversation, Demonstration, Message } from "../../src/types/conversation.ts";

const root = new URL("../../", import.meta.url);
const read = (file: string): Promise<string> => readFile(new URL(file, root), "utf8");
const linesOf = async (name: string): Promise<string[]> =>
  (await read(`test/integration/questions/${name}`)).trimEnd().split("\n");
const user = (content: string): Message => ({ role: "user", content });

let demonstrations: readonly Demonstration[];
let retriever: Retriever;
let least: number;
beforeAll(async () => {
  demonstrations = await parseDemonstrations("demos/everyday.jsonl", await read("demos/everyday.jsonl"));
  const store = openModelStore(readSettings(process.env, process.cwd()), () => {});
  const { path: folder, id } = await store.ensure(embeddingModel);
  const thread = new URL("dist/retrieval/embedding-thread.js", root);
  const embedder = await loadEmbedder({ folder, weights: embeddingModel.weights, pooling: "mean" }, id, thread);
  retriever = embeddingRetriever(demonstrations, embedder);
  const policy = parseYaml("policies/everyday.yaml", await read("policies/everyday.yaml"), policySchema);
  if (policy.retriever.type !== "two-stage") throw new Error("The default policy retrieves otherwise");
  // Its first stage leaves nothing out, so that the second says it all.
  expect(policy.retriever.shortlist).toBeGreaterThanOrEqual(demonstrations.length);
  least = policy.retriever.min_similarity ?? Number.NaN;
});

/** The two nearest of all. */
const nearest = (prompt: Conversation): Promise<Retrieved[]> =>
  retriever.retrieve(prompt, { shots: 2, random: () => 0 });

/** Of the prompts, those that are shown a demonstration which counts. */
async function shareShown(name: string, counts: (id: string) => boolean = () => true): Promise<number> {
  const prompts = await linesOf(name);
  const shown = await Promise.all(
    prompts.map(async (prompt) =>
      (await nearest([user(prompt)])).some(
        ({ demonstration, similarity }) => (similarity ?? 0) >= least && counts(demonstration.id),
      ),
    ),
  );
  return shown.filter(Boolean).length / prompts.length;
}

/** Demonstrations about programs and numbers, which such prompts may well be shown. */
const isTechnical = (id: string): boolean =>
  /python|git-commit|sql|regex|js-|vlookup|large-files|nonetype|float-|without-where|two-dice|discount|point-nine|compound/u.test(
    id,
  );

describe("by the least similarity of the default policy", () => {
  it("nine in ten everyday questions keep a demonstration", async () => {
    expect(await shareShown("everyday.txt")).toBeGreaterThan(0.86);
  });

  it("of code, mathematics, logs and JSON a quarter is shown any, one in ten one of another field", async () => {
    expect(await shareShown("others.txt")).toBeLessThan(0.32);
    expect(await shareShown("others.txt", (id) => !isTechnical(id))).toBeLessThan(0.16);
  });
});

describe("the nearest demonstration", () => {
  /** Two that say the same count as one. */
  const twins = [["lonely-new-city", "lonely-seven-months"]];
  const isFound = (found: readonly Retrieved[], id: string): boolean => {
    const first = found[0]?.demonstration.id ?? "";
    return first === id || twins.some((both) => both.includes(first) && both.includes(id));
  };

  interface Asked {
    readonly id: string;
    readonly opening: string;
    readonly followUp: string;
    readonly answer: string;
  }
  const dialogues = async (): Promise<Asked[]> =>
    (await linesOf("dialogues.tsv")).map((line) => {
      const [id = "", opening = "", followUp = ""] = line.split("\t");
      return { id, opening, followUp, answer: demonstrations.find((one) => one.id === id)?.chosen ?? "" };
    });
  const begun = ({ opening, answer }: Asked): Message[] => [user(opening), { role: "assistant", content: answer }];

  async function recall(prompt: (asked: Asked, all: readonly Asked[], place: number) => Conversation): Promise<number> {
    const all = await dialogues();
    const found = await Promise.all(
      all.map(async (asked, place) => isFound(await nearest(prompt(asked, all, place)), asked.id)),
    );
    return found.filter(Boolean).length / all.length;
  }

  it("is that of the question", async () => {
    expect(await recall(({ opening }) => [user(opening)])).toBeGreaterThan(0.95);
  });

  it("is that of what a follow-up is about, after one turn and after two", async () => {
    expect(await recall((asked) => [...begun(asked), user(asked.followUp)])).toBeGreaterThan(0.9);
    const later = "ok thanks, anything else to keep in mind?";
    const twice = (asked: Asked) => [
      ...begun(asked),
      user(asked.followUp),
      { role: "assistant", content: asked.answer } as const,
      user(later),
    ];
    expect(await recall(twice)).toBeGreaterThan(0.88);
  });

  it.each([3, 11, 17, 29, 41])("is that of the last question where the subject has changed: %i", async (distance) => {
    const changed = await recall((asked, all, place) => [
      ...begun(all[(place + distance) % all.length] as Asked),
      user(asked.opening),
    ]);
    expect(changed).toBeGreaterThan(0.88);
  });
});
