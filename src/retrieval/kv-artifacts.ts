/**
 * @module Indexes and embeddings of demonstrations, kept in KV for all isolates. What cannot be kept is done without,
 * and reported.
 */
import type { KVNamespace } from "@cloudflare/workers-types";
import { floatsFromBase64, floatsToBase64 } from "../text/bytes.ts";
import type { KeptEmbeddings } from "./remote-embedder.ts";
import type { ArtifactStore } from "./retriever.ts";

type Report = (line: string) => void;

/** As many keys as KV reads at once. */
const keysAtOnce = 100;

export function keptArtifacts(namespace: KVNamespace, report: Report): ArtifactStore {
  const nameOf = async (key: string): Promise<string> => `artifact/${await digest(key)}`;
  return {
    async get(key) {
      const bytes = await namespace
        .get(await nameOf(key), "arrayBuffer")
        .catch(complain("An index cannot be read, and is built anew", report));
      return bytes ? new Uint8Array(bytes) : undefined;
    },
    async put(key, bytes) {
      await namespace.put(await nameOf(key), bytes).catch(complain("An index cannot be kept", report));
    },
  };
}

export function keptEmbeddings(namespace: KVNamespace, report: Report): KeptEmbeddings {
  const nameOf = async (model: string, text: string): Promise<string> =>
    `embedding/${await digest(JSON.stringify([model, text]))}`;
  return {
    async get(model, texts) {
      const names = await Promise.all(texts.map((text) => nameOf(model, text)));
      const found = new Map<string, string | null>();
      for (let start = 0; start < names.length; start += keysAtOnce) {
        const portion = [...new Set(names.slice(start, start + keysAtOnce))];
        const values = await namespace.get(portion, "text").catch(complain("Embeddings cannot be read", report));
        for (const [name, value] of values ?? []) found.set(name, value);
      }
      return names.map((name) => {
        const kept = found.get(name) ?? undefined;
        return kept === undefined ? undefined : floatsFromBase64(kept);
      });
    },
    async put(model, embeddings) {
      const puts = [...embeddings].map(async ([text, embedding]) =>
        namespace.put(await nameOf(model, text), floatsToBase64(embedding)),
      );
      await Promise.all(puts).catch(complain("Embeddings cannot be kept", report));
    },
  };
}

function complain(what: string, report: Report): (error: unknown) => undefined {
  return (error) => {
    report(`${what}: ${error}`);
    return undefined;
  };
}

async function digest(text: string): Promise<string> {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
  return Array.from(bytes.slice(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
