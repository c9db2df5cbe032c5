/** @module The engine on a busy machine: as many processes beside it as there are cores, each of which uses up one. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { availableParallelism } from "node:os";
import { type Engine, GatewayError, type Prompt, type Token } from "icdpo-gateway/laboratory";
import type { BenchCase } from "./figures.ts";
import { contextTokens, responseTokens } from "./speeds.ts";

const measuredSeconds = 10;
/** Of the speed alone: it is back. A single sample or prompt differs from the mean by a tenth. */
const full = 0.85;
const longestSeconds = 60;

/** Speeds from the moment that the others begin, over those alone; and when both are back after they have ended. */
export function busyCase(engine: Engine, text: string): BenchCase {
  return {
    name: "busy machine",
    async run(round) {
      const work = await BusyWork.open(engine, text, round);
      const alone = { decode: await work.decode(measuredSeconds), prefill: await work.prefill(measuredSeconds) };
      const busy = await startBusy(availableParallelism());
      const beside = { decode: 0, prefill: 0 };
      try {
        beside.decode = await work.decode(measuredSeconds);
        beside.prefill = await work.prefill(measuredSeconds);
      } finally {
        await Promise.all(busy.map(end));
      }
      const back = await work.secondsUntil(full * alone.decode, full * alone.prefill);
      const others = `beside ${busy.length} busy processes`;
      return [
        {
          name: `decoding ${others}`,
          unit: "tokens/s",
          value: beside.decode,
          against: { name: "alone", value: alone.decode },
        },
        {
          name: `prefill ${others}`,
          unit: "tokens/s",
          value: beside.prefill,
          against: { name: "alone", value: alone.prefill },
        },
        { name: "until both are as fast again after they end", unit: "s", value: back },
      ];
    },
  };
}

class BusyWork {
  readonly #engine: Engine;
  readonly #words: readonly Token[];
  readonly #end: Token;
  /** The next prompt begins here, so that nothing of it is in the cache. */
  #fresh: number;

  private constructor(engine: Engine, words: readonly Token[], end: Token, round: number) {
    this.#engine = engine;
    this.#words = words;
    this.#end = end;
    this.#fresh = round * 1_000;
  }

  static async open(engine: Engine, text: string, round: number): Promise<BusyWork> {
    const [words = []] = await engine.tokenize([text]);
    const { end } = await engine.textPrompt("x");
    return new BusyWork(engine, words, end, round);
  }

  /** Tokens a second of single samples after a context in the cache. */
  async decode(seconds: number): Promise<number> {
    const context = this.#prompt();
    const start = performance.now();
    let tokens = 0;
    let decodingMs = 0;
    while (performance.now() - start < seconds * 1000) {
      const sampled = await this.#sample(context);
      tokens += sampled.tokens;
      decodingMs += sampled.ms;
    }
    return (tokens / decodingMs) * 1000;
  }

  /** Prompt tokens a second; of one prompt at least. */
  async prefill(seconds: number): Promise<number> {
    const start = performance.now();
    let tokens = 0;
    while (tokens === 0 || performance.now() - start < seconds * 1000) {
      for await (const _ of this.#engine.score(this.#prompt(), [[this.#end]]));
      tokens += contextTokens;
    }
    return (tokens / (performance.now() - start)) * 1000;
  }

  /**
   * Seconds until a sample and a prompt begin that go at so many tokens a second. Throws "engine_failure" where none
   * do.
   */
  async secondsUntil(decode: number, prefill: number): Promise<number> {
    const context = this.#prompt();
    const start = performance.now();
    for (;;) {
      const begun = (performance.now() - start) / 1000;
      const { tokens, ms } = await this.#sample(context);
      if ((await this.prefill(0)) >= prefill && (tokens / ms) * 1000 >= decode) return begun;
      if (begun > longestSeconds)
        throw new GatewayError("engine_failure", `The engine is not as fast as before after ${longestSeconds} s.`);
    }
  }

  async #sample(context: Prompt): Promise<{ tokens: number; ms: number }> {
    const request = {
      temperature: 1,
      topP: 0.8,
      topK: 50,
      maxTokens: responseTokens,
      stop: [],
      seeds: [1],
      logprobs: true,
    };
    let start = 0;
    let tokens = 0;
    for await (const event of this.#engine.sample(context, request)) {
      if (event.type === "prompt") start = performance.now();
      if (event.type === "done") tokens = event.sample.endLogprobs.length;
    }
    return { tokens, ms: performance.now() - start };
  }

  #prompt(): Prompt {
    const at = (this.#fresh++ * 8) % (this.#words.length - contextTokens);
    return { tokens: this.#words.slice(at, at + contextTokens), end: this.#end };
  }
}

/** The shell's own idle work; Windows has none. */
const busyWork: readonly [string, readonly string[]] =
  process.platform === "win32" ? [process.execPath, ["-e", "for (;;);"]] : ["yes", []];

async function startBusy(count: number): Promise<ChildProcess[]> {
  const [program, args] = busyWork;
  const processes = Array.from({ length: count }, () => spawn(program, args, { stdio: "ignore" }));
  // They would not notice that nobody is there any more.
  process.once("exit", () => processes.map((one) => one.kill("SIGKILL")));
  await Promise.all(processes.map((one) => once(one, "spawn")));
  return processes;
}

async function end(busy: ChildProcess): Promise<void> {
  const exit = once(busy, "exit");
  busy.kill("SIGKILL");
  await exit;
}
