import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Demonstration } from "../../src/types/conversation.ts";
import { eventually, program } from "./gateway.ts";
import { writeTinyRewardModel } from "./tiny-reward-model.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-eval-"));
const demos = path.join(folder, "demos");
const own = path.join(demos, "everyday.jsonl");
const data = ["--data", `good=${own}`, "--demonstrations-from", own, "--hold-out", "20"];
const bias = 1.25;
const constant = path.join(folder, "constant.gguf");
const random = path.join(folder, "random.gguf");

/** A judge that likes what comes first. */
const judge = createServer((request, response) => {
  request.resume().on("end", () => {
    const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content: "VERDICT: A" } }];
    const body = {
      id: "1",
      object: "chat.completion",
      created: 0,
      model: "judge",
      choices,
      usage: { prompt_tokens: 100, completion_tokens: 1, total_tokens: 101 },
    };
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(body));
  });
});
let judgeUrl = "";

/**
 * The project's own demonstrations, of which only the beginnings are read: these runs are about what is made of sums,
 * not about the sums.
 */
function writeShortDemonstrations(): void {
  const lines = readFileSync(new URL("../../demos/everyday.jsonl", import.meta.url), "utf8")
    .trim()
    .split("\n")
    .slice(0, 40);
  const cut = (text: string): string => text.slice(0, 40);
  const short = lines.map((line) => {
    const { id, messages, chosen, rejected } = JSON.parse(line) as Demonstration;
    const asked = messages.map(({ role, content }) => ({ role, content: cut(content) }));
    return `${JSON.stringify({ id, messages: asked, chosen: cut(chosen), rejected: cut(rejected ?? "") })}\n`;
  });
  mkdirSync(demos);
  writeFileSync(own, short.join(""));
}

beforeAll(async () => {
  writeShortDemonstrations();
  writeTinyRewardModel(constant, { bias, weights: "zero" });
  writeTinyRewardModel(random, { bias, weights: "random" });
  judge.listen(0, "127.0.0.1");
  await once(judge, "listening");
  judgeUrl = `http://127.0.0.1:${(judge.address() as AddressInfo).port}/v1`;
});

afterAll(() => {
  judge.close();
  rmSync(folder, { recursive: true, force: true });
});

const running = new Set<ChildProcess>();

afterEach(() => {
  for (const child of running) child.kill("SIGTERM");
});

function start(args: readonly string[], settings: NodeJS.ProcessEnv = {}) {
  // Small, and started without measuring: these runs are about what is kept, not about speed.
  const small = { ICDPO_THREADS: "1", ICDPO_SEQUENCES: "6", ICDPO_CONTEXT_SIZE: "1024", ICDPO_DEMOS: demos };
  const env = { ...process.env, ...small, ...settings };
  const child = spawn(process.execPath, [program, "eval", ...args], { stdio: ["ignore", "pipe", "pipe"], env });
  running.add(child);
  child.once("close", () => running.delete(child));
  const said = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    said.stdout += text;
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    said.stderr += text;
  });
  return { child, said, ended: once(child, "close") };
}

async function run(args: readonly string[], settings: NodeJS.ProcessEnv = {}): Promise<string> {
  const { child, said, ended } = start(args, settings);
  await ended;
  expect(child.exitCode, said.stderr).toBe(0);
  return said.stdout;
}

function cacheOf(out: string): string[] {
  const file = path.join(out, "cache.jsonl");
  return existsSync(file) ? readFileSync(file, "utf8").trim().split("\n") : [];
}

/** Several runs, each with an engine of its own. */
const severalRunsMs = 1_200_000;

