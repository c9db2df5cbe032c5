/** @module `icdpo bundle`: policies, routes, demonstrations and engines in one file, for a worker. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import path from "node:path";
import { Command } from "commander";
import { parsePolicyFiles } from "../../policy/build.ts";
import { GatewayError } from "../../types/error.ts";
import { PolicyFolder } from "../policy-files.ts";
import type { World } from "./world.ts";

/** What the files are checked against: an engine that can do all there is. */
const anyEngine = { chat: true, score: true };

export function bundleCommand(world: World): Command {
  return new Command("bundle")
    .description(
      "put policies, routes, demonstrations and the engines file into one JSON file, for a worker; fails where something is wrong",
    )
    .option("--out <file>", "where to", "bundle.json")
    .option("--engines <file>", "the engines file")
    .action(async ({ out, engines }: { out: string; engines?: string }) => {
      const { policiesDirectory, demonstrationsDirectory } = world.settings();
      const files = await new PolicyFolder({ policies: policiesDirectory, demonstrations: demonstrationsDirectory }).read();
      await parsePolicyFiles(files, anyEngine);
      const demonstrations = Object.fromEntries(
        await Promise.all([...files.demonstrations].map(async ([name, file]) => [name, await file.read()] as const)),
      );
      const bundle = {
        version: world.version,
        policies: Object.fromEntries(files.policies),
        routes: files.routes,
        demonstrations,
        ...(engines !== undefined && { engines: await readText(engines) }),
      };
      await mkdir(path.dirname(path.resolve(out)), { recursive: true });
      await writeFile(`${out}.part`, JSON.stringify(bundle));
      await rename(`${out}.part`, out);
      world.report(`${out}: ${files.policies.size} policies, ${files.demonstrations.size} sets of demonstrations`);
    });
}

async function readText(file: string): Promise<string> {
  return readFile(file, "utf8").catch((error: Error) => {
    throw new GatewayError("configuration", `${file} cannot be read: ${error.message}`, { cause: error });
  });
}
