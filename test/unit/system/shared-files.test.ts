/**
 * Files that several processes write, that a crash cuts short, and whose bytes go bad: nothing whole is lost, nothing
 * wrong is read, nothing hangs.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { appendFile, mkdir, mkdtemp, readdir, readFile, rm, truncate, utimes, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openJournal, writeLines } from "../../../src/demonstrations/demonstration-files.ts";
import type { Engine } from "../../../src/engine/engine.ts";
import { bm25Ranking } from "../../../src/retrieval/bm25.ts";
import { rememberEmbeddings } from "../../../src/retrieval/embedding-file.ts";
import { openArtifacts } from "../../../src/retrieval/index-files.ts";
import type { EmbeddingModel } from "../../../src/retrieval/retriever.ts";

const dimensions = 32;

/** A text's vector, by hash: whoever knows the text knows whether a vector is right. */
function vectorOf(text: string): Float32Array {
  const bytes = createHash("sha512").update(text).digest();
  return Float32Array.from({ length: dimensions }, (_, i) => bytes.readInt16LE(i * 2) / 32768);
}

const child = fileURLToPath(new URL("shared-files-child.mjs", import.meta.url));

let folder: string;
let children: ChildProcess[];
beforeEach(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "icdpo-shared-"));
  children = [];
});
afterEach(async () => {
  for (const one of children) one.kill("SIGKILL");
  await rm(folder, { recursive: true, force: true });
});

/** Begun, and how it ends. */
async function start(
  ...args: string[]
): Promise<{ process: ChildProcess; ended: Promise<unknown>; said: () => string }> {
  const process = spawn(globalThis.process.execPath, [child, ...args], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(process);
  let said = "";
  process.stdout?.on("data", (text) => {
    said += text;
  });
  const ended = once(process, "exit");
  await expect.poll(() => said).toContain("begun");
  return { process, ended, said: () => said };
}

/** An embedding model that counts what it computes. */
function counting(of = vectorOf): { model: EmbeddingModel; computed: () => number } {
  let computed = 0;
  const embed = async (texts: readonly string[]): Promise<Float32Array[]> => {
    computed += texts.length;
    return texts.map(of);
  };
  const embedCounted = async (texts: readonly string[]) =>
    (await embed(texts)).map((embedding) => ({ embedding, tokens: 1 }));
  const model = { model: "vectors", name: "vectors", embed, embedCounted, embedKept: embed };
  return { model, computed: () => computed };
}

/** Opens the folder anew and asks for texts: what each is, how many had to be computed, what was said. */
async function ask(texts: readonly string[], place = folder, of = vectorOf) {
  const { model, computed } = counting(of);
  const said: string[] = [];
  const kept = await rememberEmbeddings(model, place, (line) => said.push(line));
  const before = computed();
  const found = await kept.embedKept(texts);
  return { found, computed: computed() - before, said };
}

const small = (text: string): Float32Array => vectorOf(text).subarray(0, 2);

describe("embeddings in files", () => {
  it("of several processes are all there and right, also where one is killed in the middle of writing", async () => {
    const count = 1_500;
    const writers = await Promise.all(
      ["ann", "bob", "cid"].map((name) => start("embeddings", folder, name, String(count))),
    );
    writers[2]?.process.kill("SIGKILL");
    await Promise.all(writers.map(({ ended }) => ended));
    const texts = ["ann", "bob", "all"].flatMap((name) => Array.from({ length: count }, (_, i) => `${name} ${i}`));
    const { found, computed, said } = await ask(texts);
    expect(found).toEqual(texts.map(vectorOf));
    expect({ computed, said }).toEqual({ computed: 0, said: [] });
  });

  it("of other hosts are read as well", async () => {
    await ask(["one", "two"]);
    const [name = ""] = await readdir(folder);
    // Another host's file lies beside.
    await writeFile(
      path.join(folder, name.replace(/\.\w{8}\./u, ".00000000.")),
      await readFile(path.join(folder, name)),
    );
    await rm(path.join(folder, name));
    expect(await ask(["one", "two", "three"])).toMatchObject({ computed: 1, said: [] });
    expect(await readdir(folder)).toHaveLength(2);
  });

  it("are never wrong, whichever byte is, and only what it belongs to is computed anew", {
    timeout: 600_000,
  }, async () => {
    const texts = ["one", "two", "three"];
    await ask(texts, folder, small);
    const [name = ""] = await readdir(folder);
    const bytes = await readFile(path.join(folder, name));
    for (let at = 0; at < bytes.length; at++) {
      for (const change of [0x01, 0x80, 0xff]) {
        const place = path.join(folder, `${at}-${change}`);
        await mkdir(place);
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] as number) ^ change;
        await writeFile(path.join(place, name), damaged);
        const { found, computed, said } = await ask(texts, place, small);
        expect(found, `byte ${at}`).toEqual(texts.map(small));
        expect([computed, said.length], `byte ${at}`).toEqual([1, 1]);
        // What was computed anew is kept.
        if (at % 16 === 0) expect((await ask(texts, place, small)).computed).toBe(0);
        await rm(place, { recursive: true });
      }
    }
  });

  it("survive a cut at any place, rubbish of any length between them, and a file taken away while it is in use", async () => {
    const texts = ["one", "two", "three"];
    await ask(texts, folder, small);
    const [name = ""] = await readdir(folder);
    const file = path.join(folder, name);
    const bytes = await readFile(file);
    const record = bytes.length / texts.length;
    for (let length = 0; length < bytes.length; length += 5) {
      await writeFile(file, bytes);
      await truncate(file, length);
      const { found, computed } = await ask(texts, folder, small);
      expect(found).toEqual(texts.map(small));
      expect(computed).toBe(texts.length - Math.floor(length / record));
      expect((await ask(texts, folder, small)).computed).toBe(0);
    }
    for (const length of [1, 7, record - 1, record, record * 40, 3_000_000]) {
      const rubbish = Buffer.alloc(length, bytes.subarray(0, 11));
      await writeFile(
        file,
        Buffer.concat([rubbish, bytes.subarray(0, record), rubbish, bytes.subarray(record), rubbish]),
      );
      expect(await ask(texts, folder, small)).toMatchObject({ found: texts.map(small), computed: 0 });
    }
    const { model, computed } = counting(small);
    const kept = await rememberEmbeddings(model, folder, () => {});
    await rm(file);
    const before = computed();
    await kept.embedKept(["one", "four"]);
    expect(computed() - before).toBe(1);
    expect((await ask(["four"], folder, small)).computed).toBe(0);
  });

  it("of another model under the name, or of an earlier version, are not taken for this one's", async () => {
    await ask(["one"]);
    const [name = ""] = await readdir(folder);
    const other = { ...counting((text) => vectorOf(`other ${text}`)).model, model: "other" };
    const kept = await rememberEmbeddings(other, path.join(folder, "other"), () => {});
    await kept.embedKept(["two"]);
    const [otherName = ""] = await readdir(path.join(folder, "other"));
    await writeFile(path.join(folder, otherName), await readFile(path.join(folder, name)));
    const said: string[] = [];
    const mistaken = await rememberEmbeddings(other, folder, (line) => said.push(line));
    expect(await mistaken.embedKept(["one"])).toEqual([vectorOf("other one")]);
    const earlier = path.join(folder, `${name.split(".")[0]}.embeddings`);
    await writeFile(earlier, Buffer.alloc(16 + dimensions * 4, 1));
    expect((await ask(["one"])).said).toEqual([expect.stringContaining("earlier version")]);
    expect(await readdir(folder)).not.toContain(path.basename(earlier));
  });
});

