/** Policies that change while requests are answered. */

import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { schemaText } from "../../../src/commands/policies-command.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { PolicyBuilder } from "../../../src/policy/build.ts";
import { PolicyFolder } from "../../../src/policy/policy-files.ts";
import { PolicyStore } from "../../../src/policy/policy-store.ts";
import { watchPolicies } from "../../../src/policy/policy-watcher.ts";
import { GatewayError } from "../../../src/types/error.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { gateway, json } from "../scripted-gateway.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-policies-"));
  await mkdir(path.join(folder, "policies"));
  await mkdir(path.join(folder, "demos"));
});
afterEach(() => rm(folder, { recursive: true }));

const write = (file: string, text: string) => writeFile(path.join(folder, file), text);
const demonstration = (id: string) =>
  `${JSON.stringify({ id, messages: [{ role: "user", content: id }], chosen: `${id}, well`, rejected: `${id}, badly` })}\n`;

async function open(engine = new ScriptedEngine()) {
  const files = new PolicyFolder({
    policies: path.join(folder, "policies"),
    demonstrations: path.join(folder, "demos"),
  });
  const builder = new PolicyBuilder({
    engines: onlyEngine(engine),
    embedder: () => Promise.reject(new Error("not needed")),
  });
  const store = await PolicyStore.open({
    read: () => files.read(),
    build: (read) => builder.build(read),
    retain: () => {},
    unixTime: () => 1,
  });
  return { store, files, engine };
}

