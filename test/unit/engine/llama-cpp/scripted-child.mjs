/**
 * An engine's process without a model. What it is told of as the model is a JSON file behind "GGUF", read at each load:
 * `error`, what loading fails with; `ends`, to end while it loads; `loads`, to load for ever. Beside it stand the ids
 * of all processes that loaded it, and the environment of the last. A sample goes on until a text "release" is
 * tokenised; a text "die" ends the process, as does a sample with the grammar "deadly"; a text "part" cuts its channel a
 * moment before it ends; a sample with the grammar "endless" hangs it; one with "waits …" shows nothing until its end. Beside the model, `.samples` has a line for each sample
 * that was begun: its grammar. A reward is the response's length; the response "die" ends the process, and "waits" has no answer.
 */
import { appendFileSync, readFileSync, writeFileSync } from "node:fs";

let place = "";

const info = {
  contextSize: 128,
  capabilities: { chat: true, text: true, score: true, grammar: true, tools: null },
};
const size = { contextSize: 128, sequences: 2, threads: 1, gpu: null, why: [] };
const load = { active: 0, waiting: 0, freeSequences: 2, stepMs: 0 };

/** Samples under way, by the number of their call. */
const held = new Map();

function end(id) {
  if (!held.delete(id)) return;
  process.send({
    id,
    index: 0,
    sample: { text: "Done.", finish: "stop", tokens: [1], logprobs: [0], endLogprobs: [0, 0] },
  });
  process.send({ id, result: null });
}

function part() {
  process.removeAllListeners("disconnect");
  process.disconnect();
  setTimeout(() => process.exit(7), 300);
}

function perform(id, call) {
  switch (call.type) {
    case "load": {
      const { modelPath } = call.options;
      const { error, ends, loads } = JSON.parse(readFileSync(modelPath, "utf8").replace(/^GGUF/u, ""));
      place = modelPath;
      appendFileSync(`${modelPath}.pids`, `${process.pid}\n`);
      writeFileSync(`${modelPath}.environment`, JSON.stringify(process.env));
      if (loads === true) return undefined;
      if (ends === true) process.exit(7);
      if (error !== undefined) throw new Error(error);
      return { info: { model: call.options.model, ...info }, size };
    }
    case "load-report":
      return { ...load, active: held.size };
    case "tokenize":
      if (call.texts.includes("die")) process.exit(7);
      if (call.texts.includes("part")) part();
      if (call.texts.includes("release")) for (const sample of held.keys()) end(sample);
      return call.texts.map(() => [1]);
    case "reward":
      if (call.response === "die") process.exit(7);
      return call.response === "waits" ? undefined : call.response.length;
    case "chat-prompt":
      return { tokens: [1, 2], end: 0 };
    case "sample":
      appendFileSync(`${place}.samples`, `${call.request.grammar}\n`);
      if (call.request.grammar === "deadly") process.exit(7);
      if (call.request.grammar === "endless") for (;;);
      held.set(id, call);
      if (!call.request.grammar?.startsWith("waits")) process.send({ id, cached: 0 });
      return undefined;
    default:
      throw new Error(`The engine without a model knows no ${call.type}.`);
  }
}

process.on("message", ({ id, call, abort }) => {
  if (abort) held.delete(id);
  if (call === undefined) return;
  try {
    const result = perform(id, call);
    if (result !== undefined && process.connected) process.send({ id, result });
  } catch (error) {
    process.send({ id, error: { code: "engine_failure", message: error.message, param: null } });
  }
});
process.on("disconnect", () => process.exit(0));
