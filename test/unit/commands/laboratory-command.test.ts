import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { Command } from "commander";
import { afterAll, describe, expect, it } from "vitest";
import { laboratoryCommand } from "../../../src/commands/laboratory-command.ts";
import type { World } from "../../../src/commands/world.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-laboratory-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const given: unknown[] = [];
const world: World = {
  settings: () => {
    throw new Error("Nobody asks for settings.");
  },
  report: (line) => given.push(line),
  version: "1",
};

/** A laboratory that reports the name it is called by, and its arguments. */
function doorOf(name: string): URL {
  const file = path.join(folder, name);
  writeFileSync(
    file,
    `export const command = (world) => {
      let called = "";
      return {
        name(name) { called = name; return this; },
        parseAsync: async (args, { from }) => world.report([called, from, ...args]),
      };
    };`,
  );
  return pathToFileURL(file);
}

async function run(door: URL, ...args: string[]): Promise<void> {
  const program = new Command("icdpo").exitOverride().addCommand(laboratoryCommand("eval", "measure", door, world));
  await program.parseAsync(["eval", ...args], { from: "user" });
}

describe("the command of a laboratory", () => {
  it("gets all that follows its name, options and a plea for help included", async () => {
    const door = doorOf("index.mjs");
    await run(door, "pairs", "--data", "a=b", "--limit", "3", "more", "--help");
    expect(given).toEqual([["icdpo eval", "user", "pairs", "--data", "a=b", "--limit", "3", "more", "--help"]]);
  });

  it("says where it runs, where the laboratory is not at hand", async () => {
    const missing = pathToFileURL(path.join(folder, "missing.mjs"));
    await expect(run(missing, "pairs", "--help")).rejects.toMatchObject({
      code: "configuration",
      message: 'icdpo eval runs in a checkout of the source only: run "npm ci && npm run icdpo -- eval" there.',
    });
  });
});
