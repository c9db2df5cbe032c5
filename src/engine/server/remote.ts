/**
 * @module One server reached by HTTP: JSON calls and streams of server-sent events, each tried once, with errors for
 * who runs the gateway.
 */
import { z } from "zod";
import { type AnswerSize, answerTo, errorBytes } from "../../client/answer-size.ts";
import { Connection } from "../../client/connection.ts";
import type { FetchAnswer } from "../../client/fetch.ts";
import { type Fate, ServerError } from "../../client/server-error.ts";
import { parsedJson } from "../../text/json.ts";
import { quoted } from "../../text/quoted.ts";
import { GatewayError } from "../../types/error.ts";
import type { RemoteSettings, RemoteWorld } from "../engines.ts";

export interface RemoteCall<Answer> {
  /** Behind the base URL, with a slash before it. */
  readonly path: string;
  /** Sent as JSON by POST; absent: GET. */
  readonly body?: unknown;
  /** What the answer, or each event of a stream, looks like. */
  readonly answer: z.ZodType<Answer>;
  /** Of the answer, at most; absent: in proportion to the body. */
  readonly size?: AnswerSize;
  readonly signal?: AbortSignal | undefined;
  /** The server must answer within this time, busy or not. */
  readonly timeoutMs?: number;
  /** The stream may end with its body, without "[DONE]": always, or if all is there that was asked for. */
  readonly endsPlainly?: boolean | (() => boolean);
}

/**
 * Resolves where a server is well. Throws "engine_unavailable" where it may be later, "configuration" where it must not
 * be used.
 */
export type Probe = (server: RemoteServer) => Promise<void>;

/** How servers word errors: OpenAI's way, and FastAPI's. */
const errorAnswer = z.object({
  error: z
    .union([z.object({ message: z.string(), code: z.unknown().optional(), type: z.unknown().optional() }), z.string()])
    .nullish(),
  message: z.string().nullish(),
  code: z.unknown().optional(),
  type: z.unknown().optional(),
});

const contextWords = /context (?:length|size|window)|context_length|maximum model length|max_model_len/iu;
/** A name, and no words. */
const codeShape = /^[\w.-]{1,64}$/u;
/**
 * What a server that may be well again soon answers; and of these, what does not tell of a failure with this very call.
 */
const passing: ReadonlySet<number> = new Set([500, 502, 503, 504]);
const refusing: ReadonlySet<number> = new Set([429, 503]);
/**
 * A call that nobody can end, such as those while policies are built, ends by itself after so long, or after so many
 * times a server's silence.
 */
const longestCallMs = 600_000;
const longestSilences = 10;
/** Where in an answer something is wrong, as far as names there are the protocol's. */
const shownSegments = 3;

export class RemoteServer {
  /** Its base URL as it may be shown to who runs the gateway: without a user's name and password. */
  readonly name: string;
  readonly #url: string;
  readonly #settings: RemoteSettings;
  readonly #world: RemoteWorld;
  readonly #probe: Probe | undefined;
  /** Begins a sentence. */
  readonly #subject: string;

  /** `probe`: asked before a server that is silent is taken for dead. */
  constructor(url: string, settings: RemoteSettings, world: RemoteWorld, probe?: Probe) {
    this.#probe = probe;
    this.#url = url;
    this.name = url.replace(/\/\/[^/@]*@/u, "//");
    this.#subject = settings.name === undefined ? `The server at ${this.name}` : `The engine "${settings.name}"`;
    this.#settings = settings;
    this.#world = world;
  }

  /**
   * Throws "engine_unavailable" or "overloaded" where trying again, here or elsewhere, may help;
   * "context_length_exceeded", "invalid_request" or "engine_failure" where it will not; "cancelled" or "timeout" when
   * the signal fires.
   */
  async json<Answer>(call: RemoteCall<Answer>): Promise<Answer> {
    return this.#read(call, await this.text(call));
  }

  /** The answer's body as it is: not all answers are JSON. Throws as `json` does. */
  async text({ path, body, size, signal, timeoutMs }: Omit<RemoteCall<unknown>, "answer">): Promise<string> {
    const connection = this.#connect(signal, timeoutMs);
    const sent = textOf(body);
    try {
      const response = await this.#open(connection, path, sent);
      return await connection.text(response, (size ?? answerTo(sent ?? "")).whole);
    } catch (error) {
      throw connection.explain(error);
    } finally {
      connection.close();
    }
  }

