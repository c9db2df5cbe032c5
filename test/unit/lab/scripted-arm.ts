/** @module An arm over a scripted engine, and a laboratory's cache in memory. */
import type { Arm } from "../../../lab/arms.ts";
import { type CacheEntry, ResultCache } from "../../../lab/cache.ts";
import { onlyEngine } from "../../../src/engine/engines.ts";
import { buildPolicySet } from "../../../src/policy/build.ts";
import { textFile } from "../../../src/policy/parsed-policies.ts";
import type { Demonstration } from "../../../src/types/conversation.ts";
import type { ScriptedEngine } from "../scripted-engine.ts";

/** A cache that an earlier run left these entries, and what is added to it. */
export function memory(entries: readonly CacheEntry[] = []) {
  const added: CacheEntry[] = [];
  const cache = new ResultCache({ entries, add: async (entry) => void added.push(entry) });
  return { cache, added };
}

export const scored =
  "demonstrations: d\nretriever: { type: random }\nshots: 1\nscore: { type: contrast, negative: rejected }\n";

const pairs: readonly Demonstration[] = [
  { id: "tea", messages: [{ role: "user", content: "tea?" }], chosen: "steep it", rejected: "no" },
  { id: "rice", messages: [{ role: "user", content: "rice?" }], chosen: "boil it", rejected: "ask others" },
];

/** The arm of a policy, whose demonstrations `d` are these. */
export async function armWith(engine: ScriptedEngine, yaml = scored, demonstrations = pairs): Promise<Arm> {
  const files = {
    policies: new Map([["p", yaml]]),
    routes: "routes: { p: { policy: p } }",
    demonstrations: new Map([["d", textFile(demonstrations.map((line) => JSON.stringify(line)).join("\n"))]]),
  };
  const { policies } = await buildPolicySet(files, {
    engines: onlyEngine(engine),
    embedder: async () => Promise.reject(new Error("none")),
  });
  const policy = policies.get("p");
  if (policy === undefined) throw new Error("no policy");
  return { name: "p", policy };
}
