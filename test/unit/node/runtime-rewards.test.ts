/** Reward models as Node opens them: from the engines file that the settings name, to a server's answer. */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { openModels } from "../../../src/node/runtime.ts";
import { readSettings } from "../../../src/node/settings.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { ScriptedEngine } from "../scripted-engine.ts";
import { type StubServer, sendJson, stubServer } from "../stub-server.ts";

let folder: string;
let judge: StubServer;
let answered = 200;

beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "rewards-"));
  answered = 200;
  judge = await stubServer((_, response) => sendJson(response, { reward: 3.5 }, answered));
});
afterEach(async () => {
  judge.kill();
  await rm(folder, { recursive: true });
});

async function open(definition = `{ type: http, urls: ["${judge.url}/judge"], retries: 0 }`) {
  const file = path.join(folder, "engines.yaml");
  await writeFile(file, `engines: {}\nrewards:\n  judge: ${definition}\n`);
  const said: string[] = [];
  const settings = readSettings({ ICDPO_ENGINES: file, ICDPO_CACHE: folder }, folder);
  const models = await openModels(settings, (line) => void said.push(line));
  const files = {
    policies: new Map(["a", "b"].map((name) => [name, "score: { type: reward, model: judge }\n"])),
    routes: "routes: { a: { policy: a }, b: { policy: b } }",
    demonstrations: new Map(),
  };
  try {
    const set = await buildPolicySet(files, { ...models, engines: onlyEngine(new ScriptedEngine()) });
    return { models, set, said };
  } catch (error) {
    await models.close();
    throw error;
  }
}

it("are one for all policies that name it, and called when a request needs it", async () => {
  const { models, set } = await open();
  try {
    const reward = set.policies.get("a")?.reward;
    expect(set.policies.get("b")?.reward).toBe(reward);
    expect(judge.requests).toEqual([]);
    expect(await reward?.reward([{ role: "user", content: "Why?" }], "Because.")).toBe(3.5);
  } finally {
    await models.close();
  }
});

it("are named to who runs the gateway where their server is ill", async () => {
  const { models, set, said } = await open();
  try {
    answered = 503;
    const asked = set.policies.get("a")?.reward?.reward([{ role: "user", content: "Why?" }], "Because.");
    await expect(asked).rejects.toMatchObject({ code: "engine_unavailable", isFinal: true });
    expect(said).toContainEqual(expect.stringContaining("reward judge: engine: "));
  } finally {
    await models.close();
  }
});

it("of files are named where the file is missing, whatever the model that samples", async () => {
  await expect(open("{ type: llama, model: missing.gguf }")).rejects.toMatchObject({
    code: "model_unavailable",
    message: expect.stringMatching(/^reward judge: The model .*missing\.gguf cannot be used: there is no such file/u),
  });
});
