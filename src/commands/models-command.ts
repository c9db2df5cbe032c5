/** @module `icdpo models`: what the store holds, fetched ahead of time, and where it is. */
import { Command } from "commander";
import { type PinnedModel, pinnedModels } from "../models/catalog.ts";
import { openModelStore } from "../node/runtime.ts";
import { GatewayError } from "../types/error.ts";
import type { World } from "./world.ts";

export function modelsCommand(world: World): Command {
  const open = () => openModelStore(world.settings(), world.report);
  const models = new Command("models").description("list, fetch and locate the models");
  models
    .command("list")
    .description("the models that come with the program, and whether they are at hand")
    .option("--json", "as JSON")
    .action(async (options: { json?: boolean }) => {
      const statuses = await open().list();
      if (options.json) process.stdout.write(`${JSON.stringify(statuses, null, 2)}\n`);
      else
        for (const { name, state, path, purpose } of statuses)
          process.stdout.write(`${name}  ${state}  ${path}  (${purpose})\n`);
    });
  models
    .command("fetch")
    .description("fetch one model, or all of them; print where they are")
    .argument("[name]", "a name from the list, a path, or an hf: URI")
    .action(async (name?: string) => {
      const store = open();
      if (name !== undefined && !pinnedModels.some((model) => model.name === name)) {
        process.stdout.write(`${(await store.ensureReference(name)).path}\n`);
        return;
      }
      for (const model of name === undefined ? pinnedModels : [named(name)])
        process.stdout.write(`${(await store.ensure(model)).path}\n`);
    });
  models
    .command("path")
    .description("where a model is, or would be")
    .argument("<name>", "a name from the list")
    .action((name: string) => {
      process.stdout.write(`${open().path(named(name))}\n`);
    });
  return models;
}

function named(name: string): PinnedModel {
  const model = pinnedModels.find((candidate) => candidate.name === name);
  if (model !== undefined) return model;
  throw new GatewayError(
    "invalid_request",
    `There is no model "${name}". Known: ${pinnedModels.map((candidate) => candidate.name).join(", ")}.`,
  );
}
