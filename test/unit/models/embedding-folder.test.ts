/** Embedding models that users bring: on the disk, and from a hub that a test plays. */
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { embeddingFolder, type Pooling } from "../../../src/models/embedding-folder.ts";
import type { ModelStoreOptions } from "../../../src/models/model-store.ts";

let directory: string;
beforeEach(async () => {
  directory = await mkdtemp(path.join(tmpdir(), "embedding-folder-"));
});
afterEach(() => rm(directory, { recursive: true }));

const json = ["config.json", "tokenizer.json", "tokenizer_config.json"];
const pooling = "1_Pooling/config.json";
const by = (...modes: readonly string[]) => JSON.stringify(Object.fromEntries(modes.map((mode) => [mode, true])));

async function write(...files: readonly (string | readonly [name: string, text: string])[]): Promise<string> {
  const folder = path.join(directory, "own");
  for (const file of files) {
    const [name, text] = typeof file === "string" ? [file, "{}"] : file;
    await mkdir(path.dirname(path.join(folder, name)), { recursive: true });
    await writeFile(path.join(folder, name), text);
  }
  return folder;
}

const open = (reference: string, given?: Pooling, options: Partial<ModelStoreOptions> = {}) =>
  embeddingFolder(reference, { directory, report: () => {}, ...options }, given);

/** A hub that has these files of owner/small, by path; what it was asked for, in order. */
function hub(files: Readonly<Record<string, string>>) {
  const asked: string[] = [];
  const answer = async (input: string | URL | Request): Promise<Response> => {
    const url = new URL(String(input));
    const name = url.pathname.replace("/owner/small/resolve/main/", "");
    asked.push(name);
    const text = files[name];
    return text === undefined ? new Response(null, { status: 404, statusText: "Not Found" }) : new Response(text);
  };
  return { asked, options: { hubEndpoint: "http://hub.test", fetch: answer as typeof fetch } };
}

describe("a folder", () => {
  it("has int8 weights, or else float32 ones, at their usual places", async () => {
    const folder = await write(...json, "onnx/model.onnx");
    expect(await open(folder)).toMatchObject({ folder, weights: "onnx/model.onnx", pooling: "mean" });
    await write("onnx/model_quantized.onnx");
    expect(await open(folder)).toMatchObject({ weights: "onnx/model_quantized.onnx" });
  });

  it("can be named by the weights in it", async () => {
    const folder = await write(...json, "onnx/model.onnx", "onnx/model_quantized.onnx", "best.onnx");
    for (const weights of ["onnx/model.onnx", "best.onnx"])
      expect(await open(path.join(folder, weights))).toMatchObject({ folder, weights });
  });

  it("has another id with other weights, and with another pooling", async () => {
    const folder = await write(...json, "onnx/model.onnx");
    const ids = [(await open(folder)).id, (await open(folder, "cls")).id];
    await write(["onnx/model.onnx", "longer"]);
    ids.push((await open(folder)).id);
    expect(new Set(ids).size).toBe(3);
  });

  it.each([
    ["cls", by("pooling_mode_cls_token")],
    ["mean", by("pooling_mode_mean_tokens")],
  ])("pools as its own file says: %s", async (way, text) => {
    expect(await open(await write(...json, "onnx/model.onnx", [pooling, text]))).toMatchObject({ pooling: way });
  });

  it.each([by("pooling_mode_lasttoken"), by("pooling_mode_cls_token", "pooling_mode_mean_tokens"), "{}", "[", "7"])(
    "is refused where it pools otherwise, unless its user says how: %s",
    async (text) => {
      const folder = await write(...json, "onnx/model.onnx", [pooling, text]);
      const refusal = { code: "model_unavailable", message: expect.stringContaining("Set ICDPO_EMBEDDING_POOLING to") };
      await expect(open(folder)).rejects.toMatchObject(refusal);
      expect(await open(folder, "mean")).toMatchObject({ pooling: "mean" });
    },
  );

  it("is refused where something is missing, with what that is and what would do", async () => {
    const message = (reference: string): Promise<string> =>
      open(reference).then(
        () => "",
        (error: Error) => error.message,
      );
    const folder = await write("config.json", "tokenizer_config.json");
    expect(await message(folder)).toMatch(
      /own lacks onnx\/model_quantized\.onnx or onnx\/model\.onnx, tokenizer\.json\. Set ICDPO_EMBEDDING_MODEL to /u,
    );
    expect(await message(path.join(folder, "onnx/other.onnx"))).toMatch(/lacks tokenizer\.json, onnx\/other\.onnx\./u);
    expect(await message(path.join(directory, "nowhere"))).toMatch(/nowhere lacks onnx\/model_quantized\.onnx or/u);
  });
});

