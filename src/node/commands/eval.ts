/** @module `icdpo eval`: experiments on the method itself. */
import { Command, Option } from "commander";
import { type Accuracy, accuracy, leaveOneOut, type PairMargins, scorers } from "../../evaluation/pairs.ts";
import { type PromptFormat, promptFormats } from "../../policy/schema.ts";
import { GatewayError } from "../../types/error.ts";
import { type World, withRuntime } from "./world.ts";

interface PairsOptions {
  readonly policy: string;
  readonly prompt: PromptFormat;
  readonly json?: boolean;
}

export function evalCommand(world: World): Command {
  const command = new Command("eval").description("measure the method on demonstrations");
  command
    .command("leave-one-out")
    .description("how often Ŝ, S and the likelihood prefer each demonstration's chosen response, with the others as demonstrations")
    .option("--policy <name>", "the policy whose demonstrations, retriever and shots are used", "everyday")
    .addOption(new Option("--prompt <format>", "prompt format").choices(promptFormats).default("chat"))
    .option("--json", "margins of every pair as JSON lines, then the accuracies")
    .action((options: PairsOptions) =>
      withRuntime(world, async ({ policies }, signal) => {
        const policy = policies.current.policies.get(options.policy);
        if (policy === undefined || policy.retriever === null)
          throw new GatewayError(
            "invalid_request",
            `There is no policy "${options.policy}" with demonstrations. Known: ${[...policies.current.policies.keys()].join(", ")}.`,
          );
        const measured: PairMargins[] = [];
        for (const pair of policy.demonstrations) {
          if (pair.rejected === undefined) continue;
          measured.push(await leaveOneOut(policy, pair, options.prompt, signal));
          if (options.json) process.stdout.write(`${JSON.stringify(measured.at(-1))}\n`);
          if (measured.length % 10 === 0) world.report(`${measured.length} of ${policy.demonstrations.length} pairs`);
        }
        const results = { all: accuracy(measured), equally_long: accuracy(measured.filter(({ equallyLong }) => equallyLong)) };
        process.stdout.write(options.json ? `${JSON.stringify(results)}\n` : table(options, results));
      }),
    );
  return command;
}

function table(options: PairsOptions, results: Readonly<Record<string, Accuracy>>): string {
  const lines = [
    `Leave-one-out, policy ${options.policy}, prompt ${options.prompt}: share of pairs whose chosen response scores higher`,
    "",
    `| pairs | ${scorers.map((scorer) => `${scorer}, sum`).join(" | ")} | ${scorers.map((scorer) => `${scorer}, per token`).join(" | ")} |`,
    `|---|${"---|".repeat(scorers.length * 2)}`,
    ...Object.entries(results).map(([name, { pairs, sum, token }]) => {
      const shares = [...scorers.map((scorer) => sum[scorer]), ...scorers.map((scorer) => token[scorer])];
      return `| ${name.replace("_", " ")} (${pairs}) | ${shares.map((share) => `${(share * 100).toFixed(1)} %`).join(" | ")} |`;
    }),
  ];
  return `${lines.join("\n")}\n`;
}
