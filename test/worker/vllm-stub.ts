/**
 * @module A server that speaks as vLLM does, over HTTP; a token is a character. After worse answers it likes "number 1"
 * least.
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

const control = ["<|im_start|>", "<|im_end|>"];
const [opening, closing] = [1, 2];
/** Stands in worse answers only. */
export const worse = "Who cares.";
/** In a prompt: the answer is long, and takes long. */
export const slowly = "slowly";

interface Call {
  readonly type: "sample" | "score";
  /** "left": the caller hung up. */
  state: "open" | "done" | "left";
}

export interface VllmStub {
  readonly url: string;
  /** In order of arrival. */
  readonly calls: readonly Call[];
  close(): void;
}

export async function startVllmStub(onPort = 0): Promise<VllmStub> {
  const calls: Call[] = [];
  const server = createServer((request, response) => {
    read(request)
      .then((body) => answer(request.url ?? "", body, response, calls))
      .catch((error: unknown) => response.writeHead(500).end(JSON.stringify({ error: { message: String(error) } })));
  });
  await new Promise<void>((resolve) => server.listen(onPort, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return { url: `http://127.0.0.1:${port}`, calls, close: () => server.close().closeAllConnections() };
}

interface Body {
  readonly prompt: string | number[] | number[][];
  readonly tokens: number[];
  readonly messages?: { readonly role: string; readonly content: string }[];
  readonly add_generation_prompt?: boolean;
  readonly n?: number;
  readonly stream?: boolean;
  readonly echo?: boolean;
  readonly structured_outputs?: unknown;
  readonly allowed_token_ids?: number[];
}

async function read(request: IncomingMessage): Promise<Body> {
  let text = "";
  for await (const piece of request) text += piece;
  return JSON.parse(text || "{}");
}

async function answer(path: string, body: Body, response: ServerResponse, calls: Call[]): Promise<void> {
  const json = (value: unknown) =>
    void response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(value));
  if (path === "/health") return json({});
  if (path === "/v1/models") return json({ data: [{ id: "stub", max_model_len: 100_000 }] });
  if (path === "/detokenize") return json({ prompt: decode(body.tokens) });
  if (path === "/tokenize") {
    const tokens = encode(body.messages === undefined ? String(body.prompt) : render(body));
    return json({ tokens, token_strs: tokens.map((token) => decode([token])) });
  }
  if (!body.stream) return json({ choices: [complete(body)] });
  const call: Call = { type: body.echo ? "score" : "sample", state: "open" };
  calls.push(call);
  response.on("close", () => {
    if (call.state === "open") call.state = "left";
  });
  response.writeHead(200, { "content-type": "text/event-stream" });
  for await (const choice of body.echo ? echo(body.prompt as number[][]) : sample(body)) {
    if (call.state === "left") return;
    response.write(`data: ${JSON.stringify({ choices: [choice] })}\n\n`);
  }
  call.state = "done";
  response.end("data: [DONE]\n\n");
}

function render({ messages = [], add_generation_prompt }: Body): string {
  const turns = messages.map(({ role, content }) => `<|im_start|>${role}\n${content}<|im_end|>\n`);
  return `${turns.join("")}${add_generation_prompt ? "<|im_start|>assistant\n" : ""}`;
}

/** What the engine asks to get to know the model: whether a token is a control token, and how a text ends. */
function complete({ allowed_token_ids: allowed }: Body) {
  const tokens = allowed ?? [...encode("a"), closing];
  const text = tokens.filter((token) => token > closing).map((token) => String.fromCharCode(token));
  return { index: 0, text: text.join(""), token_ids: tokens, finish_reason: "stop" };
}

const toolCall = '<tool_call>\n{"name": "weather", "arguments": {"city": "Paris"}}\n</tool_call>';

/** What is left to say of an answer that may have begun at the prompt's end. */
function goingOn(context: string, index: number): string {
  const [, number = index] = /Candidate number (\d)$/u.exec(context) ?? [];
  const whole = `Candidate number ${number}.`;
  const lengths = Array.from({ length: whole.length }, (_, i) => whole.length - i);
  return whole.slice(lengths.find((length) => context.endsWith(whole.slice(0, length))) ?? 0);
}

/** Of grammars it knows one, by heart. */
async function* sample({ prompt, n = 1, structured_outputs: grammar }: Body) {
  const context = decode(prompt as number[]);
  const isSlow = context.includes(slowly);
  for (let index = 0; index < n; index++) {
    const text = isSlow ? "word ".repeat(1_000) : grammar === undefined ? goingOn(context, index) : toolCall;
    const words = text.match(/\S+\s*/gu) ?? [];
    for (const [i, word] of words.entries()) {
      const isLast = i === words.length - 1;
      const ids = [...encode(word), ...(isLast ? [closing] : [])];
      const logprobs = {
        tokens: ids.map(String),
        token_logprobs: ids.map(() => -1),
        top_logprobs: ids.map(() => ({ "token_id:2": -1 })),
      };
      yield { index, text: word, token_ids: ids, logprobs, finish_reason: isLast ? "stop" : null };
      if (isSlow) await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

/** −1 a token, but −3 for "number 1" after worse answers. */
async function* echo(prompts: readonly number[][]) {
  for (const [index, prompt] of prompts.entries()) {
    const text = decode(prompt);
    const each = text.includes(worse) && text.slice(text.lastIndexOf("assistant\n")).includes("number 1") ? -3 : -1;
    const values = [...prompt, closing].map(() => each);
    yield {
      index,
      logprobs: { tokens: values.map(String), token_logprobs: values, top_logprobs: values.map(() => null) },
    };
  }
}

function encode(text: string): number[] {
  const parts = text.split(/(<\|im_start\|>|<\|im_end\|>)/u);
  return parts.flatMap((part) =>
    control.includes(part) ? [control.indexOf(part) + opening] : Array.from(part, (c) => c.charCodeAt(0)),
  );
}

function decode(tokens: readonly number[]): string {
  return tokens.map((token) => control[token - opening] ?? String.fromCharCode(token)).join("");
}
