/**
 * @module Whole requests over HTTP: one, several at once, and a stream among others; each beside its floor, or beside
 * plain sampling.
 */
import { pause } from "icdpo-gateway/laboratory";
import type { ChatRequestBody, Client } from "./client.ts";
import { type BenchCase, type Measurement, quantile } from "./figures.ts";
import { responseTokens, type Speeds } from "./speeds.ts";

const questions = [
  "Tell me a long story about a lighthouse.",
  "Describe a walk through an old town in detail.",
  "Explain at length how bread is made.",
  "Write a long letter to a friend about your summer.",
  "Describe how a garden changes over a whole year.",
  "Tell me everything about keeping bees.",
  "Explain in detail how a bicycle works.",
  "Describe a day at a busy harbour.",
];

/** Requests that no earlier one shares its demonstrations with. */
export class Requests {
  #made = 0;

  /** The seed draws the demonstrations: another one, other demonstrations. */
  fresh(model: string): ChatRequestBody {
    const number = this.#made++;
    const content = `${questions[number % questions.length]} (${number})`;
    return { model, messages: [{ role: "user", content }], max_tokens: responseTokens, seed: 1000 + number };
  }
}

/**
 * Seconds that the work of a request takes at the measured speeds: prompt tokens not in the cache, steps, scored
 * tokens.
 */
export function floor(answer: Pick<Awaited<ReturnType<Client["chat"]>>, "tokens" | "lengths">, speeds: Speeds): number {
  const { prompt, scored, cached } = answer.tokens;
  let steps = 0;
  for (let step = 0; step < Math.max(...answer.lengths); step++)
    steps += stepSeconds(answer.lengths.filter((length) => length > step).length, speeds);
  return (prompt - cached) / speeds.prefill + steps + scored / speeds.scoring;
}

/** Between the measured widths: linear. */
function stepSeconds(width: number, { step }: Speeds): number {
  const known = [...step].sort(([a], [b]) => a - b);
  const above = known.find(([measured]) => measured >= width) ?? (known.at(-1) as [number, number]);
  const below = known.findLast(([measured]) => measured <= width) ?? above;
  if (above[0] === below[0]) return above[1];
  return below[1] + ((above[1] - below[1]) * (width - below[0])) / (above[0] - below[0]);
}

/**
 * One request on an idle machine: plain; ICDPO cold, with the same demonstrations again, and the conversation's second
 * turn.
 */
export function singleCase(
  client: Client,
  requests: Requests,
  speeds: Speeds,
): BenchCase & { readonly last: { cold: number; warm: number } } {
  const last = { cold: 0, warm: 0 };
  return {
    name: "one request",
    last,
    async run() {
      const besideFloor = (name: string, answer: Awaited<ReturnType<Client["chat"]>>): Measurement => ({
        name,
        unit: "s",
        value: answer.seconds,
        against: { name: "its floor", value: floor(answer, speeds) },
      });
      const plain = await client.chat(requests.fresh("plain"));
      const first = requests.fresh("icdpo");
      const cold = await client.chat(first);
      const again = {
        ...first,
        messages: [{ role: "user", content: requests.fresh("icdpo").messages[0]?.content ?? "" }],
      };
      const warm = await client.chat(again);
      Object.assign(last, { cold: cold.seconds, warm: warm.seconds });
      const turns = [
        ...again.messages,
        { role: "assistant", content: warm.content },
        { role: "user", content: "Go on, please." },
      ];
      const second = await client.chat({ ...again, messages: turns });
      return [
        besideFloor("plain, one request", plain),
        besideFloor("ICDPO, one request, cold", cold),
        besideFloor("ICDPO, one request, same demonstrations", warm),
        besideFloor("ICDPO, one request, second turn", second),
        {
          name: "ICDPO, cold",
          unit: "s",
          value: cold.seconds,
          against: { name: "plain sampling", value: plain.seconds },
        },
        {
          name: "ICDPO, same demonstrations",
          unit: "s",
          value: warm.seconds,
          against: { name: "plain sampling", value: plain.seconds },
        },
      ];
    },
  };
}

