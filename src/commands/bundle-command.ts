/** @module `icdpo bundle`: policies, routes, demonstrations and engines in one file, for a worker. */
import { Command } from "commander";
import { readEngines } from "../node/open-engines.ts";
import { readRewards } from "../node/open-reward-models.ts";
import { declaredBy } from "../policy/engines-file.ts";
import { parsePolicyFiles } from "../policy/parsed-policies.ts";
import { PolicyFolder } from "../policy/policy-files.ts";
import { readText } from "../system/text-files.ts";
import { writeWhole } from "../system/whole-file.ts";
import type { World } from "./world.ts";

export function bundleCommand(world: World): Command {
  return new Command("bundle")
    .description(
      "put policies, routes, demonstrations and the engines file into one JSON file, for a worker; fails where something is wrong",
    )
    .option("--out <file>", "where to", "bundle.json")
    .action(async ({ out }: { out: string }) => {
      const settings = world.settings();
      const { policiesDirectory, demonstrationsDirectory, enginesFile } = settings;
      const files = await new PolicyFolder({
        policies: policiesDirectory,
        demonstrations: demonstrationsDirectory,
      }).read();
      await parsePolicyFiles(files, declaredBy(await readEngines(settings)), await readRewards(settings));
      const demonstrations = Object.fromEntries(
        await Promise.all([...files.demonstrations].map(async ([name, file]) => [name, await file.text()] as const)),
      );
      const bundle = {
        version: world.version,
        policies: Object.fromEntries(files.policies),
        routes: files.routes,
        demonstrations,
        ...(enginesFile !== null && { engines: await readText(enginesFile) }),
      };
      await writeWhole(out, JSON.stringify(bundle));
      world.report(`${out}: ${files.policies.size} policies, ${files.demonstrations.size} sets of demonstrations`);
    });
}
