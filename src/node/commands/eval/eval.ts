/** @module `icdpo eval`: experiments on the method itself. */
import { Command } from "commander";
import type { World } from "../world.ts";
import { leaveOneOutCommand, pairsCommand } from "./pairs.ts";

export function evalCommand(world: World): Command {
  const command = new Command("eval").description(
    "measure the method; docs/evaluation.md says which command redoes which table of the paper",
  );
  for (const subcommand of [pairsCommand, leaveOneOutCommand]) command.addCommand(subcommand(world));
  return command;
}
