/** @module `icdpo keys`. */
import { Command } from "commander";
import { createKey } from "../access/keys-file.ts";
import type { World } from "./world.ts";

export function keysCommand({ report }: World): Command {
  const create = new Command("new")
    .description("make an API key; it is shown once")
    .argument("<name>", "what logs and limits call it")
    .option("--json", "print {key, name, hash}")
    .action(async (name: string, { json }: { json?: boolean }) => {
      const { key, entry } = await createKey(name);
      if (json) process.stdout.write(`${JSON.stringify({ key, ...entry })}\n`);
      else {
        process.stdout.write(`${key}\n`);
        report(
          `Keep the key: it is not stored anywhere. In the file that ICDPO_KEYS_FILE names, under \`keys:\`, add\n`,
        );
        report(`  - { name: ${JSON.stringify(entry.name)}, hash: "${entry.hash}" }`);
      }
    });
  return new Command("keys").description("API keys").addCommand(create);
}
