/** @module `icdpo policies`. */
import { Command, Option } from "commander";
import { z } from "zod";
import { readEngines } from "../node/open-engines.ts";
import { readRewards } from "../node/open-reward-models.ts";
import { declaredBy, enginesSchema } from "../policy/engines-file.ts";
import { type ParsedFiles, parsePolicyFiles } from "../policy/parsed-policies.ts";
import { PolicyFolder } from "../policy/policy-files.ts";
import { routesSchema } from "../policy/routes-schema.ts";
import { policySchema } from "../policy/schema.ts";
import { GatewayError } from "../types/error.ts";
import type { World } from "./world.ts";

export function policiesCommand(world: World): Command {
  const check = new Command("check")
    .description(
      "check all policies, routes and demonstrations without starting anything; fails where something is wrong",
    )
    .option("--json", "print {ok, errors, policies, routes}")
    .action(async ({ json }: { json?: boolean }) => {
      const settings = world.settings();
      const { policiesDirectory, demonstrationsDirectory } = settings;
      const folder = new PolicyFolder({ policies: policiesDirectory, demonstrations: demonstrationsDirectory });
      const checked = await readEngines(settings)
        .then(async (engines) =>
          parsePolicyFiles(await folder.read(), declaredBy(engines), await readRewards(settings)),
        )
        .catch((error: unknown) => {
          if (error instanceof GatewayError && error.code === "configuration") return error;
          throw error;
        });
      const errors = checked instanceof GatewayError ? checked.message.split("\n") : [];
      if (json) process.stdout.write(`${JSON.stringify({ ok: errors.length === 0, errors, ...summary(checked) })}\n`);
      else process.stdout.write(checked instanceof GatewayError ? `${checked.message}\n` : describe(checked));
      if (errors.length > 0) process.exitCode = 1;
    });
  const schema = new Command("schema")
    .description("print the JSON Schema of a kind of file, for editors")
    .addOption(new Option("--of <kind>", "which files").choices(["policy", "routes", "engines"]).default("policy"))
    .action(({ of }: { of: keyof typeof fileSchemas }) => {
      process.stdout.write(schemaText(of));
    });
  return new Command("policies").description("policies and routes").addCommand(check).addCommand(schema);
}

const fileSchemas = { policy: policySchema, routes: routesSchema, engines: enginesSchema };

/** Also kept beside the policies, as policies/<kind>.schema.json. */
export function schemaText(kind: keyof typeof fileSchemas): string {
  return `${JSON.stringify(z.toJSONSchema(fileSchemas[kind], { io: "input" }), null, 2)}\n`;
}

function summary(checked: ParsedFiles | GatewayError) {
  if (checked instanceof GatewayError) return {};
  return { policies: [...checked.policies.keys()], routes: Object.keys(checked.routes.routes) };
}

function describe({ policies, routes }: ParsedFiles): string {
  const demonstrations = new Set([...policies.values()].flatMap(({ settings }) => settings.demonstrations ?? []));
  const counts = [
    `${policies.size} policies`,
    `${Object.keys(routes.routes).length} routes`,
    `${demonstrations.size} sets of demonstrations`,
  ];
  return `${counts.join(", ")}: all good\n`;
}
