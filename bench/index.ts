/** @module `icdpo bench`: the engine's speed, each figure beside its alternative in the same run. */
import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { Command } from "commander";
import {
  buildPolicySet,
  type Demonstration,
  defaultEngine,
  demonstrationSet,
  type Embedder,
  GatewayError,
  LlamaEngine,
  type ModelRuntime,
  PolicyStore,
  readAccess,
  serve,
  type World,
  whole,
  withModels,
  withSignal,
} from "icdpo-gateway/laboratory";
import { busyCase } from "./busy.ts";
import { Client } from "./client.ts";
import { type BenchCase, type Figure, renderTable, runRounds } from "./figures.ts";
import { canStream, startTargets } from "./gateways.ts";
import { overheadCase } from "./overhead.ts";
import { reportsBench } from "./reports.ts";
import { blocksCase, concurrencyCase, contrastCase, Requests, singleCase, streamCase } from "./requests.ts";
import { retrievalCase } from "./retrieval.ts";
import { type Speeds, speedCase } from "./speeds.ts";

interface BenchOptions {
  readonly rounds: number;
  readonly json?: string;
  readonly only?: string;
  readonly llamaCpp?: string;
  readonly pytorch?: string;
  readonly portkey?: string;
  readonly python: string;
}

const execute = promisify(execFile);

export function command(world: World): Command {
  return new Command("bench")
    .description(
      "measure speed: prefill, steps, scoring; whole requests beside their floor; several at once; retrieval",
    )
    .option("--rounds <count>", "interleaved rounds", whole, 3)
    .option("--json <file>", "write the figures as JSON, too")
    .option(
      "--only <text>",
      'only cases whose name holds this text (the speeds are always measured); "overhead" and "reports" are measured by themselves',
    )
    .option("--portkey <folder>", "the package @portkey-ai/gateway, installed apart, for the overhead to stand beside")
    .option("--llama-cpp <folder>", "folder with llama-batched-bench and llama-perplexity, to stand beside")
    .option(
      "--pytorch <script>",
      "a script that times one request the paper's way: SCRIPT MODEL --rounds 2, a line of JSON with total_s each",
    )
    .option("--python <program>", "what runs that script", "python3")
    .action((options: BenchOptions) => {
      if (options.only === "overhead") return benchOverhead(world, options);
      return options.only === "reports" ? benchReports(world, options) : benchEngine(world, options);
    });
}

const recordedAnswers = 2_000_000;

/** What reports of experiments cost. No model is needed. */
function benchReports(world: World, options: BenchOptions): Promise<void> {
  return withSignal(async (signal) => {
    const { benchCase, close } = await reportsBench({ answers: recordedAnswers, report: world.report, signal });
    try {
      await show(
        await runRounds([benchCase], options.rounds, world.report),
        { answers: recordedAnswers },
        world,
        options,
      );
    } finally {
      await close();
    }
  });
}

/** What the gateway itself costs. No model is needed. */
function benchOverhead(world: World, options: BenchOptions): Promise<void> {
  return withSignal(async (signal) => {
    const { targets, close } = await startTargets(options.portkey, signal);
    try {
      const { other, ...own } = targets;
      const streams = other !== undefined && (await canStream(other, signal));
      if (other !== undefined && !streams) world.report(`${other.name} cannot stream as it is installed`);
      const cases = [overheadCase(targets, false, signal), overheadCase(streams ? targets : own, true, signal)];
      await show(await runRounds(cases, options.rounds, world.report), {}, world, options);
    } finally {
      await close();
    }
  });
}

async function show(
  figures: readonly Figure[],
  about: object,
  { version }: World,
  { json, rounds }: BenchOptions,
): Promise<void> {
  process.stdout.write(`${renderTable(figures)}\n`);
  const run = { version, date: new Date().toISOString(), ...about, rounds, figures };
  if (json !== undefined) await writeFile(json, `${JSON.stringify(run, null, 2)}\n`);
}

function benchEngine(world: World, options: BenchOptions): Promise<void> {
  return withModels(world, async (models, signal) => {
    const settings = { ...world.settings(), PORT: 0, HOST: "127.0.0.1", databaseUrl: null };
    const policies = await benchPolicies(models);
    const server = await serve(
      { ...models, policies },
      settings,
      await readAccess(settings, world.report),
      world.version,
      world.report,
    );
    try {
      const client = new Client(server.url, signal);
      const cases = await benchCases(models, client, options);
      const chosen = cases.filter(({ name }) => name === "speeds" || name.includes(options.only ?? ""));
      await client.chat(new Requests().fresh("plain")); // nobody pays for the first request
      const figures = await runRounds(chosen, options.rounds, world.report);
      const { lifecycle, modelPath } = await embedded(models);
      await show(figures, { model: path.basename(modelPath), size: lifecycle.size }, world, options);
    } finally {
      await server.close();
    }
  });
}

