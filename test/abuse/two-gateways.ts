/**
 * @module Two gateways as their operator would run them: one cache, one database, one keys file; four strangers' keys
 * with limits, and the operator's own.
 */
import { cp, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { createKey } from "../../src/access/keys-file.ts";
import { defaultCacheDirectory } from "../../src/models/model-store.ts";
import { type Gateway, startGateway } from "../integration/gateway.ts";

export interface TwoGateways {
  readonly gateways: readonly { readonly gateway: Gateway; readonly log: string }[];
  readonly database: string;
  readonly strangers: readonly string[];
  /** Sees everything. */
  readonly operator: string;
  /** Ends both, and leaves nothing behind. */
  close(): Promise<void>;
}

const limits = [
  {},
  { requests_per_minute: 3_000 },
  { tokens_per_minute: 30_000 },
  { requests_per_minute: 1_200, tokens_per_minute: 100_000 },
];
const sampling = "sampling: { max_tokens: 8 }\n";
const policies = {
  "plain.yaml": `candidates: 1\nscore: { type: none }\n${sampling}`,
  "scored.yaml": `demonstrations: everyday\nretriever: { type: two-stage, window: 30, shortlist: 5 }\nshots: 1\ncandidates: 2\nscore: { type: contrast, negative: rejected }\n${sampling}`,
  "routes.yaml": `routes:
  icdpo: { policy: scored, counterfactual: 0.1, allow_overrides: true }
  plain: { policy: plain }
  ab: { experiment: { arms: { treatment: { policy: scored }, control: { policy: plain } } } }
`,
};

export async function openTwoGateways(): Promise<TwoGateways> {
  const folder = await mkdtemp(path.join(tmpdir(), "icdpo-abuse-"));
  const file = (name: string): string => path.join(folder, name);
  await cp(fileURLToPath(new URL("../../demos", import.meta.url)), file("demos"), { recursive: true });
  await mkdir(file("policies"));
  for (const [name, text] of Object.entries(policies)) await writeFile(file(`policies/${name}`), text);
  const made = await Promise.all(["one", "two", "three", "four", "operator"].map(createKey));
  const entries = made.map(({ entry }, i) => ({
    ...entry,
    ...(i < limits.length ? { limits: limits[i] } : { admin: true }),
    ...(i === 3 && { routes: ["plain"] }),
  }));
  await writeFile(file("keys.yaml"), `keys:\n${entries.map((entry) => `  - ${JSON.stringify(entry)}\n`).join("")}`, {
    mode: 0o600,
  });
  // The models are the user's; what is kept beside them is the strangers'.
  const models = defaultCacheDirectory(process.env, process.platform, homedir());
  await mkdir(file("cache"));
  for (const name of await readdir(models))
    if (name !== "retrieval") await symlink(path.join(models, name), file(`cache/${name}`));
  const settings = {
    ICDPO_CACHE: file("cache"),
    ICDPO_DATABASE: file("records.db"),
    ICDPO_KEYS_FILE: file("keys.yaml"),
    ICDPO_KEEP_TEXT: "1",
    ICDPO_CONTEXT_SIZE: "512",
    ICDPO_SEQUENCES: "8",
    ICDPO_REQUEST_TIMEOUT_MS: "10000",
    // V8's room for new objects grows to tens of MB under load: kept small, memory that grows is memory that is held.
    NODE_OPTIONS: "--max-semi-space-size=1",
  };
  const gateways: { gateway: Gateway; log: string }[] = [];
  for (const name of ["one", "two"]) {
    const log = file(`${name}.jsonl`);
    gateways.push({ gateway: await startGateway({ ...settings, ICDPO_LOG_FILE: log }, folder), log });
  }
  const keys = made.map(({ key }) => key);
  return {
    gateways,
    database: file("records.db"),
    strangers: keys.slice(0, limits.length),
    operator: keys[limits.length] as string,
    async close() {
      await Promise.all(gateways.map(({ gateway }) => gateway.stop()));
      await rm(folder, { recursive: true, force: true });
    },
  };
}
