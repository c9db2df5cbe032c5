/** @module One server reached by HTTP: JSON calls and streams of server-sent events, each tried once, with errors for who runs the gateway. */
import { z } from "zod";
import { GatewayError } from "../types/error.ts";
import { Connection } from "./connection.ts";
import type { FetchAnswer, RemoteSettings, RemoteWorld } from "./engines.ts";

export interface RemoteCall<Answer> {
  /** Behind the base URL, with a slash before it. */
  readonly path: string;
  /** Sent as JSON by POST; absent: GET. */
  readonly body?: unknown;
  /** What the answer, or each event of a stream, looks like. */
  readonly answer: z.ZodType<Answer>;
  readonly signal?: AbortSignal | undefined;
  /** The server must answer within this time, busy or not. */
  readonly timeoutMs?: number;
  /** The stream ends with its body, without "[DONE]". */
  readonly endsPlainly?: boolean;
}

/** Resolves where a server is well. Throws "engine_unavailable" where it may be later, "configuration" where it must not be used. */
export type Probe = (server: RemoteServer) => Promise<void>;

/** How servers word errors: OpenAI's way, and FastAPI's. */
const errorAnswer = z.object({
  error: z.union([z.object({ message: z.string(), code: z.unknown().optional() }), z.string()]).nullish(),
  message: z.string().nullish(),
  detail: z.unknown().optional(),
});

const contextWords = /context (?:length|size|window)|context_length|maximum model length|max_model_len/iu;
const longestWords = 500;
/** What a server that may be well again soon answers. */
const passing: ReadonlySet<number> = new Set([500, 502, 503, 504]);

export class RemoteServer {
  /** Its base URL as it may be shown: without a user's name and password. */
  readonly name: string;
  readonly #url: string;
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #probe: Probe | undefined;

  /** `probe`: asked before a server that is silent is taken for dead. */
  constructor(url: string, settings: RemoteSettings, world: RemoteWorld, probe?: Probe) {
    this.#probe = probe;
    this.#url = url;
    this.name = url.replace(/\/\/[^/@]*@/u, "//");
    this.#settings = settings;
    this.#world = world;
  }

  /**
   * Throws "engine_unavailable" or "overloaded" where trying again, here or elsewhere, may help; "context_length_exceeded", "invalid_request" or
   * "engine_failure" where it will not; "cancelled" or "timeout" when the signal fires.
   */
  async json<Answer>(call: RemoteCall<Answer>): Promise<Answer> {
    return this.#read(call, await this.text(call));
  }

  /** The answer's body as it is: not all answers are JSON. Throws as `json` does. */
  async text({ path, body, signal, timeoutMs }: Omit<RemoteCall<unknown>, "answer">): Promise<string> {
    const connection = this.#connect(signal, timeoutMs);
    try {
      return await connection.text(await this.#open(connection, path, body));
    } catch (error) {
      throw connection.explain(error);
    } finally {
      connection.close();
    }
  }

  /** The data of each server-sent event, until "[DONE]". Leaving the loop closes the connection. Throws as `json` does, and where a stream breaks off. */
  async *events<Answer>(call: RemoteCall<Answer>): AsyncGenerator<Answer> {
    const connection = this.#connect(call.signal, call.timeoutMs);
    let isDone = false;
    try {
      const response = await this.#open(connection, call.path, call.body);
      for await (const data of connection.events(response)) {
        // What comes after it is read as well: the connection can then be used again.
        if (data === "[DONE]") isDone = true;
        else if (!isDone) yield this.#read(call, data);
      }
      if (!isDone && call.endsPlainly !== true)
        throw new GatewayError("engine_unavailable", `The server at ${this.name} broke off in the middle of an answer. Retry the request.`);
    } catch (error) {
      throw connection.explain(error);
    } finally {
      connection.close();
    }
  }

  #connect(signal: AbortSignal | undefined, timeoutMs?: number): Connection {
    const isWell = (): Promise<boolean> =>
      this.#probe?.(this).then(
        () => true,
        () => false,
      ) ?? Promise.resolve(false);
    const patience = timeoutMs === undefined ? { timeoutMs: this.#settings.timeoutMs, isWell } : { timeoutMs };
    return new Connection({ name: this.name, signal, ...patience });
  }

  async #open(connection: Connection, path: string, body: unknown): Promise<FetchAnswer> {
    // Not called as a method of the world: some runtimes refuse that.
    const { fetch } = this.#world;
    const { apiKey } = this.#settings;
    const response = await fetch(this.#url + path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      ...(body !== undefined && { body: JSON.stringify(body) }),
      signal: connection.signal,
    });
    connection.heard();
    if (response.ok) return response;
    const { words } = readError(parseJson(await connection.text(response)));
    throw this.#failure(path, response.status, words, Number(response.headers.get("retry-after")));
  }

  #read<Answer>({ path, answer }: RemoteCall<Answer>, text: string): Answer {
    const json = parseJson(text);
    const mayBeError = typeof json === "object" && json !== null && "error" in json;
    const { isError, words, status } = mayBeError ? readError(json) : noError;
    if (isError) throw this.#failure(path, status ?? 500, words);
    const parsed = answer.safeParse(json);
    if (parsed.success) return parsed.data;
    const reason = z.prettifyError(parsed.error).replaceAll("\n", " ");
    const message = `The server at ${this.name} answered ${path} in a way that is not understood (${reason}). Check the engine's type and urls.`;
    throw new GatewayError("engine_failure", message);
  }

  #failure(path: string, status: number, words: string, retryAfter = 0): GatewayError {
    const said = this.#settings.apiKey === undefined ? words : words.replaceAll(this.#settings.apiKey, "…");
    const answered = `The server at ${this.name} answered ${path} with ${status}${said && `: "${said.slice(0, longestWords)}"`}.`;
    const details = { isInternal: true, ...(retryAfter > 0 && { retryAfter: Math.ceil(retryAfter) }) };
    if (status === 429) return new GatewayError("overloaded", `${answered} It is busy; retry later.`, details);
    if (passing.has(status)) return new GatewayError("engine_unavailable", `${answered} Retry the request; its log may say more.`, details);
    if (contextWords.test(words)) return new GatewayError("context_length_exceeded", answered, details);
    if ([400, 413, 422].includes(status)) return new GatewayError("invalid_request", answered, details);
    if (status === 401 || status === 403) return new GatewayError("engine_failure", `${answered} Check the engine's key.`);
    return new GatewayError("engine_failure", `${answered} Check the engine's type, urls and model.`);
  }
}

interface ReadError {
  readonly isError: boolean;
  readonly words: string;
  readonly status?: number;
}

const noError: ReadError = { isError: false, words: "" };

function readError(json: unknown): ReadError {
  const parsed = errorAnswer.safeParse(json);
  if (!parsed.success) return noError;
  const { error, message, detail } = parsed.data;
  const isError = error !== undefined && error !== null;
  const words = typeof error === "string" ? error : (error?.message ?? message ?? (detail === undefined ? "" : JSON.stringify(detail)));
  const status = typeof error === "object" ? Number(error?.code) : 0;
  return { isError, words, ...(status >= 400 && { status }) };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
