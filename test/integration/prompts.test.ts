/**
 * @module Real prompts through plain and scored policies, in the chat format and in hh-rlhf, four at a time: answers,
 * no piece of a prompt format in any, hardly any empty, nothing left running. Needs the data (`ICDPO_TEST_DATA`). Four
 * prompts by default, with one demonstration; `npm run check -- prompts` takes 200, with two.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { needing } from "../needs.ts";
import { eventually, type Gateway, post, startGateway } from "./gateway.ts";
import { readPairs } from "./hh-rlhf.ts";

const count = Number(process.env["ICDPO_TEST_PROMPTS"] ?? 4);
const isLong = count > 4;
const atOnce = 4;
const largestEmptyShare = 0.02;
const maxTokens = isLong ? 64 : 16;
const hour = 3_600_000;

const scored = (prompt: string) =>
  `demonstrations: everyday\nretriever: { type: two-stage }\nshots: ${isLong ? 2 : 1}\nscore: { type: contrast, negative: rejected }\nprompt: ${prompt}\n`;
const plain = (prompt: string) => `candidates: 1\nscore: { type: none }\nprompt: ${prompt}\n`;
const policies = {
  "icdpo-chat": scored("chat"),
  "plain-chat": plain("chat"),
  "icdpo-hh": scored("hh-rlhf"),
  "plain-hh": plain("hh-rlhf"),
};

/** Control tokens of ChatML; in hh-rlhf also block and turn markers. */
const forbidden = { chat: /<\|[a-z_]+\|>/u, hh: /<\|[a-z_]+\|>|##|\b[Hh]uman:|\b[Aa]ssistant:/u };

interface Answered {
  readonly text: string;
  readonly seconds: number;
}

describe(`${count} prompts of HH-RLHF, ${atOnce} at a time`, needing("data"), () => {
  let gateway: Gateway;
  let folder: string;

  beforeAll(async () => {
    folder = mkdtempSync(path.join(tmpdir(), "icdpo-policies-"));
    for (const [name, text] of Object.entries(policies)) writeFileSync(path.join(folder, `${name}.yaml`), text);
    const routes = Object.keys(policies).map((name) => `  ${name}: { policy: ${name} }`);
    writeFileSync(path.join(folder, "routes.yaml"), `routes:\n${routes.join("\n")}\n`);
    gateway = await startGateway({ ICDPO_POLICIES: folder });
  });
  afterAll(async () => {
    await gateway.stop();
    rmSync(folder, { recursive: true });
  });

  async function askAll(model: string): Promise<Answered[]> {
    const prompts = readPairs().slice(0, count);
    const answers: Answered[] = [];
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let index = next++; index < prompts.length; index = next++) {
        const started = performance.now();
        const { status, body } = await post(`${gateway.url}/v1/chat/completions`, {
          model,
          messages: prompts[index]?.messages,
          max_tokens: maxTokens,
          seed: index,
        });
        expect(status, JSON.stringify(body)).toBe(200);
        const { choices } = body as { choices: { message: { content: string } }[] };
        answers[index] = { text: choices[0]?.message.content as string, seconds: (performance.now() - started) / 1000 };
      }
    };
    await Promise.all(Array.from({ length: atOnce }, worker));
    return answers;
  }

  it.each(Object.keys(policies))(
    "%s",
    async (model) => {
      const answers = await askAll(model);
      expect(answers).toHaveLength(count);
      const pattern = model.endsWith("-hh") ? forbidden.hh : forbidden.chat;
      expect(answers.filter(({ text }) => pattern.test(text)).map(({ text }) => text)).toEqual([]);
      const empty = answers.filter(({ text }) => text.trim() === "").length;
      const median =
        answers.map(({ seconds }) => seconds).toSorted((a, b) => a - b)[Math.floor(count / 2)] ?? Number.NaN;
      console.log(`${model}: ${answers.length} answers, ${empty} empty, median ${median.toFixed(2)} s`);
      expect(empty).toBeLessThanOrEqual(Math.max(1, largestEmptyShare * count));
      await eventually(async () => {
        const { engine } = (await (await fetch(`${gateway.url}/ready`)).json()) as {
          engine: { active: number; waiting: number; freeSequences: number; size: { sequences: number } };
        };
        return engine.active === 0 && engine.waiting === 0 && engine.freeSequences === engine.size.sequences;
      });
    },
    hour,
  );
});
