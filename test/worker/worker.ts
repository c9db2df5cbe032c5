/** @module Runs the built worker in workerd, with what wrangler.toml binds, each time with a store of its own. */
import path from "node:path";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { Miniflare, type MiniflareOptions } from "miniflare";
import OpenAI from "openai";
import { unstable_getMiniflareWorkerOptions as optionsOf } from "wrangler";

const root = fileURLToPath(new URL("../..", import.meta.url));
export const built = path.join(root, "dist/worker/built/main.js");
export const key = "a-key-of-24-characters-x";

export interface RunningWorker {
  readonly url: string;
  readonly client: OpenAI;
  readonly miniflare: Miniflare;
  /** Lines of its log, parsed; what is not JSON as `msg`. */
  readonly log: Record<string, unknown>[];
  /** A call with the key, and its answer's JSON. */
  json(
    path: string,
    init?: { method?: string; body?: unknown; headers?: Record<string, string> },
  ): Promise<{ status: number; body: never }>;
  /** An isolate that knows nothing yet, with the same stores; and a client of its new address. */
  restart(): Promise<OpenAI>;
  close(): Promise<void>;
}

/** `variables` go before those of wrangler.toml. `files`: the bundle in KV. */
export async function startWorker(variables: Record<string, string>, files?: unknown): Promise<RunningWorker> {
  const { bindings, ...options } = optionsOf(path.join(root, "wrangler.toml")).workerOptions;
  const log: Record<string, unknown>[] = [];
  const settings: MiniflareOptions = {
    ...options,
    bindings: {
      ...bindings,
      ICDPO_ADMIN_KEYS: `me=${key}`,
      ...(files !== undefined && { ICDPO_POLICIES: "kv" }),
      ...variables,
    },
    modules: [{ type: "ESModule", path: built }],
    modulesRoot: path.dirname(built),
    handleRuntimeStdio(stdout: Readable, stderr: Readable) {
      for (const stream of [stdout, stderr])
        stream
          .setEncoding("utf8")
          .on("data", (text: string) => log.push(...text.split("\n").filter(Boolean).map(parsed)));
    },
  };
  const miniflare = new Miniflare(settings);
  const url = (await miniflare.ready).href.replace(/\/$/u, "");
  if (files !== undefined) await putFiles(miniflare, files);
  return {
    url,
    client: clientOf(url),
    miniflare,
    log,
    async json(at, { method = "GET", body, headers } = {}) {
      const response = await fetch(url + at, {
        method,
        headers: { authorization: `Bearer ${key}`, "content-type": "application/json", ...headers },
        ...(body !== undefined && { body: JSON.stringify(body) }),
      });
      return { status: response.status, body: (await response.json()) as never };
    },
    async restart() {
      await miniflare.setOptions(settings);
      return clientOf((await miniflare.ready).href);
    },
    close: () => miniflare.dispose(),
  };
}

export async function putFiles(miniflare: Miniflare, files: unknown): Promise<void> {
  await (await miniflare.getKVNamespace("KEPT")).put("bundle.json", JSON.stringify(files));
}

function clientOf(url: string): OpenAI {
  return new OpenAI({ baseURL: new URL("/v1", url).href, apiKey: key, maxRetries: 0 });
}

function parsed(line: string): Record<string, unknown> {
  try {
    return JSON.parse(line);
  } catch {
    return { msg: line };
  }
}
