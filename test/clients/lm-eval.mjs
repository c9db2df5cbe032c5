/**
 * @module EleutherAI's lm-evaluation-harness: log-likelihoods by text and by token ids, which must be the same numbers,
 * and answers of chats. Its tasks come from a hub, so that the check has small ones of its own.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { assert, runFeatures, said } from "./harness.mjs";

const { HOME: home, ICDPO_URL: url, ICDPO_DEFAULT_MODEL: model } = process.env;
const tasks = path.join(home, "tasks");
mkdirSync(tasks, { recursive: true });
const rows = [
  { question: "The colour of a ripe banana is", choices: [" yellow", " seventeen"], answer: 0 },
  { question: "Paris is the capital of", choices: [" bananas", " France"], answer: 1 },
];
writeFileSync(path.join(tasks, "rows.jsonl"), rows.map((row) => JSON.stringify(row)).join("\n"));
const data = {
  dataset_path: "json",
  dataset_kwargs: { data_files: { test: path.join(tasks, "rows.jsonl") } },
  test_split: "test",
};
const task = (name, settings) =>
  writeFileSync(path.join(tasks, `${name}.yaml`), JSON.stringify({ task: name, ...data, ...settings }));
task("choices", {
  output_type: "multiple_choice",
  doc_to_text: "{{question}}",
  doc_to_target: "answer",
  doc_to_choice: "{{choices}}",
  target_delimiter: "",
  metric_list: [{ metric: "acc" }],
});
task("answers", {
  output_type: "generate_until",
  doc_to_text: "{{question}}",
  doc_to_target: "{{choices[answer]}}",
  generation_kwargs: { until: ["\n"], max_gen_toks: 12 },
  metric_list: [{ metric: "exact_match" }],
});
task("perplexity", {
  output_type: "loglikelihood_rolling",
  doc_to_text: "",
  doc_to_target: "{{question}}",
  metric_list: [{ metric: "word_perplexity" }],
});

/** The samples that it wrote: what was asked, and what came. */
async function evaluate(kind, name, settings, ...options) {
  const output = path.join(home, `out-${Math.random()}`);
  const given = Object.entries({ model: "plain", num_concurrent: 1, max_retries: 1, ...settings }).map(
    ([key, value]) => `${key}=${value}`,
  );
  await said(
    "lm_eval",
    [
      "--model",
      kind,
      "--model_args",
      given.join(","),
      "--tasks",
      name,
      "--include_path",
      tasks,
      "--output_path",
      output,
      "--log_samples",
      ...options,
    ],
    {
      cwd: home,
      env: { ...process.env, HF_HUB_OFFLINE: "1", HF_DATASETS_CACHE: path.join(home, "cache") },
    },
  );
  const files = readdirSync(output, { recursive: true }).filter((file) => path.basename(file).startsWith("samples_"));
  return readFileSync(path.join(output, files[0]), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line));
}

const completions = { base_url: `${url}/v1/completions` };
const tokenizer = path.join(home, "tokenizer");
await said("python", [path.join(import.meta.dirname, "gguf_tokenizer.py"), model, tokenizer]);
const byText = { ...completions, tokenizer_backend: "huggingface", tokenizer, tokenized_requests: "False" };
const byIds = { ...byText, tokenized_requests: "True" };
const sums = (samples) => samples.flatMap(({ resps }) => resps.flat(2).map(Number)).filter(Number.isFinite);
const version = (await said("python", ["-c", "import importlib.metadata as m; print(m.version('lm_eval'))"])).trim();

await runFeatures(`lm-evaluation-harness ${version}`, {
  "log-likelihood by text": async () => {
    const samples = await evaluate("local-completions", "choices", byText);
    assert(samples.length === 2 && sums(samples).length >= 4, JSON.stringify(samples).slice(0, 800));
  },
  "log-likelihood by ids": async () => {
    const [ids, texts] = [
      await evaluate("local-completions", "choices", byIds),
      await evaluate("local-completions", "choices", byText),
    ].map(sums);
    assert(ids.length === texts.length && ids.every((sum, i) => Math.abs(sum - texts[i]) < 0.05), `${ids} / ${texts}`);
  },
  perplexity: async () => {
    assert(
      sums(await evaluate("local-completions", "perplexity", byIds)).every((sum) => sum < 0),
      "No sums",
    );
  },
  completions: async () =>
    assert(
      (
        await evaluate("local-completions", "answers", {
          ...completions,
          tokenizer_backend: "None",
          tokenized_requests: "False",
        })
      ).every(({ resps }) => resps.length > 0),
      "No text",
    ),
  chat: async () => {
    const settings = { base_url: `${url}/v1/chat/completions` };
    const samples = await evaluate("local-chat-completions", "answers", settings, "--apply_chat_template");
    assert(
      samples.every(({ resps }) => resps.length > 0),
      JSON.stringify(samples).slice(0, 800),
    );
  },
});
