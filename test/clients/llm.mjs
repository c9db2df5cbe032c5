/** @module llm, Simon Willison's program for the command line, with the settings of its page. */
import { assert, assertFruit, runFeatures, said, schema } from "./harness.mjs";

const llm = (...args) => said("llm", args);
const question = "Name a fruit.";
const [, , version] = (await llm("--version")).trim().split(" ");

await runFeatures(`llm ${version}`, {
  models: async () => assert(/icdpo[\s\S]*plain/u.test(await llm("models")), "No route"),
  chat: async () =>
    assert((await llm("-m", "plain", "--no-stream", question, "-o", "max_tokens", "12")).trim(), "No text"),
  scored: async () =>
    assert((await llm("-m", "icdpo", "--no-stream", question, "-o", "max_tokens", "12")).trim(), "No text"),
  stream: async () => assert((await llm("-m", "plain", question, "-o", "max_tokens", "12")).trim(), "No text"),
  "scored stream": async () => assert((await llm("-m", "icdpo", question, "-o", "max_tokens", "12")).trim(), "No text"),
  "system, temperature, seed": async () => {
    const args = [
      "-m",
      "plain",
      "-s",
      "Be brief.",
      ...["temperature", "0.5", "seed", "7", "max_tokens", "12"].flatMap((word, i) =>
        i % 2 === 0 ? ["-o", word] : [word],
      ),
      question,
    ];
    const [one, two] = [await llm(...args), await llm(...args)];
    assert(one.trim() && one === two, `Another answer: ${one} / ${two}`);
  },
  "conversation goes on": async () => {
    await llm("-m", "plain", "--no-stream", question, "-o", "max_tokens", "12");
    assert((await llm("-c", "Another one.", "-o", "max_tokens", "12")).trim(), "No text");
  },
  usage: async () => {
    await llm("-m", "plain", question, "-o", "max_tokens", "12");
    const [{ input_tokens: input, output_tokens: output }] = JSON.parse(await llm("logs", "-n", "1", "--json"));
    assert(input > 0 && output > 0, `No usage: ${input}, ${output}`);
  },
  "JSON schema": async () =>
    assertFruit(
      JSON.parse(await llm("-m", "plain", "--schema", JSON.stringify(schema), question, "-o", "max_tokens", "100")),
    ),
  tools: async () => {
    const code = 'def weather(city: str) -> str:\n    "The weather in a city."\n    return "19 degrees"';
    await llm(
      "-m",
      "plain",
      "--functions",
      code,
      "How warm is it in Paris?",
      "-o",
      "max_tokens",
      "60",
      "--chain-limit",
      "3",
    );
  },
});