async function benchCases(models: ModelRuntime, client: Client, options: BenchOptions): Promise<BenchCase[]> {
  const engine = await embedded(models);
  const text = (await everyday(models)).map(({ chosen }) => chosen).join("\n");
  const speeds: Speeds = { prefill: 0, scoring: 0, step: new Map() };
  const requests = new Requests();
  const threads = engine.lifecycle.size?.threads ?? 1;
  const llamaCpp =
    options.llamaCpp === undefined ? undefined : { folder: options.llamaCpp, modelPath: engine.modelPath, threads };
  const single = singleCase(client, requests, speeds);
  return [
    speedCase(engine, text, speeds, llamaCpp),
    single,
    ...(options.pytorch === undefined
      ? []
      : [paperCase(options.pytorch, options.python, engine.modelPath, threads, single.last)]),
    concurrencyCase(client, requests, "plain", [1, 2, 4, 8]),
    concurrencyCase(client, requests, "icdpo", [1, 2, 4, 8]),
    streamCase(client, requests),
    contrastCase(client, requests),
    blocksCase(client, requests, 64),
    blocksCase(client, requests, paperTokens),
    busyCase(engine, text),
    retrievalCase(engine, forgetful(await models.embedder()), text, [1_000, 10_000, 160_000]),
  ];
}

/** The longest answer in the paper (Appendix B). */
const paperTokens = 128;

/** Throws "configuration" where the default engine is another. */
async function embedded({ engines }: ModelRuntime): Promise<LlamaEngine> {
  const engine = await (await engines.open({ engine: defaultEngine })).opened();
  if (engine instanceof LlamaEngine) return engine;
  throw new GatewayError(
    "configuration",
    "The benchmarks measure the embedded engine: the engines file must not name another as default.",
  );
}

/** The same work in PyTorch; the script's first round is its warm-up. */
function paperCase(
  script: string,
  python: string,
  modelPath: string,
  threads: number,
  ours: { cold: number; warm: number },
): BenchCase {
  return {
    name: "one request, the paper's way",
    async run() {
      const { stdout } = await execute(python, [script, modelPath, "--rounds", "2", "--threads", String(threads)]);
      const { total_s: total } = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as { total_s: number };
      const name = "the paper's way in PyTorch";
      return [
        { name, unit: "s", value: total, against: { name: "ICDPO, one request, cold", value: ours.cold } },
        {
          name,
          unit: "s",
          value: total,
          against: { name: "ICDPO, one request, same demonstrations", value: ours.warm },
        },
      ];
    },
  };
}

/** Characters of a response, so that two demonstrations make a context of about 512 tokens. */
const responseCharacters = 800;

/** The benchmark's prompts are nobody's demonstrations: nothing of them is kept on the disk. */
function forgetful(embedder: Embedder): Embedder {
  const embed: Embedder["embed"] = (texts, signal) => embedder.embed(texts, signal);
  return { model: embedder.model, embed, embedKept: embed };
}

const scored = (candidates: number): string => `demonstrations: bench
retriever: { type: random }
shots: 2
candidates: ${candidates}
score: { type: contrast, negative: rejected }
`;
const policyFiles = {
  icdpo: scored(3),
  plain: "candidates: 1\nscore: { type: none }\n",
  blocks: `${scored(3)}block: { tokens: 16 }\n`,
  one: scored(1),
  contrast: `${scored(1)}decode: { type: contrast, alpha: 0.5 }\n`,
};

/** Demonstrations are drawn by the request's seed, so that a request can have the same ones again, or others. */
async function benchPolicies(models: ModelRuntime): Promise<PolicyStore> {
  const source = await everyday(models);
  const lengthened = (from: number, of: (demonstration: Demonstration) => string | undefined): string =>
    Array.from({ length: source.length }, (_, i) => of(source[(from + i) % source.length] as Demonstration))
      .join(" ")
      .slice(0, responseCharacters);
  const demonstrations = source.map(({ id, messages }, i) => ({
    id,
    messages,
    chosen: lengthened(i, ({ chosen }) => chosen),
    rejected: lengthened(i, ({ rejected }) => rejected),
  }));
  const files = {
    policies: new Map(Object.entries(policyFiles)),
    routes: JSON.stringify({
      routes: Object.fromEntries(Object.keys(policyFiles).map((name) => [name, { policy: name }])),
    }),
    demonstrations: new Map([["bench", demonstrationSet(demonstrations)]]),
  };
  return PolicyStore.open({
    read: async () => files,
    build: (read) => buildPolicySet(read, models),
    retain: (needed) => models.engines.retain(needed),
    unixTime: () => 0,
  });
}

/** Of the first set that has worse responses, too. Throws "configuration" where there is none. */
async function everyday({ policyFolder }: ModelRuntime): Promise<readonly Demonstration[]> {
  const { demonstrations } = await policyFolder.read();
  for (const [name, set] of demonstrations) {
    const paired = (await set.read(`demos/${name}.jsonl`)).filter(({ rejected }) => rejected !== undefined);
    if (paired.length > 0) return paired;
  }
  throw new GatewayError("configuration", "The benchmark needs demonstrations that have rejected responses.");
}
