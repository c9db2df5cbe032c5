/** @module Options of commands that ask another model, behind any OpenAI-compatible endpoint. */
import { type Command, InvalidArgumentError } from "commander";
import { GatewayError } from "../types/error.ts";

export interface EndpointOptions {
  readonly baseUrl: string;
  readonly model: string;
  readonly keyVariable: string;
  readonly maxTokens: number;
  readonly temperature?: number;
  readonly retries: number;
  readonly concurrency: number;
}

export function addEndpointOptions(command: Command): Command {
  return command
    .requiredOption("--model <name>", "the model's name there")
    .option("--base-url <url>", "the endpoint", "https://api.openai.com/v1")
    .option("--key-variable <name>", "the environment variable that holds the API key", "OPENAI_API_KEY")
    .option("--max-tokens <number>", "longest answer", whole, 512)
    .option("--temperature <number>", "the endpoint's own, unless given", Number)
    .option("--retries <number>", "of a call that failed for a reason that may pass", whole, 5)
    .option("--concurrency <number>", "calls at once", whole, 4);
}

export interface Priced {
  readonly inputPrice: number;
  readonly outputPrice: number;
}

export function addPriceOptions(command: Command): Command {
  return command
    .option("--input-price <number>", "of a million prompt tokens", Number, 0)
    .option("--output-price <number>", "of a million tokens of answers", Number, 0);
}

/** Endpoints on one's own machine often need no key. Throws "configuration" where one is needed. */
export function endpointKey({
  keyVariable,
  baseUrl: baseURL,
}: Pick<EndpointOptions, "keyVariable" | "baseUrl">): string {
  const key = process.env[keyVariable];
  if (key) return key;
  const { hostname } = new URL(baseURL);
  if (["localhost", "127.0.0.1", "[::1]"].includes(hostname)) return "none";
  throw new GatewayError(
    "configuration",
    `${baseURL} needs an API key: set ${keyVariable}, or name another variable with --key-variable.`,
  );
}

export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new InvalidArgumentError("must be a whole number, 1 or more");
  return value;
}