const documents = ["a cat", "a dog", "a cat and a dog", "tea"].map((text, i) => ({
  id: String(i),
  messages: [{ role: "user" as const, content: text }],
  chosen: "yes",
}));
const words = {
  tokenize: async (texts: readonly string[]) => texts.map((text) => text.split(" ").map((word) => word.charCodeAt(0))),
} as unknown as Engine;

describe("indexes in files", () => {
  it("come back as they were written, or not at all, whichever byte is damaged", { timeout: 600_000 }, async () => {
    const said: string[] = [];
    const artifacts = openArtifacts(folder, (line) => said.push(line));
    const bytes = Uint8Array.from({ length: 64 }, (_, i) => i);
    await artifacts.put("key", bytes);
    const [name = ""] = await readdir(folder);
    const written = await readFile(path.join(folder, name));
    expect(new Uint8Array((await artifacts.get("key")) ?? [])).toEqual(bytes);
    for (let at = 0; at < written.length; at++) {
      const damaged = Buffer.from(written);
      damaged[at] = (damaged[at] as number) ^ 0x10;
      await writeFile(path.join(folder, name), damaged);
      expect(await artifacts.get("key"), `byte ${at}`).toBeUndefined();
      await writeFile(path.join(folder, name), written.subarray(0, at));
      expect(await artifacts.get("key"), `${at} bytes`).toBeUndefined();
    }
    expect(said).toHaveLength(2 * written.length);
    await appendFile(path.join(folder, name), Buffer.alloc(1_000));
    expect(await artifacts.get("key")).toBeUndefined();
    await artifacts.put("key", bytes);
    expect(new Uint8Array((await artifacts.get("key")) ?? [])).toEqual(bytes);
  });

  it("are written by several at once, whole, and what a killed writer left is removed in time", async () => {
    const artifacts = openArtifacts(folder, (line) => expect.fail(line));
    const abandoned = path.join(folder, "x.bin.0123.part");
    await writeFile(abandoned, "half");
    await utimes(abandoned, new Date(0), new Date(0));
    await writeFile(path.join(folder, "y.bin.0123.part"), "being written");
    const versions = Array.from({ length: 20 }, (_, i) => new Uint8Array(50_000).fill(i));
    await Promise.all(versions.map((bytes) => artifacts.put("key", bytes)));
    const found = (await artifacts.get("key")) as Uint8Array;
    expect(found).toHaveLength(50_000);
    expect(new Set(found).size).toBe(1);
    expect((await readdir(folder)).filter((name) => name.endsWith(".part"))).toEqual(["y.bin.0123.part"]);
  });

  it("of BM25 end every search, whatever their bytes are", async () => {
    let stored: Uint8Array | undefined;
    let built = 0;
    const source = {
      engine: words,
      source: "test",
      artifacts: {
        get: async () => stored && Uint8Array.from(stored),
        put: async (_: string, bytes: Uint8Array) => {
          built += 1;
          stored = bytes;
        },
      },
    };
    const best = async () => (await bm25Ranking(documents, source, 30))([{ role: "user", content: "cat" }], 4);
    const right = await best();
    const whole = stored as unknown as Uint8Array;
    for (let at = 0; at < whole.length; at++) {
      for (const change of [0x01, 0x40, 0xff]) {
        stored = Uint8Array.from(whole);
        stored[at] = (stored[at] as number) ^ change;
        for (const { index } of await best()) expect(index).toBeLessThan(documents.length);
      }
    }
    // Places outside of the index are seen before they are gone to.
    expect(built).toBeGreaterThan(whole.length / 8);
    stored = whole;
    expect(await best()).toEqual(right);
  });
});

