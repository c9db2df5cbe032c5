/** @module Commands of the laboratories beside the gateway, which stand in the checkout and not in the package. */
import { existsSync } from "node:fs";
import { Command } from "commander";
import { GatewayError } from "../types/error.ts";
import type { World } from "./world.ts";

/** A built laboratory's door. */
interface Laboratory {
  command(world: World): Command;
}

export function evalCommand(world: World): Command {
  const door = new URL("../../lab/dist/index.js", import.meta.url);
  return laboratoryCommand("eval", "measure the method (in a checkout)", door, world);
}

export function tuneCommand(world: World): Command {
  const door = new URL("../../lab/dist/tune.js", import.meta.url);
  return laboratoryCommand("tune", "find the policy for your model and prompts (in a checkout)", door, world);
}

export function benchCommand(world: World): Command {
  const door = new URL("../../bench/dist/index.js", import.meta.url);
  return laboratoryCommand("bench", "measure speed (in a checkout)", door, world);
}

/** Hands all that follows the name on, `--help` included. Throws "configuration" where the laboratory is not built. */
export function laboratoryCommand(name: string, description: string, door: URL, world: World): Command {
  return new Command(name)
    .description(description)
    .helpOption(false)
    .allowUnknownOption()
    .allowExcessArguments()
    .action(async (_options: object, { args }: Command) => {
      if (!existsSync(door)) throw new GatewayError("configuration", notHere(name));
      const { command } = (await import(door.href)) as Laboratory;
      await command(world).name(`icdpo ${name}`).parseAsync(args, { from: "user" });
    });
}

function notHere(name: string): string {
  return `icdpo ${name} runs in a checkout of the source only: run "npm ci && npm run icdpo -- ${name}" there.`;
}
