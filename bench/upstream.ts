/**
 * @module A model server in a process of its own that answers at once with a fixed text, so that all time is the
 * gateway's.
 */
import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const pieces = "The quick brown fox jumps over the lazy dog while the cat looks on and yawns".split(/(?= )/u);
const created = 1_700_000_000;
const usage = { prompt_tokens: 16, completion_tokens: pieces.length, total_tokens: 16 + pieces.length };
const common = { id: "chatcmpl-0", created, model: "stub" };

const completion = JSON.stringify({
  ...common,
  object: "chat.completion",
  choices: [
    {
      index: 0,
      message: { role: "assistant", content: pieces.join(""), refusal: null },
      logprobs: null,
      finish_reason: "stop",
    },
  ],
  usage,
});

function chunk(rest: object): string {
  return `data: ${JSON.stringify({ ...common, object: "chat.completion.chunk", ...rest })}\n\n`;
}

const choice = (delta: object, finish: string | null = null) => ({
  choices: [{ index: 0, delta, logprobs: null, finish_reason: finish }],
});
/** One event a token, as model servers send them; the last is sent only where usage is asked for. */
const events = [
  chunk(choice({ role: "assistant", content: "" })),
  ...pieces.map((content) => chunk(choice({ content }))),
  chunk(choice({}, "stop")),
];
const usageEvent = chunk({ choices: [], usage });
const models = JSON.stringify({ object: "list", data: [{ id: "stub", object: "model", created, owned_by: "stub" }] });

interface Asked {
  readonly stream?: boolean;
  readonly stream_options?: { readonly include_usage?: boolean };
}

function answer(response: ServerResponse, { stream, stream_options: options }: Asked): void {
  if (!stream) {
    json(response, completion);
    return;
  }
  response.writeHead(200, { "content-type": "text/event-stream" });
  for (const event of events) response.write(event);
  if (options?.include_usage) response.write(usageEvent);
  response.end("data: [DONE]\n\n");
}

function json(response: ServerResponse, body: string): void {
  response.writeHead(200, { "content-type": "application/json", "content-length": Buffer.byteLength(body) }).end(body);
}

const server = createServer((request, response) => {
  if (request.method === "GET") return json(response, models);
  const received: Buffer[] = [];
  request.on("data", (bytes: Buffer) => received.push(bytes));
  request.on("end", () => answer(response, JSON.parse(Buffer.concat(received).toString()) as Asked));
});
server.keepAliveTimeout = 75_000;
server.listen(0, "127.0.0.1", () => process.send?.((server.address() as AddressInfo).port));
// Whoever started it has ended.
process.on("disconnect", () => process.exit(0));
