/** @module `icdpo score`: sums and scores of given completions, a line of JSON each. */
import { Command } from "commander";
import { measureInput, renderMeasurement, scoreInputSchema } from "../http/endpoints/given-completions.ts";
import { measure } from "../icdpo/measure.ts";
import { resolveRoute } from "../policy/resolve.ts";
import { promptFormats } from "../policy/schema.ts";
import { linesOfFile, linesOfStream } from "../system/text-files.ts";
import { GatewayError } from "../types/error.ts";
import { type World, withRuntime } from "./world.ts";

interface ScoreCommandOptions {
  readonly route: string;
  readonly prompt?: string;
}

export function scoreCommand(world: World): Command {
  return new Command("score")
    .description(
      "score given completions: JSONL of {messages, completions, demonstrations?, prompt?} in, sums, S and Ŝ out (nats)",
    )
    .argument("[file]", ".jsonl or .jsonl.gz; - or nothing: stdin", "-")
    .option("--route <route>", "the route whose policy scores", "icdpo")
    .option("--prompt <format>", `prompt format, where a line names none (${promptFormats.join(", ")})`)
    .action((file: string, options: ScoreCommandOptions) =>
      withRuntime(world, async (runtime, signal) => {
        const { policy } = resolveRoute(runtime.policies.current, { model: options.route });
        const lines = file === "-" ? linesOfStream("standard input", process.stdin, signal) : linesOfFile(file, signal);
        let number = 0;
        for await (const line of lines) {
          number += 1;
          if (line.trim() === "") continue;
          const parsed = parseLine(line, number, options.prompt);
          const measurement = await measure(policy, { ...measureInput(parsed), seed: parsed.seed ?? 0, signal });
          process.stdout.write(`${JSON.stringify({ line: number, ...renderMeasurement(measurement) })}\n`);
        }
      }),
    );
}

function parseLine(line: string, number: number, prompt: string | undefined) {
  let json: unknown;
  try {
    json = JSON.parse(line);
  } catch (error) {
    throw new GatewayError("invalid_request", `line ${number}: not JSON: ${(error as Error).message}`, {
      cause: error,
    });
  }
  const parsed = scoreInputSchema.safeParse(
    typeof json === "object" && json !== null ? { ...(prompt && { prompt }), ...json } : json,
  );
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new GatewayError("invalid_request", `line ${number}: ${issue?.path.join(".")}: ${issue?.message}`);
}
