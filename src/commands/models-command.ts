/** @module `icdpo models`: what the store holds, fetched ahead of time, where it is, and what a model can do. */
import { Command, InvalidArgumentError } from "commander";
import { defaultModel, type PinnedModel, pinnedModels } from "../models/catalog.ts";
import type { ModelStore } from "../models/model-store.ts";
import { openModelStore } from "../node/runtime.ts";
import { GatewayError } from "../types/error.ts";
import { modelReport } from "./model-report.ts";
import type { World } from "./world.ts";

export function modelsCommand(world: World): Command {
  const open = () => openModelStore(world.settings(), world.report);
  const models = new Command("models").description("list, fetch, locate and inspect the models");
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
  models
    .command("inspect")
    .description("what a model is, what memory it needs, and what its chat template can do; no weights are read")
    .argument("[model]", "a name from the list, a path, or an hf: URI (default: the model that the gateway runs)")
    .option("--context <tokens>", "sizes of contexts to tell the memory of, with commas between", sizes)
    .option("--json", "as JSON")
    .action(async (model: string | undefined, options: { context?: number[]; json?: boolean }) => {
      const { readModelCard } = await import("../engine/llama-cpp/model-card.ts");
      const card = await readModelCard(
        await languageModel(open(), model ?? world.settings().ICDPO_MODEL),
        options.context,
      );
      process.stdout.write(options.json ? `${JSON.stringify(card, null, 2)}\n` : modelReport(card));
    });
  return models;
}

/** The path of a GGUF file, which is fetched where it is not at hand. */
async function languageModel(store: ModelStore, name: string = defaultModel.name): Promise<string> {
  if (name !== defaultModel.name) return (await store.ensureReference(name)).path;
  return (await store.ensure(defaultModel)).path;
}

const mostTokens = 2 ** 24;

function sizes(text: string): number[] {
  const counts = text.split(",").map(Number);
  if (counts.every((count) => Number.isInteger(count) && count > 0 && count <= mostTokens)) return counts;
  throw new InvalidArgumentError(`Numbers of tokens are needed, such as 4096,8192.`);
}

function named(name: string): PinnedModel {
  const model = pinnedModels.find((candidate) => candidate.name === name);
  if (model !== undefined) return model;
  throw new GatewayError(
    "invalid_request",
    `There is no model "${name}". Known: ${pinnedModels.map((candidate) => candidate.name).join(", ")}.`,
  );
}
