/**
 * @module The server's doors: how many connections may be open, in all and from one address, and how much of answers
 * may wait for those who do not read them.
 */
import type { Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import type { DoorState } from "../telemetry/door-state.ts";
import type { Settings } from "./settings.ts";

type Limits = Pick<Settings, "ICDPO_MAX_CONNECTIONS" | "addressConnections" | "bodiesBytes">;

/** Connections that nothing is asked on are closed from here on. */
const crowded = 0.9;
const refusal = JSON.stringify({
  error: {
    message: "The gateway has as many connections as it may. Retry in 1 s.",
    type: "server_error",
    param: null,
    code: "overloaded",
  },
});
const refusalLines = [
  "HTTP/1.1 503 Service Unavailable",
  "content-type: application/json",
  `content-length: ${refusal.length}`,
  "retry-after: 1",
  "connection: close",
];

export class Doors {
  readonly #limits: Limits;
  readonly #readerMs: number;
  readonly #networks = new Map<string, number>();
  readonly #refused = { all: 0, address: 0 };
  /** What waits of whole answers, the oldest first. */
  readonly #answers = new Map<ServerResponse, number>();
  #open = 0;
  #waiting = 0;
  #cut = 0;

  /** `readerMs`: so long may a reader take for what is left of an answer when all of it has been made. */
  constructor(limits: Limits, readerMs: number) {
    this.#limits = limits;
    this.#readerMs = readerMs;
  }

  get state(): DoorState {
    return { open: this.#open, refused: { ...this.#refused }, waiting: this.#waiting, cut: this.#cut };
  }

  watch(server: Server): void {
    server.on("connection", (socket: Socket) => {
      if (this.#open >= crowded * this.#limits.ICDPO_MAX_CONNECTIONS) server.closeIdleConnections();
      this.#enter(socket);
    });
    // First: an answer may be given at once.
    server.prependListener("request", (_, response: ServerResponse) => {
      response.once("prefinish", () => this.#wait(response));
    });
  }

  #enter(socket: Socket): void {
    const { ICDPO_MAX_CONNECTIONS: most, addressConnections } = this.#limits;
    const network = networkOf(socket.remoteAddress ?? "");
    const own = this.#networks.get(network) ?? 0;
    if (this.#open >= most || own >= addressConnections) {
      this.#refused[this.#open >= most ? "all" : "address"] += 1;
      socket.end(`${refusalLines.join("\r\n")}\r\n\r\n${refusal}`);
      socket.destroySoon();
      return;
    }
    this.#open += 1;
    this.#networks.set(network, own + 1);
    socket.once("close", () => {
      this.#open -= 1;
      const left = (this.#networks.get(network) ?? 0) - 1;
      if (left > 0) this.#networks.set(network, left);
      else this.#networks.delete(network);
    });
  }

  /**
   * All of an answer has been made, and what the system does not take yet waits here. Where too much does, those go
   * that have waited longest.
   */
  #wait(response: ServerResponse): void {
    const length = response.writableLength;
    if (length === 0 || response.destroyed) return;
    const patience = setTimeout(() => this.#giveUp(response), this.#readerMs);
    this.#answers.set(response, length);
    this.#waiting += length;
    response.once("close", () => {
      clearTimeout(patience);
      this.#forget(response);
    });
    for (const oldest of this.#answers.keys()) {
      if (this.#waiting <= this.#limits.bodiesBytes || oldest === response) break;
      this.#giveUp(oldest);
    }
  }

  #giveUp(response: ServerResponse): void {
    this.#cut += 1;
    this.#forget(response);
    response.destroy();
  }

  #forget(response: ServerResponse): void {
    this.#waiting -= this.#answers.get(response) ?? 0;
    this.#answers.delete(response);
  }
}

/** Of an IPv6 address the half that names its network: whoever has one has all addresses in it. */
export function networkOf(address: string): string {
  if (!address.includes(":") || address.startsWith("::ffff:")) return address;
  const [left = [], right = []] = address.split("::").map((half) => half.split(":").filter((group) => group !== ""));
  const missing = Array.from({ length: 8 - left.length - right.length }, () => "0");
  return [...left, ...missing, ...right].slice(0, 4).join(":");
}
