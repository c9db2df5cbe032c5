/**
 * @module How many bytes of requests' bodies may be held at once, over all requests: those that are read, and those
 * whose requests are worked on.
 */
import { GatewayError } from "../types/error.ts";

/**
 * Bodies up to here have all of the room. Larger ones leave a quarter to them, so that a few of those keep nobody out.
 */
export const smallBody = 2 ** 16;
const largeShare = 0.75;
/** Of the room, what one sender's larger bodies may take. */
const senderShare = 0.5;
/** Seconds. */
const retryAfter = 1;

export class BodyRoom {
  readonly #limit: number;
  /** Bytes of larger bodies, by who sent them. */
  readonly #senders = new Map<string, number>();
  #held = 0;
  #refused = 0;

  /** `limit`: bytes, at least twice those of the largest body. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Bytes. */
  get held(): number {
    return this.#held;
  }

  /** Bodies that there was no room for. */
  get refused(): number {
    return this.#refused;
  }

  /** For one request's body, of which nothing is held yet. */
  share(sender: string): BodyShare {
    return new BodyShare(this, sender);
  }

  /** `large`: bytes by which its sender's larger bodies grow. Throws "out_of_room". */
  take(bytes: number, large: number, sender: string): void {
    const held = this.#held + bytes;
    const own = (this.#senders.get(sender) ?? 0) + large;
    const fits =
      large === 0 ? held <= this.#limit : held <= largeShare * this.#limit && own <= senderShare * this.#limit;
    if (!fits) {
      this.#refused += 1;
      const message = `The gateway holds as many bytes of requests as it may at once. Retry in ${retryAfter} s.`;
      throw new GatewayError("out_of_room", message, { retryAfter });
    }
    this.#held = held;
    if (large > 0) this.#senders.set(sender, own);
  }

  give(bytes: number, large: number, sender: string): void {
    this.#held -= bytes;
    if (large === 0) return;
    const own = (this.#senders.get(sender) ?? 0) - large;
    if (own > 0) this.#senders.set(sender, own);
    else this.#senders.delete(sender);
  }
}

/** One body's part of the room, given back when nothing uses it any more. */
export class BodyShare {
  readonly #room: BodyRoom;
  readonly #sender: string;
  #bytes = 0;
  #users = 0;

  constructor(room: BodyRoom, sender: string) {
    this.#room = room;
    this.#sender = sender;
  }

  /** So many bytes more. Throws "out_of_room". */
  take(bytes: number): void {
    const after = this.#bytes + bytes;
    this.#room.take(bytes, largeOf(after) - largeOf(this.#bytes), this.#sender);
    this.#bytes = after;
  }

  /** One more use of the body; the returned function ends it, once. */
  use(): () => void {
    this.#users += 1;
    let isOver = false;
    return () => {
      if (isOver) return;
      isOver = true;
      this.#users -= 1;
      if (this.#users > 0) return;
      this.#room.give(this.#bytes, largeOf(this.#bytes), this.#sender);
      this.#bytes = 0;
    };
  }
}

/** Of a body of so many bytes, what counts as a larger one's: all or nothing. */
function largeOf(bytes: number): number {
  return bytes > smallBody ? bytes : 0;
}