/** Several requests at once, beside the same number one after another. */
export function concurrencyCase(
  client: Client,
  requests: Requests,
  model: string,
  counts: readonly number[],
): BenchCase {
  return {
    name: `${model}, several at once`,
    async run() {
      const most = Math.max(...counts);
      const alone: number[] = [];
      for (let i = 0; i < most; i++) alone.push((await client.chat(requests.fresh(model))).seconds);
      const measurements: Measurement[] = [];
      for (const count of counts) {
        const started = performance.now();
        const each = await Promise.all(
          Array.from({ length: count }, async () => (await client.chat(requests.fresh(model))).seconds),
        );
        const together = (performance.now() - started) / 1000;
        const inTurn = alone.slice(0, count).reduce((sum, taken) => sum + taken, 0);
        const median = quantile(
          each.toSorted((a, b) => a - b),
          0.5,
        );
        const what = `${model}, ${count} at once`;
        measurements.push({
          name: what,
          unit: "s",
          value: together,
          against: { name: "one after another", value: inTurn },
        });
        if (count > 2)
          measurements.push({
            name: `${what}: the slowest`,
            unit: "s",
            value: Math.max(...each),
            against: { name: "the median", value: median },
          });
      }
      return measurements;
    },
  };
}

const comparisons = 8;

/**
 * Decoding by contrast beside one sample of the same C⁺, the demonstrations of both in the cache: time to the first
 * text, and time by token.
 */
export function contrastCase(client: Client, requests: Requests): BenchCase {
  const name = "decoding by contrast";
  return {
    name,
    async run() {
      const body = requests.fresh("one");
      await client.chat({ ...body, model: "contrast", max_tokens: 1 });
      const time = async (model: string) => {
        const { content } = body.messages[0] as { readonly content: string };
        const asked = (mark: string) => ({
          ...body,
          model,
          messages: [{ role: "user", content: `${mark} ${content}` }],
        });
        const first = await client.firstToken(asked("Then:"));
        const { seconds, lengths } = await client.chat(asked("Now:"));
        return { first, token: seconds / Math.max(...lengths) };
      };
      const [one, contrast] = [await time("one"), await time("contrast")];
      const against = (value: number) => ({ name: "one sample of C⁺", value });
      return [
        { name: `${name}: first text`, unit: "s", value: contrast.first, against: against(one.first) },
        { name: `${name}: a token`, unit: "s", value: contrast.token, against: against(one.token) },
      ];
    },
  };
}

const others = 4;
const arrivals = 3;
const betweenArrivalsMs = 1_500;

/** A plain stream that arrives while ICDPO requests run: time to its first token, beside that on an idle machine. */
export function streamCase(client: Client, requests: Requests): BenchCase {
  return {
    name: "a stream among others",
    async run() {
      const idle = await client.firstToken(requests.fresh("plain"));
      const running = Promise.all(Array.from({ length: others }, () => client.chat(requests.fresh("icdpo"))));
      const busy: number[] = [];
      for (let i = 0; i < arrivals; i++) {
        await pause(betweenArrivalsMs);
        busy.push(await client.firstToken(requests.fresh("plain")));
      }
      await running;
      const against = { name: "on an idle machine", value: idle };
      return [
        {
          name: `first token of a stream, ${others} ICDPO requests running`,
          unit: "s",
          value: Math.max(...busy),
          against,
        },
      ];
    },
  };
}

/**
 * Block by block beside the whole answer: time to the first text with the demonstrations in the cache, and Ŝ of what
 * comes out, on the same requests.
 */
export function blocksCase(client: Client, requests: Requests, tokens: number): BenchCase {
  const name = `block by block, ${tokens} tokens`;
  return {
    name,
    async run() {
      const [wholeSeconds, firstSeconds, blockSeconds, wholeScores, blockScores]: number[][] = [[], [], [], [], []];
      for (let i = 0; i < comparisons; i++) {
        const whole = { ...requests.fresh("icdpo"), max_tokens: tokens };
        const blocks = { ...whole, model: "blocks" };
        // Each with its demonstrations at hand, and the message new.
        await client.chat(whole);
        const another = (body: typeof whole, mark: string) => ({
          ...body,
          messages: [{ role: "user", content: `${mark} ${body.messages[0]?.content}` }],
        });
        const answered = await client.chat(another(whole, "Now:"));
        firstSeconds?.push(await client.firstToken(another(blocks, "Then:")));
        const inBlocks = await client.chat(another(blocks, "Now:"));
        wholeSeconds?.push(answered.seconds);
        blockSeconds?.push(inBlocks.seconds);
        wholeScores?.push(answered.score ?? Number.NaN);
        blockScores?.push(inBlocks.score ?? Number.NaN);
      }
      const middle = (values: readonly number[] = []): number =>
        quantile(
          values.toSorted((a, b) => a - b),
          0.5,
        );
      const against = { name: "the whole answer", value: middle(wholeSeconds) };
      return [
        { name: `${name}: first text`, unit: "s", value: middle(firstSeconds), against },
        { name: `${name}: all`, unit: "s", value: middle(blockSeconds), against },
        {
          name: `${name}: Ŝ`,
          unit: "nats",
          value: middle(blockScores),
          against: { name: "the whole answer's", value: middle(wholeScores) },
        },
      ];
    },
  };
}
