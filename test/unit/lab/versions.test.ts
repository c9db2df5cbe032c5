/**
 * Guards the versions of what evaluations keep: whoever changes the code that shapes a kept result decides whether
 * older results still count.
 */
import { createHash } from "node:crypto";
import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { versions } from "../../../lab/versions.ts";

const root = new URL("../../../", import.meta.url);

const prompts = [
  "icdpo/prompt.ts",
  "icdpo/tool-prompt.ts",
  "engine/template/chat-template.ts",
  "engine/template/chat-turns.ts",
  "types/conversation.ts",
];

/**
 * Files of `src`, and of `lab` where a name says so. A name that ends in a slash stands for all that is in the folder.
 */
const shapes: Readonly<Record<keyof typeof versions, readonly string[]>> = {
  answers: [
    ...prompts,
    "icdpo/",
    "reward/reward-model.ts",
    "retrieval/",
    "retrieval/local-embedder.ts",
    "retrieval/embedding-thread.ts",
    "engine/llama-cpp/sampler.ts",
    "lab/answers.ts",
    "lab/arms.ts",
    "lab/pools.ts",
    "lab/shared-samples.ts",
    "lab/engine-with.ts",
    "lab/token-values.ts",
  ],
  scores: [
    "engine/llama-cpp/sampler.ts",
    "engine/vllm/vllm-scoring.ts",
    "engine/llama-server/llama-server-scoring.ts",
    "lab/cached-engine.ts",
    "lab/engine-with.ts",
  ],
  rewards: [
    ...prompts,
    "icdpo/response.ts",
    "icdpo/forced-sums.ts",
    "icdpo/score.ts",
    "engine/llama-cpp/sampler.ts",
    "engine/llama-cpp/ranking-steps.ts",
    "engine/llama-cpp/ranking-text.ts",
    "lab/judge-odds.ts",
    "lab/reward.ts",
    "reward/reward-model.ts",
  ],
  opinions: ["demonstrations/teacher.ts", "text/without-thought.ts", "lab/cached-teacher.ts"],
};

function placeOf(name: string): URL {
  return new URL(name.startsWith("lab/") ? name : `src/${name}`, root);
}

/** Nothing but code: imports, comments that fill their lines, and how it is laid out, shape nothing. */
function codeOf(text: string): string {
  const own = text.replace(/^(?:import|export type) [^"]*? from "[^"]+";$/gmu, "");
  const lines = own.split("\n").filter((line) => !/^\s*(?:\/\/|\/\*\*|\*(?:[\s/]|$))/u.test(line));
  return lines.join(" ").replace(/\s+/gu, " ").trim();
}

function hashOf(names: readonly string[], read: (name: string) => string): string {
  const files = names.flatMap((name) =>
    name.endsWith("/") ? readdirSync(placeOf(name)).map((file) => `${name}${file}`) : [name],
  );
  const hash = createHash("sha256");
  for (const file of [...new Set(files)].toSorted()) hash.update(`${file}\n${codeOf(read(file))}\n`);
  return hash.digest("hex").slice(0, 16);
}

const readSource = (name: string): string => readFileSync(placeOf(name), "utf8");

describe("the version of what evaluations keep", () => {
  it.each(Object.keys(shapes) as (keyof typeof versions)[])("belongs to the code that shapes it: %s", (kind) => {
    const now = hashOf(shapes[kind], readSource);
    const { version, sources } = versions[kind];
    expect(
      now,
      `The code that shapes kept ${kind} has changed since version ${version}. If the same request may now give another result, raise the version in ` +
        `lab/versions.ts, so that older results count no more. Either way, record sources: "${now}" beside it.`,
    ).toBe(sources);
  });

  it("is that of every kind", () => {
    const files = readdirSync(placeOf("lab/")).filter((file) => file.endsWith(".ts") && file !== "versions.ts");
    const kinds = files.flatMap(
      (file) => readSource(`lab/${file}`).match(/: Kind<[^=]*> = \{[^}]*?version: [^,]*/gu) ?? [],
    );
    expect(kinds).toHaveLength(9);
    for (const kind of kinds) expect(kind).toMatch(/version: versions\.\w+\.version$/u);
  });

  it("is asked for by a change of code, and by a new file, not by a comment, a line break or an import", () => {
    const changed = (change: (text: string) => string) =>
      hashOf(["icdpo/"], (name) => (name === "icdpo/score.ts" ? change(readSource(name)) : readSource(name)));
    const own = changed((text) => text);
    expect(
      changed((text) => `import { z } from "zod";\n/** A comment. */\n// Another.\n${text.replaceAll("\n", "\n\n")}\n`),
    ).toBe(own);
    expect(changed((text) => `${text}export const more = 1;\n`)).not.toBe(own);
    expect(hashOf(["icdpo/score.ts"], readSource)).not.toBe(hashOf(["icdpo/score.ts", "icdpo/seed.ts"], readSource));
  });
});
