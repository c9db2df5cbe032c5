/** @module What attacks are drawn from: a request that is nothing odd, and ways to make it so. */
import type fc from "fast-check";
import type { Attack, Sent } from "./attacks.ts";
import type { Random, Schema } from "./schemas.ts";

export interface Draw {
  readonly random: Random;
  readonly pick: <Item>(items: readonly Item[]) => Item;
  /** By fast-check. */
  readonly sample: <Value>(arbitrary: fc.Arbitrary<Value>) => Value;
  /** Ids of answers that were given, for feedback. */
  readonly answers: readonly string[];
}

/** What a kind says of an attack; the rest is drawn as for all. */
export type Drawn = Partial<Attack> & { readonly sent?: Sent };

export const chat = "/v1/chat/completions";
export const json = (path: string, body: unknown, more: Drawn = {}): Drawn => ({
  path,
  sent: { type: "whole", bytes: JSON.stringify(body) },
  ...more,
});
export const messages = (content: unknown) => [{ role: "user", content }];
export const short = { model: "plain", messages: messages("Say hi."), max_tokens: 4 };
export const many = (count: number, value: (index: number) => unknown): unknown[] =>
  Array.from({ length: count }, (_, i) => value(i));
export const entries = (count: number, value: unknown) =>
  Object.fromEntries(many(count, (i) => [String(i), value]) as [string, unknown][]);

/** Ways to ask for an answer by a schema. */
export function underSchema({ random, pick }: Draw, schema: Schema): Drawn {
  const model = pick(["plain", "plain", "icdpo"]);
  const named = { name: "a", schema };
  const parameters = typeof schema === "boolean" ? { a: schema } : schema;
  const tool = (i: number) => ({ type: "function", function: { name: `f${i}`, parameters } });
  const tool_choice = pick(["auto", "required", { type: "function", function: { name: "f0" } }]);
  const asked = { ...short, model, stream: random(3) === 0 };
  return pick([
    () => json(chat, { ...asked, response_format: { type: "json_schema", json_schema: named } }),
    () => json(chat, { ...asked, response_format: { type: "json_schema", json_schema: named } }),
    () => json(chat, { ...asked, tools: many(1 + random(3), (i) => tool(i as number)), tool_choice }),
    () =>
      json("/v1/responses", {
        model,
        input: "Say hi.",
        max_output_tokens: 4,
        text: { format: { type: "json_schema", ...named } },
      }),
  ])();
}

export const text = (length: number, unit: string): string =>
  unit.repeat(Math.ceil(length / unit.length)).slice(0, length);
export const units = [
  "a",
  "hello world ",
  "é",
  "汉字",
  "😀",
  "\n",
  " ",
  "<|im_start|>",
  "0",
  "aA1!",
  "\u0000",
  "\u200b",
];