describe("journals", () => {
  const read = async (file: string) => {
    const journal = await openJournal<{ text: string }>(file);
    await journal.close();
    return journal;
  };

  it("keep what several processes add, also where one is killed in the middle of it", async () => {
    const file = path.join(folder, "journal.jsonl");
    const writers = await Promise.all(["ann", "bob", "cid"].map((name) => start("journal", file, name, "200")));
    writers[2]?.process.kill("SIGKILL");
    // As if it had been killed in the middle of a line.
    await appendFile(file, '{"text":"cid');
    await Promise.all(writers.map(({ ended }) => ended));
    const { entries } = await read(file);
    const texts = new Set(entries.map(({ text }) => text.split(" ", 2).join(" ")));
    for (let i = 0; i < 200; i++) for (const name of ["ann", "bob"]) expect(texts).toContain(`${name} ${i}`);
  });

  it("say nothing that was not written, whichever byte is damaged", { timeout: 600_000 }, async () => {
    const file = path.join(folder, "journal.jsonl");
    const journal = await openJournal<{ text: string }>(file);
    const written = ["one", "twé", "three"].map((text) => ({ text, value: 12 }));
    for (const entry of written) await journal.add(entry);
    await journal.close();
    const bytes = await readFile(file);
    for (let at = 0; at < bytes.length; at++) {
      for (const change of [0x01, 0x02, 0x04, 0x20, 0x80]) {
        const damaged = Buffer.from(bytes);
        damaged[at] = (damaged[at] as number) ^ change;
        await writeFile(file, damaged);
        const { entries, damaged: count } = await read(file);
        expect(entries.length, `byte ${at}`).toBeGreaterThanOrEqual(1);
        for (const { text, value } of entries as typeof written) expect(written).toContainEqual({ text, value });
        if (entries.length < written.length) expect(count).toBeGreaterThan(0);
      }
    }
  });

  it("take lines of earlier versions, which have no hash", async () => {
    const file = path.join(folder, "journal.jsonl");
    await writeFile(file, '{"text":"old"}\nnull\n7\n{"text":"cut');
    const journal = await openJournal<{ text: string }>(file);
    expect(journal.entries).toEqual([{ text: "old" }]);
    await journal.add({ text: "new" });
    await journal.close();
    expect((await read(file)).entries).toEqual([{ text: "old" }, { text: "new" }]);
  });
});

it("files of lines are one writer's, whole, where several write them at once", async () => {
  const file = path.join(folder, "set.jsonl");
  const lines = (name: string) => Array.from({ length: 20_000 }, (_, i) => ({ name, i, text: "x".repeat(60) }));
  expect(await Promise.all(["ann", "bob", "cid"].map((name) => writeLines(file, lines(name))))).toEqual([
    20_000, 20_000, 20_000,
  ]);
  const found = (await readFile(file, "utf8")).trim().split("\n");
  expect(found).toHaveLength(20_000);
  expect(new Set(found.map((line) => JSON.parse(line).name)).size).toBe(1);
  expect(await readdir(folder)).toEqual(["set.jsonl"]);
});
