/** @module Runs a client's features one after another and prints a JSON line for each: {feature, ok, detail}. */

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

export async function runFeatures(client, features) {
  console.log(JSON.stringify({ client }));
  const { ICDPO_ONLY: only } = process.env;
  for (const [feature, check] of Object.entries(features)) {
    if (only && !feature.includes(only) && !client.includes(only)) continue;
    try {
      await check();
      console.log(JSON.stringify({ feature, ok: true }));
    } catch (error) {
      console.log(JSON.stringify({ feature, ok: false, detail: String(error?.stack ?? error).slice(0, 600) }));
    }
  }
}
