/** `icdpo demos`: import, teach and harvest, by the program itself. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cp, mkdir, mkdtemp, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Database } from "../../src/records/libsql-records.ts";
import { dataFolder, needing } from "../needs.ts";
import { sendJson, stubServer } from "../unit/stub-server.ts";
import { program } from "./gateway.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-demos-"));
  await mkdir(path.join(folder, "demos"));
});
afterEach(() => rm(folder, { recursive: true }));

const environment = (): NodeJS.ProcessEnv => ({
  ...process.env,
  ICDPO_DEMOS: path.join(folder, "demos"),
  ICDPO_DATABASE: path.join(folder, "records.db"),
});
const inFolder = (file: string): string => path.join(folder, file);
const writeJsonl = (file: string, rows: readonly unknown[]): void =>
  writeFileSync(inFolder(file), rows.map((row) => `${typeof row === "string" ? row : JSON.stringify(row)}\n`).join(""));
const readJsonl = (file: string) =>
  readFileSync(inFolder(file), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));

function run(...args: string[]): { code: number | null; stdout: string; stderr: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    encoding: "utf8",
    env: environment(),
  });
  return { code: status, stdout, stderr };
}

describe("icdpo demos import", () => {
  it("knows each format by its fields, and says what was dropped and why", () => {
    const hh = (prompt: string, chosen: string, rejected: string) => ({
      chosen: `${prompt}\n\nAssistant: ${chosen}`,
      rejected: `${prompt}\n\nAssistant: ${rejected}`,
    });
    const user = (content: string) => ({ role: "user", content });
    const assistant = (content: string) => ({ role: "assistant", content });
    writeJsonl("mixed.jsonl", [
      hh("\n\nHuman: Hi\n\nAssistant: Hello.\n\nHuman: How are you?", "Fine, thanks.", "Go away."),
      { prompt: "Name a colour.", chosen: "Blue.", rejected: "No." },
      { messages: [user("Two and two?"), assistant("Four.")] },
      {
        input: { messages: [user("Best pet?")] },
        preferred_output: [assistant("It depends.")],
        non_preferred_output: [assistant("Mine.")],
      },
      { id: "own", messages: [user("Own?")], chosen: "Yes.", rejected: "No." },
      "not json",
      { something: "else" },
      hh("\n\nHuman: Hi", "Same.", "Same."),
      { prompt: "Name a colour.", chosen: "Blue.", rejected: "No." },
      { chosen: "\n\nHuman: A\n\nAssistant: x", rejected: "\n\nHuman: B\n\nAssistant: y" },
      { prompt: "word ".repeat(200), chosen: "x", rejected: "y" },
      { prompt: "Long answer?", chosen: "word ".repeat(300), rejected: "y" },
      { messages: [{ role: "system", content: "Be brief." }, user("Hi"), assistant("Hi.")] },
      hh("\n\nHuman: Hi", "Hello.\n\nHuman: Thanks", "What."),
    ]);
    writeFileSync(inFolder("mixed.jsonl.gz"), gzipSync(readFileSync(inFolder("mixed.jsonl"))));
    const { code, stdout, stderr } = run("demos", "import", inFolder("mixed.jsonl.gz"), "--json");
    expect(code, stderr).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      lines: 14,
      kept: 6,
      dropped: {
        "the transcript ends with a Human turn": 1,
        "not JSON": 1,
        "of no known format": 1,
        "both responses are the same": 1,
        "stands on an earlier line as well": 1,
        "the two responses have different prompts": 1,
        "the prompt has more than 128 tokens": 1,
        "a response has more than 200 tokens": 1,
      },
    });
    const set = readJsonl("demos/mixed.jsonl");
    expect(set[0]).toEqual({
      id: "mixed-1",
      messages: [user("Hi"), assistant("Hello."), user("How are you?")],
      chosen: "Fine, thanks.",
      rejected: "Go away.",
      source: "mixed.jsonl.gz",
    });
    expect(set[2]).toMatchObject({ chosen: "Four." });
    expect(set[5]).toMatchObject({ messages: [user("Be brief.\n\nHi")], chosen: "Hi." });
    const dropped = run("demos", "import", inFolder("mixed.jsonl.gz"), "--set", "bare", "--drop-system");
    expect(dropped.code, dropped.stderr).toBe(0);
    expect(readJsonl("demos/bare.jsonl")[5]).toMatchObject({ messages: [user("Hi")], chosen: "Hi." });
    expect(run("demos", "show", "mixed").stdout).toContain("demonstrations: 6");
    expect(run("demos", "show", "mixed", "mixed-1").stdout).toContain("+ Fine, thanks.");
  });

  it("takes HH-RLHF's harmless dev pairs", needing("data"), () => {
    const { code, stdout, stderr } = run(
      "demos",
      "import",
      path.join(dataFolder ?? "", "hh-rlhf-harmless-base-dev.jsonl.gz"),
      "--set",
      "hh",
      "--json",
    );
    expect(code, stderr).toBe(0);
    const report = JSON.parse(stdout);
    expect(report.lines).toBe(
      report.kept + Object.values<number>(report.dropped).reduce((sum, number) => sum + number, 0),
    );
    expect(report).toMatchObject({
      lines: 1300,
      kept: 1291,
      dropped: { "the prompt has more than 320 tokens": 3, "a response has more than 128 tokens": 6 },
    });
  });
});

/** A teacher that counts what it is asked, and can be told to answer no more for a while. */
async function startTeacher() {
  const asked: { prompt: string; key: string | undefined }[] = [];
  const held: (() => void)[] = [];
  let most = Number.POSITIVE_INFINITY;
  let failures = 0;
  const server: Server = createServer((request, response) => {
    let body = "";
    request.on("data", (part) => {
      body += part;
    });
    request.on("end", () => {
      const { messages } = JSON.parse(body) as { messages: { content: string }[] };
      const prompt = messages.at(-1)?.content ?? "";
      if (prompt.includes("forbidden")) {
        asked.push({ prompt, key: undefined });
        response
          .writeHead(400, { "content-type": "application/json" })
          .end('{"error":{"message":"not this one","code":"content_filter"}}');
        return;
      }
      if (prompt.includes("endless")) {
        asked.push({ prompt, key: undefined });
        response.writeHead(400, { "content-type": "application/json" }).end('{"error":{"message":"too many tokens"}}');
        return;
      }
      // Each fifth call fails first, as busy services do.
      if (asked.length % 5 === 4 && failures < 5) {
        failures += 1;
        asked.push({ prompt: "failed", key: undefined });
        response
          .writeHead(429, { "content-type": "application/json", "retry-after-ms": "10" })
          .end('{"error":{"message":"busy"}}');
        return;
      }
      asked.push({ prompt, key: request.headers["idempotency-key"] as string | undefined });
      const answer = (): void => {
        response.writeHead(200, { "content-type": "application/json" }).end(
          JSON.stringify({
            id: "x",
            object: "chat.completion",
            choices: [
              { index: 0, finish_reason: "stop", message: { role: "assistant", content: `Taught: ${prompt}` } },
            ],
            usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
          }),
        );
      };
      if (asked.length > most) held.push(answer);
      else answer();
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return {
    url,
    asked,
    answered: () => asked.filter(({ prompt }) => prompt !== "failed"),
    /** Whatever is asked after so many calls waits. */
    holdAfter(calls: number) {
      most = calls;
    },
    release() {
      most = Number.POSITIVE_INFINITY;
      for (const answer of held.splice(0)) answer();
    },
    close: () => server.close(),
  };
}

describe("icdpo demos teach", () => {
  const prompts = Array.from({ length: 40 }, (_, i) => ({
    id: `p${i}`,
    messages: [{ role: "user", content: `Question ${i}?` }],
    chosen: `Old answer ${i}.`,
  }));

  function start(url: string, ...more: string[]): ChildProcess {
    const args = [
      "demos",
      "teach",
      inFolder("prompts.jsonl"),
      "--set",
      "taught",
      "--base-url",
      url,
      "--model",
      "teacher",
      "--concurrency",
      "3",
    ];
    return spawn(process.execPath, [program, ...args, ...more], {
      env: environment(),
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  it("is complete after being ended twice, with no demonstration twice and no call repeated", async () => {
    writeJsonl("prompts.jsonl", prompts);
    const teacher = await startTeacher();
    for (const until of [8, 20]) {
      teacher.holdAfter(until + 1);
      const child = start(teacher.url);
      await expect.poll(() => teacher.asked.length).toBeGreaterThan(until + 1);
      child.kill("SIGTERM");
      teacher.release();
      const [code] = await once(child, "exit");
      expect(code).toBe(130);
      expect(existsSync(inFolder("demos/taught.jsonl"))).toBe(false);
    }
    const child = start(teacher.url);
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    const set = readJsonl("demos/taught.jsonl");
    expect(set.map(({ id }) => id)).toEqual(prompts.map(({ id }) => id));
    expect(set[7]).toEqual({
      id: "p7",
      messages: prompts[7]?.messages,
      chosen: "Taught: Question 7?",
      rejected: "Old answer 7.",
      source: "teacher",
    });
    expect(
      teacher
        .answered()
        .map(({ prompt }) => prompt)
        .toSorted(),
    ).toEqual(prompts.map(({ messages }) => messages[0]?.content).toSorted());
    expect(existsSync(inFolder("demos/taught.jsonl.journal"))).toBe(false);
    teacher.close();
  });

  it("repeats nothing that was answered when it is killed outright; what was under way carries the same idempotency key", async () => {
    writeJsonl("prompts.jsonl", prompts);
    const teacher = await startTeacher();
    for (const until of [8, 20]) {
      teacher.holdAfter(until + 1);
      const child = start(teacher.url);
      await expect.poll(() => teacher.asked.length).toBeGreaterThan(until + 1);
      child.kill("SIGKILL");
      await once(child, "exit");
      teacher.release();
    }
    const noted = readFileSync(inFolder("demos/taught.jsonl.journal"), "utf8")
      .split("\n")
      .filter((line) => line !== "").length;
    const before = teacher.answered().length;
    expect(before - noted).toBeLessThanOrEqual(2 * 3);
    const [code] = await once(start(teacher.url), "exit");
    expect(code).toBe(0);
    expect(new Set(readJsonl("demos/taught.jsonl").map(({ id }) => id)).size).toBe(40);
    const keys = new Map<string, Set<string | undefined>>();
    for (const { prompt, key } of teacher.answered()) keys.set(prompt, (keys.get(prompt) ?? new Set()).add(key));
    for (const of of keys.values()) expect([...of]).toEqual([expect.stringMatching(/^icdpo-p\d+-[\da-f]{12}$/u)]);
    expect(teacher.answered().length).toBeLessThanOrEqual(40 + 2 * 3);
    teacher.close();
  });

  it("goes on where the endpoint refuses a prompt, and writes over nothing unless that is meant", async () => {
    writeJsonl("prompts.jsonl", [
      ...prompts.slice(0, 2),
      { id: "no", messages: [{ role: "user", content: "A forbidden thing." }] },
    ]);
    const teacher = await startTeacher();
    const child = start(teacher.url);
    let said = "";
    child.stdout?.on("data", (text) => {
      said += text;
    });
    const [code] = await once(child, "close");
    expect(code).toBe(0);
    expect(said).toContain("dropped 1: the endpoint refused the prompt");
    expect(readJsonl("demos/taught.jsonl").map(({ id }) => id)).toEqual(["p0", "p1"]);
    const before = teacher.asked.length;
    expect((await once(start(teacher.url), "exit"))[0]).toBe(1);
    expect(teacher.asked.length).toBe(before);
    expect((await once(start(teacher.url, "--force"), "exit"))[0]).toBe(0);
    teacher.close();
  });

  it("stops where the endpoint refuses a call for another reason, with its words; the rest is kept", async () => {
    writeJsonl("prompts.jsonl", [
      ...prompts.slice(0, 2),
      { id: "no", messages: [{ role: "user", content: "An endless thing." }] },
    ]);
    const teacher = await startTeacher();
    const child = start(teacher.url);
    let said = "";
    child.stderr?.on("data", (text) => {
      said += text;
    });
    expect((await once(child, "close"))[0]).toBe(1);
    expect(said).toContain('400 "too many tokens"');
    expect(said).toContain("What was answered is kept");
    expect(existsSync(inFolder("demos/taught.jsonl"))).toBe(false);
    teacher.close();
  }, 60_000);

  it("writes no set without a demonstration in it", async () => {
    writeJsonl("prompts.jsonl", [{ id: "no", messages: [{ role: "user", content: "A forbidden thing." }] }]);
    const teacher = await startTeacher();
    expect((await once(start(teacher.url), "close"))[0]).toBe(1);
    expect(existsSync(inFolder("demos/taught.jsonl"))).toBe(false);
    teacher.close();
  }, 60_000);

  it("can take the gateway's own model for the worse answers", async () => {
    writeJsonl("prompts.jsonl", prompts.slice(0, 2));
    await cp(fileURLToPath(new URL("../../demos/everyday.jsonl", import.meta.url)), inFolder("demos/everyday.jsonl"));
    const teacher = await startTeacher();
    const [code] = await once(start(teacher.url, "--rejected", "base"), "exit");
    expect(code).toBe(0);
    for (const { chosen, rejected } of readJsonl("demos/taught.jsonl")) {
      expect(chosen).toMatch(/^Taught: /u);
      expect(rejected).not.toMatch(/^(?:Old answer|Taught|$)/u);
    }
    teacher.close();
  });

  it("can keep the data's rejected responses, and asks nothing where one is missing", async () => {
    const pair = { prompt: "Name a colour.", chosen: "Blue.", rejected: "No." };
    writeJsonl("prompts.jsonl", [pair, prompts[0]]);
    const teacher = await startTeacher();
    const child = start(teacher.url, "--rejected", "kept");
    let said = "";
    child.stderr?.on("data", (text) => {
      said += text;
    });
    expect((await once(child, "close"))[0]).toBe(1);
    expect(said).toContain("prompts.jsonl:2: has no rejected response");
    expect(teacher.asked).toEqual([]);
    writeJsonl("prompts.jsonl", [pair]);
    expect((await once(start(teacher.url, "--rejected", "kept"), "exit"))[0]).toBe(0);
    expect(readJsonl("demos/taught.jsonl")).toMatchObject([{ chosen: "Taught: Name a colour.", rejected: "No." }]);
    teacher.close();
  });

  it("says what it would cost before it is asked to", async () => {
    writeJsonl("prompts.jsonl", prompts);
    const { code, stdout } = run(
      "demos",
      "teach",
      inFolder("prompts.jsonl"),
      "--set",
      "t",
      "--model",
      "m",
      "--dry-run",
      "--output-price",
      "10",
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/^40 of 40 prompts would be asked, about \d+ prompt tokens, at most 0\.2048\n$/u);
    expect(existsSync(inFolder("demos/t.jsonl"))).toBe(false);
  });

  it("needs a key where the endpoint is not on this machine", () => {
    writeJsonl("prompts.jsonl", prompts);
    const { code, stderr } = run(
      "demos",
      "teach",
      inFolder("prompts.jsonl"),
      "--set",
      "t",
      "--model",
      "m",
      "--key-variable",
      "NO_SUCH_KEY",
    );
    expect(code).toBe(1);
    expect(stderr).toContain("set NO_SUCH_KEY");
  });
});

describe("icdpo demos negatives", () => {
  const set = Array.from({ length: 12 }, (_, i) => ({
    id: `d${i}`,
    messages: [{ role: "user", content: `Question ${i}?` }],
    chosen: `Good ${i}.`,
    rejected: `Written ${i}.`,
    source: "mine",
  }));

  /** A service that answers as often as it is asked to, and can be told to wait. */
  async function startService(answers: (prompt: string, index: number) => string) {
    let most = Number.POSITIVE_INFINITY;
    const held: (() => void)[] = [];
    const server = await stubServer(({ body }, response) => {
      const prompt = body.messages.at(-1).content as string;
      const choices = Array.from({ length: body.n ?? 1 }, (_, index) => ({
        index,
        finish_reason: "stop",
        message: { role: "assistant", content: answers(prompt, index) },
      }));
      const send = () => sendJson(response, { object: "chat.completion", choices });
      if (server.requests.length > most) held.push(send);
      else send();
    });
    writeFileSync(
      inFolder("engines.yaml"),
      `engines: { service: { type: openai, urls: ["${server.url}"], model: plain } }\n`,
    );
    return {
      asked: () => server.requests.map(({ body }) => body.messages.at(-1).content as string),
      requests: server.requests,
      holdAfter(calls: number) {
        most = calls;
      },
      release() {
        most = Number.POSITIVE_INFINITY;
        for (const send of held.splice(0)) send();
      },
      close: server.kill,
    };
  }

  const start = (...more: string[]) =>
    spawn(process.execPath, [program, "demos", "negatives", "mine", "--concurrency", "3", ...more], {
      env: { ...environment(), ICDPO_ENGINES: inFolder("engines.yaml") },
      stdio: ["ignore", "pipe", "pipe"],
    });
  const ended = async (child: ChildProcess) => {
    let said = "";
    for (const stream of [child.stdout, child.stderr])
      stream?.on("data", (text) => {
        said += text;
      });
    const [code] = await once(child, "close");
    return { code, said };
  };

  it.each(["SIGTERM", "SIGKILL"] as const)(
    "writes near negatives beside what is written, and answers no prompt twice after %s",
    async (signal) => {
      writeJsonl("demos/mine.jsonl", set);
      const service = await startService((prompt, index) => `Answer ${index} to ${prompt}`);
      const more = ["--engine", "service", "--samples", "2", "--output", inFolder("demos/near.jsonl")];
      for (const until of [4, 8]) {
        service.holdAfter(until);
        const child = start(...more);
        await expect.poll(() => service.requests.length).toBeGreaterThan(until);
        child.kill(signal);
        if (signal === "SIGTERM") service.release();
        const [code] = await once(child, "exit");
        service.release();
        expect(code).toBe(signal === "SIGTERM" ? 130 : null);
        expect(existsSync(inFolder("demos/near.jsonl"))).toBe(false);
      }
      const { code, said } = await ended(start(...more));
      expect(code, said).toBe(0);
      expect(said).toContain("12 demonstrations in ");
      expect(said).toContain("24 near negatives, 0 of them cut off");
      expect(readJsonl("demos/near.jsonl")).toEqual(
        set.map((one, i) => ({
          ...one,
          near: [0, 1].map((index) => `Answer ${index} to Question ${i}?`),
        })),
      );
      expect(existsSync(inFolder("demos/near.jsonl.journal"))).toBe(false);
      const asked = service.asked();
      expect(new Set(asked).size).toBe(set.length);
      // Killed outright, what was under way is lost: three at a time at most.
      expect(asked.length).toBeLessThanOrEqual(signal === "SIGTERM" ? set.length : set.length + 2 * 3);
      service.close();
    },
  );

  it("writes over the set itself only where that is meant, and over its rejected responses where that is asked", async () => {
    writeJsonl("demos/mine.jsonl", set);
    const service = await startService((prompt) => `Answer to ${prompt}`);
    const asRejected = ["--engine", "service", "--as", "rejected"];
    const refused = await ended(start(...asRejected));
    expect(refused.code).toBe(1);
    expect(refused.said).toContain("write over it with --force");
    for (const [option, value, complaint] of [
      ["--samples", "2", "--as rejected takes one sample"],
      ["--limit", "3", "name another file with --output"],
    ] as const)
      expect((await ended(start(...asRejected, option, value, "--force"))).said).toContain(complaint);
    expect((await ended(start("--samples", "17", "--force"))).said).toContain("16 near negatives at most");
    expect(service.requests).toEqual([]);
    expect(readJsonl("demos/mine.jsonl")).toEqual(set);
    expect((await ended(start(...asRejected, "--force"))).code).toBe(0);
    expect(readJsonl("demos/mine.jsonl")).toEqual(
      set.map((one, i) => ({ ...one, rejected: `Answer to Question ${i}?` })),
    );
    service.close();
  });

  it("leaves a demonstration as it is where no answer can be used, and writes nothing where that is so of all", async () => {
    writeJsonl("demos/mine.jsonl", set.slice(0, 2));
    const service = await startService((prompt) => (prompt === "Question 0?" ? "Good 0." : "Well."));
    const output = ["--engine", "service", "--output", inFolder("demos/near.jsonl")];
    const { code, said } = await ended(start(...output));
    expect(code).toBe(0);
    expect(said).toContain("nothing that was said can be used for 1: d0");
    expect(readJsonl("demos/near.jsonl")).toEqual([set[0], { ...set[1], near: ["Well."] }]);
    const none = await ended(start(...output, "--limit", "1", "--force"));
    expect(none.code).toBe(1);
    expect(none.said).toContain("No answer can be used");
    expect(readJsonl("demos/near.jsonl")).toHaveLength(2);
    service.close();
  });

  it("has the default model answer, which a policy can be scored against then", async () => {
    writeJsonl("demos/mine.jsonl", set);
    const { code, stdout, stderr } = run(
      ...["demos", "negatives", "mine", "--max-tokens", "24", "--limit", "2", "--output", inFolder("demos/near.jsonl")],
    );
    expect(code, stderr).toBe(0);
    expect(stdout).toContain("2 demonstrations in ");
    expect(run("demos", "show", "near").stdout).toContain("with_near: 2");
    for (const { near } of readJsonl("demos/near.jsonl")) expect(near[0]).toMatch(/\S/u);
  });
});

describe("icdpo demos embed", () => {
  it("computes a set's embeddings, and says how many", () => {
    writeJsonl("demos/small.jsonl", [{ id: "a", messages: [{ role: "user", content: "One?" }], chosen: "Yes." }]);
    const { code, stdout, stderr } = run("demos", "embed", "small");
    expect(code, stderr).toBe(0);
    expect(stdout).toMatch(/^1 prompts embedded in /u);
    expect(run("demos", "embed", "gone").stderr).toContain("cannot be read");
  });
});

describe("icdpo demos harvest", () => {
  it("has the teacher answer what was rated badly, with the answer that was given as rejected", async () => {
    const database = await Database.open({ url: `file:${inFolder("records.db")}` });
    const at = Date.now();
    const row = (id: string, question: string) => ({
      id,
      at,
      route: "icdpo",
      policy: "everyday@1",
      experiment: null,
      arm: null,
      unit: null,
      shares: null,
      user: null,
      key: null,
      latencyMs: 1,
      promptTokens: 1,
      completionTokens: 1,
      workTokens: 1,
      candidates: 1,
      score: null,
      margin: null,
      finish: "stop",
      fallback: null,
      error: null,
      texts: {
        request: JSON.stringify([
          { role: "system", content: "Be kind." },
          { role: "user", content: question },
        ]),
        answers: JSON.stringify([{ content: `Poor answer to ${question}`, toolCalls: [] }]),
      },
    });
    await database.write([row("bad", "Why?"), row("good", "How?"), row("unrated", "When?")], []);
    for (const [answer, value] of [
      ["bad", 0],
      ["good", 1],
    ] as const)
      await database.feedback({ answer, metric: "rating", value, comment: null, at }, null, 7);
    database.close();
    const teacher = await startTeacher();
    const child = spawn(
      process.execPath,
      [
        program,
        "demos",
        "harvest",
        "--output",
        inFolder("review.jsonl"),
        "--base-url",
        teacher.url,
        "--model",
        "teacher",
      ],
      {
        env: environment(),
        stdio: ["ignore", "inherit", "inherit"],
      },
    );
    const [code] = await once(child, "exit");
    expect(code).toBe(0);
    expect(readJsonl("review.jsonl")).toEqual([
      {
        id: "bad",
        messages: [{ role: "user", content: "Why?" }],
        chosen: "Taught: Why?",
        rejected: "Poor answer to Why?",
        source: "teacher",
      },
    ]);
    teacher.close();
  });
});