describe("a model at the hub", () => {
  const files = { "config.json": "{}", "tokenizer.json": "{}", "tokenizer_config.json": "{}" };

  it("is fetched whole, weights last, and not again", async () => {
    const all = { ...files, [pooling]: by("pooling_mode_cls_token"), "onnx/model_quantized.onnx": "weights" };
    const { asked, options } = hub(all);
    const found = await open("hf:owner/small", undefined, options);
    const folder = path.join(directory, "hub/owner/small");
    expect(found).toMatchObject({ folder, weights: "onnx/model_quantized.onnx", pooling: "cls" });
    expect(asked).toEqual([...json, pooling, "onnx/model_quantized.onnx_data", "onnx/model_quantized.onnx"]);
    expect(await open("hf:owner/small", undefined, { ...options, offline: true })).toEqual(found);
    expect(asked).toHaveLength(6);
  });

  it("has float32 weights where there are no others, and those that are named", async () => {
    const { options } = hub({ ...files, "onnx/model.onnx": "graph", "onnx/model.onnx_data": "weights" });
    expect(await open("hf:owner/small", undefined, options)).toMatchObject({ weights: "onnx/model.onnx" });
    expect((await readdir(path.join(directory, "hub/owner/small/onnx"))).toSorted()).toEqual([
      "model.onnx",
      "model.onnx_data",
    ]);
    const named = hub({ ...files, "onnx/model.onnx": "graph", "onnx/model_quantized.onnx": "weights" });
    await rm(path.join(directory, "hub"), { recursive: true });
    expect(await open("hf:owner/small/onnx/model.onnx", undefined, named.options)).toMatchObject({
      weights: "onnx/model.onnx",
    });
    expect(named.asked).not.toContain("onnx/model_quantized.onnx");
  });

  it("begins anew with what an earlier attempt has left", async () => {
    const part = path.join(directory, "hub/owner/small/onnx/model_quantized.onnx.part");
    await mkdir(path.dirname(part), { recursive: true });
    await writeFile(part, "of another version");
    const { options } = hub({ ...files, "onnx/model_quantized.onnx": "weights" });
    await open("hf:owner/small", undefined, options);
    expect(await readdir(path.dirname(part))).toEqual(["model_quantized.onnx"]);
  });

  it.each([
    ["hf:owner/small", { offline: true }, "offline"],
    ["hf:owner/small", hub({ "config.json": "{}" }).options, "owner/small has no tokenizer.json"],
    ["hf:owner/small", hub(files).options, "owner/small has no onnx/model_quantized.onnx, onnx/model.onnx"],
    ["hf:owner/small/best.onnx", hub(files).options, "owner/small has no best.onnx"],
    ["hf:owner", {}, "it is no hf:owner/repo"],
    ["hf:owner/../../etc/x.onnx", {}, "it is no hf:owner/repo"],
  ])("is refused with the reason and the way out: %s, %o", async (reference, options, reason) => {
    const message = expect.stringMatching(
      new RegExp(`${reason.replaceAll(".", "\\.")}.* Set ICDPO_EMBEDDING_MODEL`, "u"),
    );
    await expect(open(reference, undefined, options)).rejects.toMatchObject({ code: "model_unavailable", message });
  });
});
