/**
 * @module What strangers may send, drawn by a seed: the same seed, the same attack. Doing it is another matter
 * (`attacker.ts`).
 */
import fc from "fast-check";
import { candidateSeed } from "../../src/icdpo/seed.ts";
import { seeded } from "../integration/gateway.ts";
import { attackKinds } from "./attack-kinds.ts";
import { chat, type Draw, type Drawn, json, short, underSchema } from "./attack-parts.ts";
import { schemaKinds } from "./schemas.ts";

export type Sent =
  | { readonly type: "whole"; readonly bytes: string | Uint8Array }
  /** So many bytes every so often. */
  | { readonly type: "pieces"; readonly bytes: string; readonly size: number; readonly everyMs: number }
  /** As long as it is taken, up to so many megabytes; with its length announced, or in chunks. */
  | { readonly type: "endless"; readonly megabytes: number; readonly isAnnounced: boolean }
  /** Less than was announced, and then nothing. */
  | { readonly type: "unfinished"; readonly bytes: string; readonly announced: number }
  /** Not even HTTP. */
  | { readonly type: "wire"; readonly bytes: string | Uint8Array };

export type Reader =
  | { readonly type: "whole" }
  | { readonly type: "leaves"; readonly afterMs: number }
  | { readonly type: "slow"; readonly bytes: number; readonly everyMs: number; readonly forMs: number }
  | { readonly type: "stops"; readonly forMs: number };

export interface Attack {
  readonly kind: string;
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly sent: Sent;
  readonly reader: Reader;
  /** Which of the keys it brings; null: none, or one that nobody has. */
  readonly key: number | null;
  /** So many of it at once. */
  readonly times: number;
  /** It must be answered with 200, or refused by a limit. */
  readonly isHarmless: boolean;
}

/** A POST of nothing, read to its end: what an attack is where nothing else is said. */
export const plainAttack: Attack = {
  kind: "plain",
  method: "POST",
  path: "/",
  headers: { "content-type": "application/json" },
  sent: { type: "whole", bytes: "" },
  reader: { type: "whole" },
  key: null,
  times: 1,
  isHarmless: false,
};

/** Of schemas of a kind: some hundred kB. */
const largest = 20_000;

/** How an answer is read, where an attack does not say: mostly as it should be. */
function reader({ random }: Draw): Reader {
  const kind = random(20);
  if (kind < 4) return { type: "leaves", afterMs: random(random(2) === 0 ? 50 : 2_000) };
  if (kind === 4) return { type: "slow", bytes: 100 + random(4_000), everyMs: 10 + random(200), forMs: random(6_000) };
  if (kind === 5) return { type: "stops", forMs: random(6_000) };
  return { type: "whole" };
}

/**
 * The worst that is known, so that each run holds it: every kind of schema as large as it may be, and what else has
 * once been too much.
 */
export const worstAttacks: readonly ((draw: Draw) => readonly [string, Drawn])[] = [
  ...Object.entries(schemaKinds).map(([name, make]) => (draw: Draw): readonly [string, Drawn] => [
    `a schema: ${name}`,
    underSchema(draw, make(largest)),
  ]),
  () => ["600 MB in chunks", { path: chat, key: null, sent: { type: "endless", megabytes: 600, isAnnounced: false } }],
  () => ["600 MB, announced", { path: chat, key: null, sent: { type: "endless", megabytes: 600, isAnnounced: true } }],
  () => ["600 MB with a key", { path: chat, sent: { type: "endless", megabytes: 600, isAnnounced: false } }],
  () => ["100 bodies of 9 MB at once", json(chat, { ...short, user: "u".repeat(9_000_000) }, { times: 100 })],
  () => ["30 bodies of 32,000 values at once", json(chat, { ...short, x: Array(32_000).fill(-1) }, { times: 30 })],
  () => [
    "30 lists of 2,048 wrong items at once",
    json("/v1/responses", { model: "plain", input: Array(2_048).fill({}) }, { times: 30 }),
  ],
  () => ["a stop string of 23 kB", json(chat, { ...short, max_tokens: 20, stop: "a".repeat(23_000) })],
  () => [
    "stop strings that begin alike",
    json(chat, { ...short, max_tokens: 20, stop: ["a", "b", "c", "d"].map((end) => " ".repeat(127) + end) }),
  ],
  () => ["8 MB to embed", json("/v1/embeddings", { model: "plain", input: "basil ".repeat(1_400_000) })],
  () => [
    "8 MB to answer",
    json(chat, { ...short, model: "icdpo", messages: [{ role: "user", content: "basil ".repeat(1_400_000) }] }),
  ],
  () => [
    "8 MB without a space",
    json(chat, { ...short, messages: [{ role: "user", content: "a".repeat(8_000_000) }] }),
  ],
  () => [
    "256 prompts, 16 answers each",
    json("/v1/completions", { model: "plain", prompt: Array(256).fill("Once"), n: 16, max_tokens: 1 }),
  ],
];

/**
 * Attack `number` of a seed; `keys`: how many there are. The first ones are every kind of schema, as large as it may
 * be, so that each run holds them.
 */
export function drawAttack(seed: number, number: number, keys: number, answers: readonly string[]): Attack {
  const random = seeded(candidateSeed(seed, number));
  const pick = <Item>(items: readonly Item[]): Item => items[random(items.length)] as Item;
  const sample = <Value>(arbitrary: fc.Arbitrary<Value>): Value =>
    fc.sample(arbitrary, { seed: random(2 ** 31), numRuns: 1, unbiased: random(2) === 0 })[0] as Value;
  const draw: Draw = { random, pick, sample, answers };
  const isWorst = number < worstAttacks.length;
  const [kind, drawn] = isWorst
    ? (worstAttacks[number] as (draw: Draw) => readonly [string, Drawn])(draw)
    : drawKind(draw);
  const isPlain = drawn.isHarmless === true || isWorst;
  return {
    ...plainAttack,
    kind,
    reader: isPlain ? { type: "whole" } : reader(draw),
    key: !isPlain && random(20) === 0 ? null : random(keys),
    ...drawn,
    headers: { ...plainAttack.headers, ...drawn.headers },
  };
}

function drawKind(draw: Draw): readonly [string, Drawn] {
  const whole = Object.values(attackKinds).reduce((sum, [weight]) => sum + weight, 0);
  let left = (draw.random(1_000_000) / 1_000_000) * whole;
  for (const [kind, [weight, make]] of Object.entries(attackKinds)) {
    left -= weight;
    if (left < 0) return [kind, make(draw)];
  }
  throw new Error("Weights do not add up");
}
