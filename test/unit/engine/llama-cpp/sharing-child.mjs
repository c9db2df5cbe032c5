/**
 * An engine's process without a model, on a machine of four cores. A sample goes on until a text is tokenised; the
 * tokens of that text are the numbers of threads that the process was told so far. A score has its prompt at once, and
 * scores a completion when a text is tokenised.
 */
const info = {
  model: "none",
  contextSize: 128,
  capabilities: { chat: true, text: true, score: true, grammar: true, tools: null },
};
const size = { contextSize: 128, sequences: 2, threads: 4, mostThreads: 4, cores: 4, gpu: null, why: [] };
const load = { active: 0, waiting: 0, freeSequences: 2, stepMs: 0, threads: 4 };

const told = [];
/** What the next text ends. */
const held = [];
/** Scores with a completion that is not scored yet: whether it was the last. */
const completing = new Map();

function perform(id, call) {
  switch (call.type) {
    case "load":
      return { info, size };
    case "load-report":
      return load;
    case "tokenize":
      for (const end of held.splice(0)) end();
      return [[...told]];
    case "sample":
      process.send({ id, cached: 0 });
      held.push(() => process.send({ id, result: null }));
      return undefined;
    case "score":
      process.send({ id, cached: 0 });
      return undefined;
    default:
      throw new Error(`The engine without a model knows no ${call.type}.`);
  }
}

process.on("message", ({ id, call, completion, threads }) => {
  if (threads !== undefined) told.push(threads);
  // A score ends when all of its completions are scored.
  if (completion === null) completing.has(id) ? completing.set(id, true) : process.send({ id, result: null });
  else if (completion !== undefined) {
    completing.set(id, false);
    held.push(() => {
      process.send({ id, index: 0, logprobs: [-1] });
      if (completing.get(id)) process.send({ id, result: null });
      completing.delete(id);
    });
  }
  if (call === undefined) return;
  const result = perform(id, call);
  if (result !== undefined) process.send({ id, result });
});
process.on("disconnect", () => process.exit(0));
