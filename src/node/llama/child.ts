/** @module The engine's own process: llama.cpp decodes on libuv's pool, which must have one thread, and a crash there must not take the gateway down. */
import type { Prompt, SampleRequest, Token } from "../../engine/engine.ts";
import { GatewayError } from "../../types/error.ts";
import { SampleBranch, ScoreBranch } from "./branches.ts";
import { type LoadedModel, loadModel } from "./model.ts";
import type { Call, ChildMessage, ParentMessage, Result } from "./protocol.ts";
import { Scheduler } from "./scheduler.ts";
import { TextStream } from "./text-stream.ts";

const running = new Map<number, AbortController>();
let loaded: { model: LoadedModel; scheduler: Scheduler } | undefined;

process.on("message", (message: ParentMessage) => {
  if ("abort" in message) running.get(message.id)?.abort();
  else void answer(message.id, message.call);
});
// Ctrl-C in a terminal reaches every process there; the gateway says when its engine is no longer needed.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {});
// The gateway is gone, however it went: so is its engine.
process.on("disconnect", () => process.exit(0));

function send(message: ChildMessage): void {
  process.send?.(message);
}

async function answer(id: number, call: Call): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  try {
    send({ id, result: await perform(id, call, controller.signal) });
  } catch (error) {
    const known =
      error instanceof GatewayError
        ? error
        : new GatewayError("engine_failure", `The engine failed: ${error instanceof Error ? error.message : error}`);
    send({ id, error: { code: known.code, message: known.message, param: known.param } });
  } finally {
    running.delete(id);
  }
}

async function perform(id: number, call: Call, signal: AbortSignal): Promise<Result> {
  if (call.type === "load") {
    const model = await loadModel(call.options);
    loaded = { model, scheduler: new Scheduler(model.backend) };
    return model.info;
  }
  if (loaded === undefined) throw new GatewayError("engine_unavailable", "The engine has not loaded its model yet.");
  const { model, scheduler } = loaded;
  switch (call.type) {
    case "tokenize":
      return call.texts.map((text) => model.tokenize(text));
    case "text-prompt":
      return model.textPrompt(call.text);
    case "chat-prompt":
      return model.chatPrompt(call.messages);
    case "sample":
      await sample(id, call.prompt, call.request, model, scheduler, signal);
      return null;
    case "score":
      return score(call.prompt, call.completions, model, scheduler, signal);
    case "load-report":
      return scheduler.load;
  }
}

async function sample(
  id: number,
  prompt: Prompt,
  request: SampleRequest,
  model: LoadedModel,
  scheduler: Scheduler,
  signal: AbortSignal,
): Promise<void> {
  const { backend } = model;
  const room = backend.contextSize - prompt.tokens.length;
  checkPrompt(prompt, room, backend.contextSize);
  const limits = { maxTokens: Math.min(request.maxTokens, room), logprobs: request.logprobs };
  const branches = request.seeds.map(
    (seed, index) =>
      new SampleBranch({
        backend,
        sampler: backend.createSampler(request, seed),
        text: new TextStream(model.detokenize, request.stop),
        request: limits,
        end: prompt.end,
        closes: model.closes,
        onText: (text) => send({ id, index, text }),
        onDone: (sample) => send({ id, index, sample }),
      }),
  );
  await scheduler.run(prompt.tokens, branches, signal);
}

async function score(
  prompt: Prompt,
  completions: readonly (readonly Token[])[],
  model: LoadedModel,
  scheduler: Scheduler,
  signal: AbortSignal,
): Promise<number[][]> {
  const { backend } = model;
  const longest = Math.max(0, ...completions.map((completion) => completion.length));
  checkPrompt(prompt, backend.contextSize + 2 - prompt.tokens.length - longest, backend.contextSize);
  const scored: number[][] = completions.map(() => []);
  const branches = completions.flatMap((completion, index) =>
    completion.length === 0
      ? []
      : [
          new ScoreBranch(backend, completion, (logprobs) => {
            scored[index] = logprobs;
          }),
        ],
  );
  if (branches.length > 0) await scheduler.run(prompt.tokens, branches, signal);
  return scored;
}

function checkPrompt(prompt: Prompt, room: number, contextSize: number): void {
  if (prompt.tokens.length === 0) throw new GatewayError("invalid_request", "The prompt is empty.", { param: "messages" });
  if (room < 1)
    throw new GatewayError(
      "context_length_exceeded",
      `The model's context holds ${contextSize} tokens, but the prompt takes ${prompt.tokens.length} and leaves too little room for the response. Shorten the messages.`,
      { param: "messages" },
    );
}