  /**
   * The data of each server-sent event, until "[DONE]". Leaving the loop closes the connection. Throws as `json` does,
   * and where a stream breaks off.
   */
  async *events<Answer>(call: RemoteCall<Answer>): AsyncGenerator<Answer> {
    const connection = this.#connect(call.signal, call.timeoutMs);
    const sent = textOf(call.body);
    let isDone = false;
    try {
      const response = await this.#open(connection, call.path, sent);
      for await (const data of connection.events(response, call.size ?? answerTo(sent ?? ""))) {
        // What comes after it is read as well: the connection can then be used again.
        if (data.trim() === "[DONE]") isDone = true;
        else if (!isDone && data.trim() !== "") yield this.#read(call, data);
      }
      const { endsPlainly = false } = call;
      if (!isDone && !(typeof endsPlainly === "function" ? endsPlainly() : endsPlainly))
        throw new ServerError(
          "engine_unavailable",
          `${this.#subject} broke off in the middle of an answer. Retry the request.`,
          {
            fate: "broken",
          },
        );
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
    const { timeoutMs: usualMs } = this.#settings;
    const patience = timeoutMs === undefined ? { timeoutMs: usualMs, isWell } : { timeoutMs };
    const wholeMs =
      timeoutMs ?? (signal === undefined ? Math.max(longestCallMs, longestSilences * usualMs) : undefined);
    return new Connection({ name: this.#subject, signal, wholeMs, ...patience });
  }

  async #open(connection: Connection, path: string, body: string | undefined): Promise<FetchAnswer> {
    // Not called as a method of the world: some runtimes refuse that.
    const { fetch } = this.#world;
    const { apiKey, headers } = this.#settings;
    const response = await fetch(this.#url + path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...headers,
        ...(body !== undefined && { "content-type": "application/json" }),
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      ...(body !== undefined && { body }),
      signal: connection.signal,
    });
    connection.heard();
    if (response.ok) return response;
    const text = await connection.beginning(response, errorBytes);
    throw this.#failure(
      path,
      response.status,
      readError(text, parsedJson(text)),
      Number(response.headers.get("retry-after")),
    );
  }

  #read<Answer>({ path, answer }: RemoteCall<Answer>, text: string): Answer {
    const json = parsedJson(text);
    const mayBeError = typeof json === "object" && json !== null && "error" in json;
    const said = mayBeError ? readError("", json) : noError;
    if (said.isError) throw this.#failure(path, said.status ?? 500, said);
    const parsed = answer.safeParse(json);
    if (parsed.success) return parsed.data;
    const places = parsed.error.issues.map(({ path: place, code }) => `${code} at ${placeOf(place)}`);
    const reason = [...new Set(places)].slice(0, shownSegments).join(", ");
    const message = `${this.#subject} answered ${path} in a way that is not understood (${reason}). Check the engine's type and urls.`;
    throw new GatewayError("engine_failure", message);
  }

  #failure(path: string, status: number, { words, code }: ReadError, retryAfter = 0): ServerError {
    const answered = `${this.#subject} answered ${path} with ${status}${code && ` (${code})`}.`;
    if (words !== "")
      this.#world.words?.(`${this.name} answered ${path} with ${status}: ${quoted(this.#withoutKey(words))}`);
    const fate: Fate = refusing.has(status) || !passing.has(status) ? "refused" : "failed";
    const details = { fate, words, isInternal: true, ...(retryAfter > 0 && { retryAfter: Math.ceil(retryAfter) }) };
    const [kind, advice] = this.#meaningOf(status, words);
    return new ServerError(kind, `${answered}${advice}`, details);
  }

  #meaningOf(status: number, words: string): [GatewayError["code"], string] {
    if (status === 429) return ["overloaded", " It is busy; retry later."];
    if (passing.has(status)) return ["engine_unavailable", " Retry the request; its log may say more."];
    if (contextWords.test(words))
      return ["context_length_exceeded", " The prompt and its completion take more tokens than its context holds."];
    if ([400, 413, 422].includes(status))
      return ["invalid_request", " It does not take the request; its log may say why."];
    if (status === 401 || status === 403) return ["engine_failure", " Check the engine's key."];
    return ["engine_failure", " Check the engine's type, urls and model."];
  }

  #withoutKey(words: string): string {
    const { apiKey } = this.#settings;
    return apiKey === undefined ? words : words.replaceAll(apiKey, "…");
  }
}

interface ReadError {
  readonly isError: boolean;
  readonly words: string;
  /** "": none that is a name. */
  readonly code: string;
  readonly status?: number;
}

const noError: ReadError = { isError: false, words: "", code: "" };

/** Words that are not as expected are those of the whole text. */
function readError(text: string, json: unknown): ReadError {
  const parsed = errorAnswer.safeParse(json);
  if (!parsed.success) return { ...noError, words: text };
  const { error, message, code, type } = parsed.data;
  const isError = error !== undefined && error !== null;
  const words = typeof error === "string" ? error : (error?.message ?? message ?? text);
  const inner = typeof error === "object" ? error : null;
  const status = Number(inner?.code);
  const name = [inner?.code, code, inner?.type, type].find((one) => typeof one === "string" && codeShape.test(one));
  return {
    isError,
    words,
    code: typeof name === "string" ? name : "",
    ...(status >= 400 && status < 600 && { status }),
  };
}

function placeOf(path: readonly PropertyKey[]): string {
  const shown = path
    .slice(0, shownSegments)
    .map((segment) => (/^\w{1,40}$/u.test(String(segment)) ? String(segment) : "…"));
  return path.length === 0 ? "the top" : shown.join(".");
}

function textOf(body: unknown): string | undefined {
  return body === undefined ? undefined : JSON.stringify(body);
}
