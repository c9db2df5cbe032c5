/** @module OpenAI's Codex, a coding agent for the command line, as `codex exec` with the settings of its page. */
import { mkdirSync } from "node:fs";
import path from "node:path";
import { assert, larger, runFeatures, said } from "./harness.mjs";

const { HOME: home } = process.env;
const folder = path.join(home, "work");
mkdirSync(folder, { recursive: true });
const [, version] = (await said("codex", ["--version"])).trim().split(" ");

/** The events of one run. */
async function events(question, ...options) {
  const output = await said("codex", ["exec", "--json", "--skip-git-repo-check", ...options, question], {
    cwd: folder,
    env: { ...process.env, ICDPO_KEY: process.env.ICDPO_KEY },
  });
  return output
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

function answerOf(events) {
  const texts = events.flatMap(({ item }) => (item?.type === "agent_message" ? [item.text] : []));
  assert(texts.length > 0 && events.some(({ type }) => type === "turn.completed"), JSON.stringify(events).slice(-800));
  return texts.at(-1);
}

const at = (base) => ["-c", `model_providers.icdpo.base_url="${base}/v1"`];

await runFeatures(`OpenAI Codex ${version}`, {
  "exec, its events and usage": async () => {
    const all = await events("Name a fruit.");
    assert(answerOf(all), "No text");
    const { usage } = all.find(({ type }) => type === "turn.completed");
    assert(usage.input_tokens > 1000 && usage.output_tokens > 0, JSON.stringify(usage));
  },
  "exec, scored": async () => assert(answerOf(await events("Name a fruit.", "-m", "icdpo")), "No text"),
  "exec with all its tools": async () =>
    assert(
      answerOf(
        await events(
          "Name a fruit.",
          ...at(larger()),
          "-c",
          "agents.enabled=true",
          "-c",
          "features.goals=true",
          "-c",
          'web_search="live"',
        ),
      ),
      "No text",
    ),
  "runs a command": async () => {
    const all = await events(
      "Run the shell command `echo banana` and tell what it says.",
      "--sandbox",
      "danger-full-access",
      ...at(larger()),
    );
    assert(
      all.some(({ item }) => item?.type === "command_execution"),
      JSON.stringify(all).slice(-800),
    );
  },
  errors: async () => {
    const failed = await events("Name a fruit.", "-m", "none").catch((error) => error);
    assert(
      /does not exist|model_not_found/u.test(String(failed.message ?? JSON.stringify(failed))),
      String(failed).slice(-600),
    );
  },
});
