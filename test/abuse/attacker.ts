/** @module Does an attack, over a connection of its own, and tells what came of it. */
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { setTimeout as pause } from "node:timers/promises";
import type { Attack, Reader } from "./attacks.ts";

/** What came of an attack. */
export interface Outcome {
  /** The gateway's own name for the request; null where it did not say: it may never have known of it. */
  readonly id: string | null;
  readonly status: number | null;
  readonly type: string;
  /** What was read, up to `mostText` characters from its end. */
  readonly text: string;
  /** "whole": to its end. "left": by the attacker. "cut": by the gateway. */
  readonly ended: "whole" | "left" | "cut";
}

export const mostText = 4_000_000;
const megabyte = Buffer.alloc(2 ** 20, "x");
/** Nobody waits longer for what may be hard work. */
const patienceMs = 60_000;

export async function attack(url: string, attack: Attack, key: string | null): Promise<Outcome> {
  return attack.sent.type === "wire" ? wire(url, attack.sent.bytes, attack.reader) : exchange(url, attack, key);
}

/** Bytes that are no request, to whoever listens. */
function wire(url: string, bytes: string | Uint8Array, reader: Reader): Promise<Outcome> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    const unknown: Outcome = { id: null, status: null, type: "", text: "", ended: "left" };
    socket.on("error", () => {});
    socket.on("close", () => resolve(unknown));
    socket.resume();
    socket.write(bytes);
    setTimeout(() => socket.destroy(), reader.type === "leaves" ? reader.afterMs : 1_000).unref();
  });
}

async function exchange(url: string, attack: Attack, key: string | null): Promise<Outcome> {
  const { sent, reader } = attack;
  const headers: Record<string, string> = {
    ...attack.headers,
    ...(key !== null && { authorization: `Bearer ${key}`, cookie: `icdpo_key=${key}` }),
  };
  if (headers["origin"] === "OWN") headers["origin"] = url;
  if (headers["content-type"] === "") delete headers["content-type"];
  const isBare = attack.method === "GET" || attack.method === "HEAD";
  if (sent.type === "unfinished") headers["content-length"] = String(sent.announced);
  if (sent.type === "endless" && sent.isAnnounced) headers["content-length"] = String(sent.megabytes * megabyte.length);
  if (sent.type === "whole" && !isBare) headers["content-length"] = String(Buffer.byteLength(sent.bytes));
  const { hostname, port } = new URL(url);
  const asked = request({ hostname, port, path: attack.path, method: attack.method, headers, agent: false });
  let hasLeft = false;
  const leave = (): void => {
    hasLeft = true;
    asked.destroy();
  };
  const timers = [setTimeout(leave, patienceMs)];
  if (reader.type === "leaves") timers.push(setTimeout(leave, reader.afterMs));
  const answered = new Promise<IncomingMessage | null>((resolve) => {
    asked.once("response", resolve);
    asked.on("error", () => resolve(null));
    asked.once("close", () => resolve(null));
  });
  try {
    const sending = isBare ? void asked.end() : send(asked, sent);
    const response = await answered;
    if (response === null) return { id: null, status: null, type: "", text: "", ended: hasLeft ? "left" : "cut" };
    const { text, isWhole } = await read(response, reader, leave);
    await sending;
    return {
      id: (response.headers["x-request-id"] as string | undefined) ?? null,
      status: response.statusCode ?? null,
      type: response.headers["content-type"] ?? "",
      text,
      ended: isWhole ? "whole" : hasLeft ? "left" : "cut",
    };
  } finally {
    for (const timer of timers) clearTimeout(timer);
    asked.destroy();
  }
}

/** Resolves when all of it is sent, or nobody takes it any more. */
async function send(asked: ClientRequest, sent: Attack["sent"]): Promise<void> {
  const closed = new Promise<void>((resolve) => asked.once("close", () => resolve()));
  const write = async (bytes: string | Uint8Array): Promise<void> => {
    if (!asked.destroyed && !asked.write(bytes))
      await Promise.race([new Promise((resolve) => asked.once("drain", resolve)), closed]);
  };
  switch (sent.type) {
    case "whole":
      asked.end(sent.bytes);
      return;
    case "pieces":
      for (let at = 0; at < sent.bytes.length && !asked.destroyed; at += sent.size) {
        await write(sent.bytes.slice(at, at + sent.size));
        await pause(sent.everyMs);
      }
      asked.end();
      return;
    case "endless":
      for (let count = 0; count < sent.megabytes && !asked.destroyed; count++) await write(megabyte);
      asked.end();
      return;
    case "unfinished":
      await write(sent.bytes === "" ? "{" : sent.bytes);
      return;
    case "wire":
      return;
  }
}

async function read(
  response: IncomingMessage,
  reader: Reader,
  leave: () => void,
): Promise<{ text: string; isWhole: boolean }> {
  let text = "";
  const keep = (piece: string): void => {
    text = (text + piece).slice(-mostText);
  };
  response.setEncoding("utf8");
  response.on("error", () => {});
  if (reader.type === "stops") {
    await Promise.race([pause(reader.forMs), new Promise((resolve) => response.once("close", resolve))]);
    leave();
    return { text, isWhole: false };
  }
  if (reader.type === "slow") {
    const end = performance.now() + reader.forMs;
    while (performance.now() < end && !response.readableEnded && !response.destroyed) {
      const piece = response.read(Math.min(reader.bytes, response.readableLength || reader.bytes)) as string | null;
      if (piece !== null) keep(piece);
      await pause(reader.everyMs);
    }
  }
  return new Promise((resolve) => {
    const done = (): void => resolve({ text, isWhole: response.complete });
    if (response.readableEnded || response.destroyed) return done();
    response.on("data", keep);
    response.once("end", done);
    response.once("close", done);
  });
}
