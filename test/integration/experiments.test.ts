/**
 * Experiments on the real model: recorded, judged, shown, exported and forgotten; and what happens where records cannot
 * be kept.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { eventually, type Gateway, post, program, shortPrompts, startGateway } from "./gateway.ts";

const messages = (content: string) => [{ role: "user", content }];

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-experiments-"));
  await mkdir(path.join(folder, "policies"));
  await cp(shortPrompts.ICDPO_DEMOS, path.join(folder, "demos"), { recursive: true });
  const sampling = "sampling: { max_tokens: 8 }\n";
  const kind = `demonstrations: short\nretriever: { type: bm25 }\nshots: 1\ncandidates: 2\nscore: { type: contrast, negative: rejected }\n${sampling}`;
  await writeFile(path.join(folder, "policies/kind.yaml"), kind);
  await writeFile(path.join(folder, "policies/short.yaml"), `candidates: 1\nscore: { type: none }\n${sampling}`);
  await writeFile(
    path.join(folder, "policies/routes.yaml"),
    "routes:\n  plain: { policy: short }\n  ab: { counterfactual: 1, experiment: { metrics: [rating, { name: stars, min: 1, max: 5 }], arms: { treatment: { policy: kind }, control: { policy: short } } } }\n",
  );
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const environment = () => ({ ICDPO_DATABASE: path.join(folder, "records.db"), ICDPO_KEEP_TEXT: "1" });

async function run(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [program, ...args], { env: { ...process.env, ...environment() }, cwd: folder });
  let [stdout, stderr] = ["", ""];
  child.stdout.on("data", (text) => {
    stdout += text;
  });
  child.stderr.on("data", (text) => {
    stderr += text;
  });
  const [code] = await once(child, "close");
  return { code, stdout, stderr };
}

describe("an experiment", () => {
  const arms = new Map<string, string>();
  const ids: string[] = [];

  it("records every answer with its arm, its policy and what it cost, and what plain sampling would have said", async () => {
    const gateway = await startGateway(environment(), folder);
    try {
      for (let i = 0; i < 8; i++) {
        const { status, headers, body } = await post(`${gateway.url}/v1/chat/completions`, {
          model: "ab",
          user: `user-${i}`,
          messages: messages(`Is ${i} even?`),
        });
        expect(status).toBe(200);
        arms.set(`user-${i}`, headers.get("x-icdpo-arm") ?? "");
        ids.push(body["id"] as string);
      }
      expect(new Set(arms.values())).toEqual(new Set(["treatment", "control"]));
      const rated = await post(`${gateway.url}/v1/feedback`, {
        id: ids[0],
        value: 4,
        metric: "stars",
        comment: "fine",
      });
      expect(rated).toMatchObject({ status: 200, body: { object: "feedback", metric: "stars", value: 4 } });
      expect((await post(`${gateway.url}/v1/feedback`, { id: "chatcmpl-none", rating: "up" })).status).toBe(404);
      expect((await post(`${gateway.url}/v1/feedback`, { id: ids[0], rating: "up", value: 1 })).status).toBe(400);
      expect((await post(`${gateway.url}/v1/feedback`, { id: ids[0], value: 1, metric: "latency_ms" })).status).toBe(
        400,
      );
      expect((await post(`${gateway.url}/v1/feedback`, { id: ids[0], value: 1e6 })).status).toBe(400);
      expect((await post(`${gateway.url}/v1/feedback`, { id: ids[0], value: 4, metric: "moons" })).status).toBe(400);
      const listed = (await (await fetch(`${gateway.url}/v1/experiments`)).json()) as { data: object[] };
      expect(listed.data).toMatchObject([{ name: "ab", route: "ab", unit: "user", control: "control", ramp: 1 }]);
      expect((await fetch(`${gateway.url}/v1/experiments/plain`)).status).toBe(404);
      const report = (await (await fetch(`${gateway.url}/v1/experiments/ab`)).json()) as Record<string, never>;
      expect(report).toMatchObject({ object: "experiment", records: { status: "ok", lost: 0 } });
      const treated = [...arms.values()].filter((arm) => arm === "treatment").length;
      // The comparison with plain sampling comes after the answer.
      await eventually(async () => {
        const { stdout } = await run("experiments", "export", "ab");
        return (
          stdout
            .split("\n")
            .filter((line) => line.includes('"counterfactual_score":-') || /"counterfactual_score":\d/u.test(line))
            .length === treated
        );
      });
    } finally {
      expect(await gateway.stop()).toBe(0);
    }
  });

  it("is shown and exported by the command line", async () => {
    const { code, stdout, stderr } = await run("experiments", "show", "ab", "--json");
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.arms.reduce((sum: number, { answers }: { answers: number }) => sum + answers, 0)).toBe(8);
    expect(report.metrics.map(({ name }: { name: string }) => name)).toContain("stars");
    expect((await run("experiments")).stdout).toContain("# ab (route ab, unit user)");
    const rows = (await run("experiments", "export", "ab")).stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line));
    expect(rows.map(({ id }) => id)).toEqual(ids);
    expect(rows[0]).toMatchObject({
      route: "ab",
      experiment: "ab",
      feedback: { stars: 4 },
      shares: { treatment: 0.5, control: 0.5 },
      error: null,
    });
    expect(rows.every(({ arm, policy }) => policy.startsWith(arm === "treatment" ? "kind@" : "short@"))).toBe(true);
    const csv = (await run("experiments", "export", "ab", "--format", "csv")).stdout.trim().split("\n");
    expect(csv).toHaveLength(9);
    expect(csv[0]).toMatch(/^id,at,route,policy,/u);
    expect((await run("experiments", "export", "gone")).stderr).toContain("Recorded: ab");
  });

  it("is judged by another model in both orders, each answer once", async () => {
    const asked: string[] = [];
    // Likes the shorter answer, wherever it stands.
    const server = createServer((request, response) => {
      let body = "";
      request.on("data", (part) => {
        body += part;
      });
      request.on("end", () => {
        const question = JSON.parse(body).messages.at(-1).content as string;
        asked.push(question);
        const [, a = "", b = ""] =
          /# Answer A\n\n([\s\S]*)\n\n# Answer B\n\n([\s\S]*)\n\nWhich is better/u.exec(question) ?? [];
        const content = `{"verdict": "${a.length < b.length ? "A" : a.length > b.length ? "B" : "TIE"}"}`;
        const choices = [{ index: 0, finish_reason: "stop", message: { role: "assistant", content } }];
        response
          .writeHead(200, { "content-type": "application/json" })
          .end(JSON.stringify({ id: "x", object: "chat.completion", choices }));
      });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
    const args = ["judge", "ab", "--base-url", url, "--model", "judge", "--json"];
    const { code, stdout, stderr } = await run(...args);
    expect(code, stderr).toBe(0);
    const result = JSON.parse(stdout);
    expect(result.judged).toBe(8);
    expect(result.win + result.tie + result.lose).toBe(8);
    expect(asked).toHaveLength(16);
    expect(result.report.metrics.find(({ name }: { name: string }) => name === "judge").means).toHaveLength(2);
    expect(JSON.parse((await run(...args)).stdout).judged).toBe(0);
    expect(asked).toHaveLength(16);
    server.close();
  });

  it("forgets a user", async () => {
    expect((await run("experiments", "forget", "user-3")).stdout).toBe("1 answers deleted\n");
    expect((await run("experiments", "export", "ab")).stdout).not.toContain(ids[3]);
    expect((await run("experiments", "forget", "user-3")).stdout).toBe("0 answers deleted\n");
  });
});

describe("where records cannot be written", () => {
  it("answers go on, and the loss is shown", async () => {
    await writeFile(path.join(folder, "file"), "");
    const gateway: Gateway = await startGateway({ ICDPO_DATABASE: path.join(folder, "file/records.db") }, folder);
    try {
      const { status, body } = await post(`${gateway.url}/v1/chat/completions`, {
        model: "plain",
        messages: messages("Hi"),
      });
      expect(status).toBe(200);
      const health = async () => ((await (await fetch(`${gateway.url}/health`)).json()) as { records: object }).records;
      await eventually(async () => ((await health()) as { status: string }).status === "failing");
      expect(await health()).toMatchObject({ waiting: 1, lost: 0, written: 0 });
      const rated = await post(`${gateway.url}/v1/feedback`, { id: body["id"], rating: "up" });
      expect(rated).toMatchObject({ status: 503, body: { error: { code: "records_unavailable" } } });
      expect(await (await fetch(`${gateway.url}/metrics`)).text()).toContain("icdpo_records_waiting 1");
      expect(await (await fetch(`${gateway.url}/status`)).text()).toContain("Records cannot be written, and wait");
      expect(gateway.log()).toContain("Records cannot be written");
    } finally {
      expect(await gateway.stop()).toBe(0);
    }
    expect(gateway.log()).toContain("1 records could not be written");
  });
});

describe("icdpo policies check", () => {
  it("is quiet about good files, and names file, line and field of bad ones", async () => {
    expect(await run("policies", "check")).toMatchObject({
      code: 0,
      stdout: "2 policies, 2 routes, 1 sets of demonstrations: all good\n",
    });
    await writeFile(path.join(folder, "policies/bad.yaml"), "score: { type: none }\ncandidates: 0\n");
    const { code, stdout } = await run("policies", "check", "--json");
    expect(code).toBe(1);
    expect(JSON.parse(stdout)).toMatchObject({
      ok: false,
      errors: [expect.stringMatching(/^policies\/bad\.yaml:2: candidates: /u)],
    });
  });
});