describe("icdpo eval pairs", () => {
  it("is taken up where it was killed, repeats nothing, and bears a line cut short", {
    timeout: severalRunsMs,
  }, async () => {
    const out = path.join(folder, "pairs");
    const args = [
      "pairs",
      ...data,
      "--policy",
      "icdpo,icdpo-bm25",
      "--limit",
      "3",
      "--prompt",
      "hh-rlhf",
      "--concurrency",
      "1",
      "--out",
      out,
    ];
    const { child, ended } = start(args);
    await eventually(async () => cacheOf(out).length >= 4, severalRunsMs / 2);
    child.kill("SIGKILL");
    await ended;
    const before = cacheOf(out);
    expect(before.length).toBeLessThan(30);
    appendFileSync(path.join(out, "cache.jsonl"), '{"kind":"score","key":"ab');

    const report = await run(args);
    expect(report).toContain("## good (3 pairs)");
    expect(report).toContain("| less icdpo |");
    const after = cacheOf(out);
    expect(after.slice(0, before.length)).toEqual(before);
    const keys = after.flatMap((line) => (line.endsWith("}") ? [JSON.parse(line).key as string] : []));
    expect(new Set(keys).size).toBe(keys.length);
    // Two responses of three pairs: after C⁺ and C⁻ of each arm at most, and after C⁰ once.
    expect(keys.length).toBeGreaterThan(18);
    expect(keys.length).toBeLessThanOrEqual(30);

    expect(await run(args)).toBe(report);
    expect(cacheOf(out)).toEqual(after);
    expect(readFileSync(path.join(out, "report.md"), "utf8")).toBe(report);
    expect(readFileSync(path.join(out, "pairs.svg"), "utf8")).toContain("<svg");
    expect(readFileSync(path.join(out, "pairs.jsonl"), "utf8").trim().split("\n")).toHaveLength(6);
  });
});

describe("icdpo eval systems", () => {
  it("measures answers by a reward model in GGUF, the model's own log-probability, and a judge; no text is printed", {
    timeout: severalRunsMs,
  }, async () => {
    const out = path.join(folder, "systems");
    const measures = [
      "--reward",
      `constant=llama:${constant}`,
      "--reward",
      "self=engine:default/token",
      "--judge",
      "judge",
      "--judge-url",
      judgeUrl,
    ];
    const args = [
      "systems",
      ...data,
      "--policy",
      "base,icdpo",
      "--limit",
      "2",
      "--max-tokens",
      "8",
      ...measures,
      "--out",
      out,
    ];
    const report = await run(args);
    const rows = readFileSync(path.join(out, "answers.jsonl"), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows).toHaveLength(4);
    for (const { rewards, judgement } of rows) {
      expect(rewards.constant).toBeCloseTo(bias, 6);
      expect(rewards.self).toBeLessThan(0);
      // A judge that always takes the first is not believed.
      expect(judgement).toBe(0.5);
    }
    expect(report).toContain("| icdpo | 0 | 2 | 0 | 0 |");
    for (const { text } of rows) if (text.length > 8) expect(report).not.toContain(text);
    expect(report).toMatch(/judge judge: 8 opinions, 800 prompt and 8 answer tokens/u);
    expect(await run(["table", out, "--measure", "constant"])).toContain("| base | 1.25 ± 0.00 |");
  });
});

describe("icdpo eval quick", () => {
  it("looks at pairs and answers where no data are named", { timeout: severalRunsMs }, async () => {
    const { pairs, answers } = JSON.parse(
      await run(["quick", "--limit", "1", "--max-tokens", "6", "--json", "--out", path.join(folder, "quick")]),
    );
    expect(pairs[0].arms.map(({ name, count }: { name: string; count: number }) => [name, count])).toEqual([
      ["icdpo", 1],
      ["icdpo-bm25", 1],
      ["icdpo-r", 1],
    ]);
    expect(answers.map(({ arm }: { arm: string }) => arm)).toEqual(["plain", "everyday"]);
  });
});