describe("policies that change", () => {
  /** The answer tells which instruction and which number of candidates it was made under: they must belong together. */
  const version = (i: number) =>
    `candidates: ${2 + (i % 5)}\ninstructions: { positive: "Version ${i}.", negative: "No." }\nscore: { type: contrast, negative: rejected }\n`;

  it("are whole for each of 10,000 requests while they are rewritten 200 times, every tenth time badly", {
    timeout: 300_000,
  }, async () => {
    await write("policies/routes.yaml", "routes: { icdpo: { policy: live } }\n");
    await write("policies/live.yaml", version(0));
    const { store } = await open(
      new ScriptedEngine({ sample: (_, context) => ({ text: /Version \d+/u.exec(context)?.[0] ?? "none" }) }),
    );
    const versions = new Map<string, number>();
    const remember = (i: number) => versions.set(store.current.policies.get("live")?.id ?? "", i);
    remember(0);
    const { chat } = await gateway({}, { policies: () => store.current, policyState: () => store.state });
    const rewrite = async (i: number): Promise<void> => {
      const isBad = i % 10 === 0;
      const before = store.current;
      await write("policies/live.yaml", isBad ? `${version(i)}shots: many\n` : version(i));
      const complaint = await store.reload();
      if (isBad) {
        expect(complaint).toMatch(/^policies\/live\.yaml:4: shots: /u);
        expect(store.current).toBe(before);
      } else {
        expect(complaint).toBeNull();
        remember(i);
      }
    };
    const answers: { id: string | null; content: string; candidates: number }[] = [];
    let [asked, rewritten] = [0, 0];
    let writing = Promise.resolve();
    const ask = async (): Promise<void> => {
      while (asked < 10_000) {
        asked += 1;
        // One client writes; the other seven go on meanwhile.
        if (asked % 50 === 0) {
          rewritten += 1;
          const i = rewritten;
          writing = writing.then(() => rewrite(i));
          await writing;
        }
        const response = await chat({ icdpo: { explain: true } });
        expect(response.status).toBe(200);
        const { choices, icdpo } = await json(response);
        const id = response.headers.get("x-icdpo-policy");
        expect(icdpo.policy).toBe(id);
        answers.push({ id, content: choices[0].message.content, candidates: icdpo.candidates.length });
      }
    };
    await Promise.all(Array.from({ length: 8 }, ask));
    expect(answers).toHaveLength(10_000);
    for (const { id, content, candidates } of answers) {
      const i = versions.get(id ?? "") ?? Number.NaN;
      expect({ content, candidates }).toEqual({ content: `Version ${i}`, candidates: 2 + (i % 5) });
    }
    expect(rewritten).toBe(200);
    expect(store.state.reloads).toBe(180);
    expect(new Set(answers.map(({ id }) => id)).size).toBeGreaterThan(150);
  });

  it("are noticed by themselves, with what is wrong with them and when they are whole again", async () => {
    await write("policies/routes.yaml", "routes: { r: { policy: p } }\n");
    await write("policies/p.yaml", "score: { type: none }\n");
    const { store, files } = await open();
    const first = store.current;
    const said: string[] = [];
    const watcher = watchPolicies(store, files, 10, (line) => said.push(line));
    await write("policies/p.yaml", "score: { type: nome }\n");
    await expect.poll(() => store.state.error?.message).toMatch(/^policies\/p\.yaml:2?1?: score/u);
    expect(store.current).toBe(first);
    await write("policies/p.yaml", "candidates: 4\nscore: { type: none }\n");
    await expect.poll(() => store.state).toMatchObject({ error: null, reloads: 1 });
    expect(store.current.routes.get("r")?.policy.settings.candidates).toBe(4);
    await rm(path.join(folder, "policies/routes.yaml"));
    await expect.poll(() => store.state.error?.message).toMatch(/routes\.yaml is missing/u);
    await watcher.close();
    expect(said).toEqual([
      expect.stringContaining("not in force"),
      "policies reloaded",
      expect.stringContaining("is missing"),
    ]);
  });

  it("are tried again without an edit where an engine was away, and not where the files are wrong", async () => {
    await write("policies/routes.yaml", "routes: { r: { policy: p } }\n");
    await write("policies/p.yaml", "score: { type: none }\n");
    const engine = new ScriptedEngine();
    const { store, files } = await open(engine);
    const said: string[] = [];
    const watcher = watchPolicies(store, files, 10, (line) => said.push(line));
    const info = engine.info.bind(engine);
    let asked = 0;
    engine.info = async () => {
      if (++asked <= 4) throw new GatewayError("engine_unavailable", "The server is away.");
      return info();
    };
    await write("policies/p.yaml", "candidates: 4\nscore: { type: none }\n");
    await expect.poll(() => store.state).toMatchObject({ error: null, reloads: 1 });
    expect(asked).toBeGreaterThan(4);
    expect(store.current.routes.get("r")?.policy.settings.candidates).toBe(4);

    const build = vi.spyOn(store, "reload");
    await write("policies/p.yaml", "score: { type: nome }\n");
    await expect.poll(() => store.state.error).toMatchObject({ mayPass: false });
    await new Promise((resolve) => setTimeout(resolve, 100)); // ten more looks
    expect(build).toHaveBeenCalledTimes(1);
    await watcher.close();
    expect(said).toEqual([
      expect.stringContaining("The server is away.\nThey are"),
      "policies reloaded",
      expect.stringMatching(/policies\/p\.yaml.*score/su),
    ]);
  });

  it("take a new set of demonstrations, and index no other one again", async () => {
    await write("policies/routes.yaml", "routes: { r: { policy: p }, s: { policy: q } }\n");
    for (const [name, set] of [
      ["p", "one"],
      ["q", "two"],
    ])
      await write(
        `policies/${name}.yaml`,
        `demonstrations: ${set}\nretriever: { type: bm25 }\nscore: { type: likelihood }\n`,
      );
    await write("demos/one.jsonl", demonstration("a"));
    await write("demos/two.jsonl", demonstration("b"));
    const engine = new ScriptedEngine();
    const tokenised: string[] = [];
    const tokenize = engine.tokenize.bind(engine);
    engine.tokenize = (texts) => {
      tokenised.push(...texts);
      return tokenize(texts);
    };
    const { store } = await open(engine);
    const before = store.current;
    expect(tokenised.toSorted()).toEqual(["a", "b"]);
    await write("demos/one.jsonl", demonstration("a") + demonstration("c"));
    expect(await store.reload()).toBeNull();
    expect(tokenised.toSorted()).toEqual(["a", "a", "b", "c"]);
    expect(store.current.policies.get("p")?.id).not.toBe(before.policies.get("p")?.id);
    expect(store.current.policies.get("q")?.id).toBe(before.policies.get("q")?.id);
    expect(store.current.policies.get("p")?.demonstrations.map(({ id }) => id)).toEqual(["a", "c"]);
  });

  it("complain about every file at once", async () => {
    await write("policies/routes.yaml", "routes: { r: { policy: gone } }\n");
    await write("policies/p.yaml", "score: { type: none }\nshots: 0\n");
    await write("policies/q.yaml", "demonstrations: gone\nretriever: { type: random }\nscore: { type: likelihood }\n");
    const error = await open().catch((reason: Error) => reason);
    expect((error as Error).message.split("\n")).toEqual([
      expect.stringMatching(/^policies\/p\.yaml:2: shots: /u),
      expect.stringMatching(/^policies\/q\.yaml:1: demonstrations: there is no demos\/gone\.jsonl$/u),
      expect.stringMatching(/^policies\/routes\.yaml:1: routes\.r\.policy: there is no policy "gone"/u),
    ]);
  });
});

describe("the schemas for editors", () => {
  it.each(["policy", "routes", "engines"] as const)("are those that are checked: %s", async (kind) => {
    const { readFile } = await import("node:fs/promises");
    expect(await readFile(new URL(`../../../policies/${kind}.schema.json`, import.meta.url), "utf8")).toBe(
      schemaText(kind),
    );
  });
});
