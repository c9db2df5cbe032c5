/** @module `icdpo eval`: experiments on the method itself. */
import { Command } from "commander";
import type { World } from "icdpo-gateway/laboratory";
import { answersCommand } from "./answers-command.ts";
import { nllCommand, referencesCommand } from "./data-responses.ts";
import { mrrCommand } from "./mrr.ts";
import { leaveOneOutCommand, pairsCommand } from "./pairs-and-leave-one-out.ts";
import { pruneCommand } from "./prune-command.ts";
import { quickCommand } from "./quick.ts";
import { sweepCommand } from "./sweep.ts";
import { systemsCommand } from "./systems.ts";
import { tableCommand } from "./table.ts";

export function evalCommand(world: World): Command {
  const command = new Command("eval").description(
    "measure the method; docs/evaluation.md says which command redoes which table of the paper",
  );
  for (const subcommand of [
    quickCommand,
    answersCommand,
    pruneCommand,
    systemsCommand,
    pairsCommand,
    leaveOneOutCommand,
    mrrCommand,
    nllCommand,
    referencesCommand,
    sweepCommand,
    tableCommand,
  ])
    command.addCommand(subcommand(world));
  return command;
}