describe("icdpo eval answers", () => {
  it("takes all arms from one pool, and is taken up without asking the models again", {
    timeout: severalRunsMs,
  }, async () => {
    const out = path.join(folder, "answers");
    const prompts = path.join(folder, "prompts.jsonl");
    const lines = ["Name a colour.", "Name a day."].map((content, i) => ({
      id: `p-${i}`,
      messages: [{ role: "user", content }],
      kind: "verifiable",
      checks: [{ type: "words", max: 3 }],
    }));
    writeFileSync(prompts, lines.map((line) => JSON.stringify(line)).join("\n"));
    const few = ["--pool", "2", "--plain-samples", "1", "--max-tokens", "6", "--arms", "s-hat"];
    const args = ["answers", "--prompts", `own=${prompts}`, "--policy", "icdpo-s-hat,base", ...few, "--out", out];
    const report = await run(args);
    expect(report).toContain("H2: Ŝ > random pick of 2");
    for (const arm of ["plain", "Ŝ", "longest", "best of 2", "policy base"]) expect(report).toContain(`| ${arm} |`);
    const rows = readFileSync(path.join(out, "answers.jsonl"), "utf8").trim().split("\n");
    expect(rows.map((row) => JSON.parse(row).pool.length)).toEqual([2, 2]);
    expect(JSON.parse(readFileSync(path.join(out, "report.json"), "utf8"))).toMatchObject({ chosen: "Ŝ" });
    for (const figure of ["arms.svg", "gain.svg"])
      expect(readFileSync(path.join(out, figure), "utf8")).toContain("<svg");

    const kept = cacheOf(out);
    expect(await run(args)).toBe(report);
    expect(cacheOf(out)).toEqual(kept);
  });
});

describe("icdpo eval mrr", () => {
  it("holds scorers against a reward model's order", { timeout: severalRunsMs }, async () => {
    const rewards = ["--reward", `RM=llama:${random}`, "--reward", `same=llama:${random}`, "--truth", "RM"];
    const args = [
      "mrr",
      ...data,
      "--policy",
      "icdpo",
      "--limit",
      "2",
      "--max-tokens",
      "6",
      ...rewards,
      "--out",
      path.join(folder, "mrr"),
      "--json",
    ];
    const [{ prompts, ranks }] = JSON.parse(await run(args));
    expect(prompts).toBe(2);
    const values = Object.fromEntries(
      ranks.map(({ scorer, estimate }: { scorer: string; estimate: { value: number } }) => [scorer, estimate.value]),
    );
    expect(values["same"]).toBe(1);
    for (const value of Object.values(values)) expect(value).toBeGreaterThanOrEqual(1 / 3);
    expect(Object.keys(values)).toHaveLength(5);
  });
});

describe("icdpo eval", () => {
  it.each([
    [["systems"], "What is to be tested?"],
    [["systems", ...data, "--reward", "ftp://x"], "llama:FILE.gguf, engine:NAME or an http(s) URL"],
    [["mrr", ...data], "Whose order is the truth?"],
    [["mrr", ...data, "--truth", "RM", "--reward", "other=engine:default"], "no --reward has this label"],
    [["references", ...data], "need a --reward"],
    [["answers", "--prompts", `own=${own}`], "kind: "],
  ])("says what it lacks before it begins: %j", async (args, complaint) => {
    const { child, said, ended } = start(args);
    await ended;
    expect(child.exitCode).toBe(1);
    expect(said.stderr).toContain(complaint);
    expect(said.stderr).not.toContain("loading");
  });
});

describe("an evaluation", () => {
  it("waits for no server that only routes need", { timeout: severalRunsMs }, async () => {
    const policies = path.join(folder, "policies");
    mkdirSync(policies);
    const away = "engine: away\ncandidates: 1\nscore: { type: none }\n";
    writeFileSync(path.join(policies, "serving.yaml"), away);
    writeFileSync(path.join(policies, "routes.yaml"), "routes: { icdpo: { policy: serving } }\n");
    const engines =
      "engines: { default: { type: llama }, away: { type: llama-server, urls: ['http://127.0.0.1:9'] } }\n";
    const enginesFile = path.join(folder, "engines.yaml");
    writeFileSync(enginesFile, engines);
    const settings = { ICDPO_POLICIES: policies, ICDPO_ENGINES: enginesFile };
    const stdout = await run(["nll", ...data, "--limit", "1", "--json", "--out", path.join(folder, "nll")], settings);
    expect(JSON.parse(stdout)).toMatchObject([{ values: {} }]);
  });
});
