/** @module Runs a client's features one after another, a JSON line for each: {feature, ok, detail} or {feature, skipped}. */
import { execFile } from "node:child_process";
import { setTimeout as pause } from "node:timers/promises";
import { promisify } from "node:util";

const { ICDPO_BLOCKS: blocks = "[]", ICDPO_LARGER_URL: largerUrl } = process.env;

export const question = [{ role: "user", content: "Name a fruit." }];
export const schema = {
  type: "object",
  properties: {
    name: { type: "string", maxLength: 20 },
    colour: { enum: ["red", "green", "yellow"] },
    grams: { type: "integer", minimum: 1, maximum: 999 },
  },
  required: ["name", "colour", "grams"],
  additionalProperties: false,
};
export const weather = {
  name: "get_weather",
  description: "The weather in a city.",
  parameters: {
    type: "object",
    properties: { city: { type: "string", maxLength: 20 }, unit: { enum: ["celsius", "fahrenheit"] } },
    required: ["city", "unit"],
    additionalProperties: false,
  },
};
export const weatherQuestion = [{ role: "user", content: "How warm is it in Paris? Use celsius." }];

export function assert(holds, what) {
  if (!holds) throw new Error(what);
}

/** A fruit as the schema describes it. */
export function assertFruit(fruit) {
  assert(
    typeof fruit.name === "string" && schema.properties.colour.enum.includes(fruit.colour),
    `No fruit: ${JSON.stringify(fruit)}`,
  );
  assert(Number.isInteger(fruit.grams) && fruit.grams >= 1 && fruit.grams <= 999, `Odd weight: ${fruit.grams}`);
}

export function assertWeather(call) {
  assert(
    typeof call.city === "string" && weather.parameters.properties.unit.enum.includes(call.unit),
    `No call: ${JSON.stringify(call)}`,
  );
}

class Skipped extends Error {}
let isLarger = false;

/** The address of a gateway with a larger model, for what the default one is too small for. */
export function larger() {
  if (largerUrl === undefined) throw new Skipped("ICDPO_CHECK_LARGER_MODEL is not set");
  isLarger = true;
  return largerUrl;
}

/** The code of the client's blocks on its page, of one language. */
export function blocksIn(wanted) {
  return JSON.parse(blocks).flatMap(({ language, code }) => (language === wanted ? [code] : []));
}

/** What a program says on stdout. Throws with all that it said. */
export async function said(program, args, options = {}) {
  const started = promisify(execFile)(program, args, { maxBuffer: 1 << 26, ...options });
  started.child.stdin.end();
  const { stdout } = await started.catch(({ code, signal, stdout, stderr }) => {
    throw new Error(`${program} ended with ${code ?? signal}: ${`${stdout}\n${stderr}`.trim().slice(-900)}`);
  });
  return stdout;
}

/** Asks until there is an answer other than undefined, for as long as a slow machine may take. */
export async function eventually(ask, { what, seconds = 600 }) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; await pause(500)) {
    const found = await ask();
    if (found !== undefined) return found;
  }
  throw new Error(`${what} did not come in ${seconds} s`);
}

export async function runFeatures(client, features) {
  console.log(JSON.stringify({ client }));
  const { ICDPO_ONLY: only } = process.env;
  for (const [feature, check] of Object.entries(features)) {
    if (only && !feature.includes(only) && !client.includes(only)) continue;
    isLarger = false;
    try {
      await check();
      console.log(JSON.stringify({ feature, ok: true, larger: isLarger }));
    } catch (error) {
      if (error instanceof Skipped) {
        console.log(JSON.stringify({ feature, skipped: error.message }));
        continue;
      }
      console.log(JSON.stringify({ feature, ok: false, detail: String(error?.stack ?? error).slice(0, 1200) }));
    }
  }
}
