/**
 * @module A request's body: how large it may be, how fast it must come, how much of the gateway's memory it may take.
 * Nothing of it is read before somebody asks for it, who has then been let in.
 */
import type { HonoRequest, MiddlewareHandler } from "hono";
import { type BodyShare, smallBody } from "../gateway/body-room.ts";
import type { AppDependencies } from "../gateway/dependencies.ts";
import { GatewayError } from "../types/error.ts";

/** A larger body that is slower than so many bytes in a second, for so many seconds on end, is waited for no longer. */
const slowest = 2 ** 16;
const patience = 5;
const secondMs = 1_000;
/** Larger bodies hold the event loop up while they are parsed. */
const quicklyParsed = 2 ** 14;

declare module "hono" {
  interface ContextVariableMap {
    body: RequestBody;
  }
}

/**
 * Throws "payload_too_large" where a body says itself that it is. What is read of it is held until the request is
 * answered, and its work is over.
 */
export function bodyLimit({
  bodyRoom,
  clientAddress,
  maxBodyBytes,
  turn,
}: Pick<AppDependencies, "bodyRoom" | "clientAddress" | "maxBodyBytes" | "turn">): MiddlewareHandler {
  return async (c, next) => {
    const announced = c.req.header("transfer-encoding") === undefined ? c.req.header("content-length") : undefined;
    const length = announced === undefined ? undefined : Number(announced);
    if (length !== undefined && !(length <= maxBodyBytes)) throw tooLarge(maxBodyBytes);
    const sender = c.get("caller")?.name ?? clientAddress(c) ?? "";
    const share = bodyRoom.share(sender);
    const end = share.use();
    c.set("body", new RequestBody(c.req, length, { share, limit: maxBodyBytes, turn }));
    try {
      await next();
    } finally {
      end();
    }
  };
}

interface BodyTerms {
  readonly share: BodyShare;
  /** Bytes. */
  readonly limit: number;
  readonly turn: () => Promise<void>;
}

export class RequestBody {
  readonly share: BodyShare;
  readonly #request: HonoRequest;
  readonly #length: number | undefined;
  readonly #limit: number;
  /** Resolves when it is the caller's turn at work that holds the event loop up. */
  readonly turn: () => Promise<void>;

  /** `length`: as it is announced. */
  constructor(request: HonoRequest, length: number | undefined, { share, limit, turn }: BodyTerms) {
    this.#request = request;
    this.#length = length;
    this.share = share;
    this.#limit = limit;
    this.turn = turn;
  }

  /**
   * All of it; once. A large one comes when it is its turn to be parsed. Throws "payload_too_large", "out_of_room",
   * "body_too_slow", or "cancelled" where the client leaves.
   */
  async bytes(): Promise<Uint8Array> {
    const bytes = await this.#bytes();
    if (bytes.length > quicklyParsed) await this.turn();
    return bytes;
  }

  async #bytes(): Promise<Uint8Array> {
    const length = this.#length;
    // What is announced is certain to have room to its end, and short bodies are not worth a stream.
    if (length !== undefined) this.share.take(length);
    try {
      if (length !== undefined && length <= smallBody) return new Uint8Array(await this.#request.arrayBuffer());
      return await this.#read(length ?? 0);
    } catch (error) {
      if (error instanceof GatewayError) throw error;
      throw new GatewayError("cancelled", "The client left before all of its request had come.", { cause: error });
    }
  }

  async #read(announced: number): Promise<Uint8Array> {
    const reader = (this.#request.raw.body as ReadableStream<Uint8Array> | null)?.getReader();
    if (reader === undefined) return new Uint8Array();
    const pace = new Pace();
    let buffer = new Uint8Array(announced);
    let size = 0;
    try {
      for (let read = await pace.of(reader.read()); !read.done; read = await pace.of(reader.read())) {
        const { value } = read;
        const end = size + value.length;
        if (end > this.#limit) throw tooLarge(this.#limit);
        if (end > announced) this.share.take(end - Math.max(size, announced));
        if (end > buffer.length) buffer = grown(buffer, Math.min(this.#limit, Math.max(end, 2 * buffer.length)));
        buffer.set(value, size);
        size = end;
        pace.count(value.length);
      }
      return buffer.subarray(0, size);
    } finally {
      pace.end();
    }
  }
}

function grown(buffer: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
  const larger = new Uint8Array(length);
  larger.set(buffer);
  return larger;
}

/**
 * Counts the seconds in which too little came. A gateway that was busy meanwhile counts none of them: its clock stood
 * as well.
 */
class Pace {
  readonly #timer: ReturnType<typeof setInterval>;
  #refuse: (error: GatewayError) => void = () => {};
  #bytes = 0;
  #total = 0;
  #slowSeconds = 0;

  constructor() {
    this.#timer = setInterval(() => {
      this.#slowSeconds = this.#bytes < slowest ? this.#slowSeconds + 1 : 0;
      this.#bytes = 0;
      if (this.#slowSeconds < patience) return;
      const message = `The body came too slowly: ${this.#total} bytes so far. Send it faster, or less of it.`;
      this.#refuse(new GatewayError("body_too_slow", message));
    }, secondMs);
  }

  count(bytes: number): void {
    this.#bytes += bytes;
    this.#total += bytes;
  }

  /** The same, or "body_too_slow". */
  of<Value>(reading: Promise<Value>): Promise<Value> {
    return new Promise((resolve, reject) => {
      this.#refuse = reject;
      reading.then(resolve, reject);
    });
  }

  end(): void {
    clearInterval(this.#timer);
  }
}

function tooLarge(bytes: number): GatewayError {
  return new GatewayError("payload_too_large", `The body is larger than ${bytes} bytes.`);
}
