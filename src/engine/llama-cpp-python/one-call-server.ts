/**
 * @module llama-cpp-python's server, one call at a time: it does one, and breaks off a stream when another call comes.
 */
import { z } from "zod";
import { pause } from "../../async/pause.ts";
import { describedAnswer } from "../../client/answer-size.ts";
import { ServerError } from "../../client/server-error.ts";
import type { Token } from "../engine.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";
import { type RemoteCall, RemoteServer } from "../server/remote.ts";
import { Replicas } from "../server/replicas.ts";

const tokens = z.object({ tokens: z.array(z.int()) });
const text = z.object({ text: z.string() });
const pollMs = 5;
const probeTimeoutMs = 5_000;
/** A character's bytes may be spread over so many tokens. */
const longestCharacter = 4;

export class OneCallServer {
  readonly #replicas: Replicas;
  readonly #model: string | undefined;
  /** Who holds a server, and who waits, in order. */
  readonly #line: symbol[] = [];
  readonly #isSeparate: boolean;
  /** Whose prompt came last: the server keeps its state, and goes on with it where the next one begins alike. */
  #tenant: string | undefined;

  constructor(settings: RemoteSettings, world: RemoteWorld) {
    this.#model = settings.model;
    this.#isSeparate = settings.prefixCache !== "shared";
    // Only one: which replica a call would come to, and so whether it is free, is not known here.
    const [url, ...others] = settings.urls;
    if (others.length > 0)
      world.log(
        `engine: llama-cpp-python does one call at a time; only ${new RemoteServer(url ?? "", settings, world).name} is used.`,
      );
    this.#replicas = new Replicas({ ...settings, urls: settings.urls.slice(0, 1) }, world, async (server) => {
      await server.text({ path: "/v1/models", timeoutMs: probeTimeoutMs });
    });
  }

  json<Answer>(call: RemoteCall<Answer>): Promise<Answer> {
    return this.#alone(call.signal, () => this.#replicas.json(this.#withModel(call)));
  }

  /** As `json`, with a prompt of the tenant's. */
  promptJson<Answer>(call: RemoteCall<Answer>, tenant: string | undefined): Promise<Answer> {
    return this.#alone(call.signal, async () => {
      await this.#part(tenant, call.signal);
      return this.#replicas.json(this.#withModel(call));
    });
  }

  /** Hands over each event of a tenant's prompt; resolves when the server is free again. */
  events<Answer>(call: RemoteCall<Answer>, tenant: string | undefined, take: (answer: Answer) => void): Promise<void> {
    return this.#alone(call.signal, async () => {
      await this.#part(tenant, call.signal);
      for await (const answer of this.#replicas.events(this.#withModel(call))) take(answer);
    });
  }

  /** With BOS before them, where the model has one. Control tokens are recognised. */
  async tokenize(input: string, signal?: AbortSignal): Promise<Token[]> {
    return (await this.json({ path: "/extras/tokenize", body: { input }, answer: tokens, signal })).tokens;
  }

  /** Control tokens are left out, and what may be half a character at the end. */
  async detokenize(ids: readonly Token[], signal?: AbortSignal): Promise<string> {
    for (let cut = 0; cut < longestCharacter && cut < ids.length; cut++) {
      const body = { tokens: ids.slice(0, ids.length - cut) };
      const size = describedAnswer([ids.length]);
      try {
        // Not by way of the replicas: the server fails at half a character, and is well.
        return (
          await this.#alone(signal, () =>
            this.#only.json(this.#withModel({ path: "/extras/detokenize", body, answer: text, size, signal })),
          )
        ).text;
      } catch (error) {
        if (!(error instanceof ServerError) || !error.says("codec can't decode")) throw error;
      }
    }
    return "";
  }

  state() {
    return this.#replicas.state();
  }

  get #only(): RemoteServer {
    return this.#replicas.servers[0] as RemoteServer;
  }

  #withModel<Answer>(call: RemoteCall<Answer>): RemoteCall<Answer> {
    return this.#model === undefined ? call : { ...call, body: { ...(call.body as object), model: this.#model } };
  }

  /** Between two tenants' prompts comes one that is nobody's, of a letter: nothing else is left of the first. */
  async #part(tenant: string | undefined, signal: AbortSignal | undefined): Promise<void> {
    if (!this.#isSeparate || tenant === this.#tenant) return;
    const body = { prompt: "a", max_tokens: 1, temperature: 0 };
    await this.#replicas.json(this.#withModel({ path: "/v1/completions", body, answer: z.unknown(), signal }));
    this.#tenant = tenant;
  }

  /** Each looks for itself whether it is its turn: some runtimes forbid one request to wake another. */
  async #alone<Result>(signal: AbortSignal | undefined, work: () => Promise<Result>): Promise<Result> {
    const own = Symbol("call");
    this.#line.push(own);
    try {
      while (this.#line[0] !== own && !signal?.aborted) await pause(pollMs);
      return await work();
    } finally {
      this.#line.splice(this.#line.indexOf(own), 1);
    }
  }
}
