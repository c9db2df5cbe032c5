/**
 * @module The page's sessions: what a browser keeps instead of an API key. A session is a signed text that names a key
 * and ends after some hours. It is not the key, and nobody can make one or find the key with it. Nothing is kept of it
 * here, so that no number of them fills anything, all isolates and all gateways with one secret know it, and it ends
 * with its key: what is signed holds the key's hash. What is kept are those that were ended early.
 */
import { base64Url, fromBase64Url } from "../text/bytes.ts";
import type { ApiKey } from "./access.ts";

/** Of a working day. */
const lifetime = 12 * 60 * 60;
/** Of those that were ended early; beyond that the oldest is forgotten. */
const mostEnded = 10_000;
const idBytes = 16;

export interface SessionOptions {
  /** Random, or shared by several gateways: whoever knows it can make sessions. */
  readonly secret: Uint8Array<ArrayBuffer>;
  /** Seconds since 1970. */
  readonly unixTime: () => number;
}

export class Sessions {
  readonly #secret: ReturnType<typeof crypto.subtle.importKey>;
  readonly #unixTime: () => number;
  /** What is signed of them → when they would have ended. */
  readonly #ended = new Map<string, number>();

  constructor({ secret, unixTime }: SessionOptions) {
    this.#secret = crypto.subtle.importKey("raw", secret, { name: "HMAC", hash: "SHA-256" }, false, ["sign", "verify"]);
    this.#unixTime = unixTime;
  }

  /** A new session of who has brought the key. */
  async open(key: Pick<ApiKey, "name" | "hash">): Promise<string> {
    const id = base64Url(crypto.getRandomValues(new Uint8Array(idBytes)));
    const content = [id, this.#unixTime() + lifetime, base64Url(new TextEncoder().encode(key.name))].join(".");
    const signature = await crypto.subtle.sign("HMAC", await this.#secret, signed(content, key.hash));
    return `${content}.${base64Url(new Uint8Array(signature))}`;
  }

  /** Whose it is, among the keys that there are now. Undefined where it has ended, or never was. */
  async find<Key extends Pick<ApiKey, "name" | "hash" | "expires">>(
    session: string,
    keys: readonly Key[],
  ): Promise<Key | undefined> {
    const [, content = "", end = "", name = "", signature = ""] =
      /^([\w-]{22}\.(\d{1,12})\.([\w-]{2,400}))\.([\w-]{43})$/u.exec(session) ?? [];
    if (content === "" || Number(end) <= this.#unixTime() || this.#ended.has(content)) return undefined;
    const key = keys.find((one) => base64Url(new TextEncoder().encode(one.name)) === name);
    if (key === undefined || (key.expires ?? Number.POSITIVE_INFINITY) <= this.#unixTime() * 1000) return undefined;
    const isOwn = await crypto.subtle.verify(
      "HMAC",
      await this.#secret,
      fromBase64Url(signature),
      signed(content, key.hash),
    );
    return isOwn ? key : undefined;
  }

  /** Ends it before its time. */
  async close(session: string, keys: readonly Pick<ApiKey, "name" | "hash">[]): Promise<void> {
    // Only what is known can be ended, so that nobody fills the list with what never was.
    if ((await this.find(session, keys)) === undefined) return;
    const now = this.#unixTime();
    for (const [content, end] of this.#ended) {
      if (end > now && this.#ended.size < mostEnded) break;
      this.#ended.delete(content);
    }
    const content = session.slice(0, session.lastIndexOf("."));
    this.#ended.set(content, Number(content.split(".")[1]));
  }
}

function signed(content: string, hash: Uint8Array): Uint8Array<ArrayBuffer> {
  return Uint8Array.from([...new TextEncoder().encode(`icdpo session ${content}.`), ...hash]);
}
