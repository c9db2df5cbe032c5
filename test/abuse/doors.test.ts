/**
 * Who sends too much at once, or too slowly, takes neither the gateway's memory nor anybody's turn. Over real
 * connections.
 */
import { type ClientRequest, createServer, request, type Server } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { getRequestListener } from "@hono/node-server";
import { afterEach, describe, expect, it } from "vitest";
import { hashKey } from "../../src/access/access.ts";
import { BodyRoom } from "../../src/gateway/body-room.ts";
import { Doors } from "../../src/node/doors.ts";
import { gate, quiet, type Script } from "../unit/scripted-engine.ts";
import { gateway } from "../unit/scripted-gateway.ts";

const megabyte = 2 ** 20;
const maxBodyBytes = 10 * megabyte;
const roomBytes = 128 * megabyte;
const piece = Buffer.alloc(megabyte, "x");
const opened: (Server | Socket | ClientRequest)[] = [];

afterEach(() => {
  for (const one of opened.splice(0)) {
    if ("closeAllConnections" in one) {
      one.close();
      one.closeAllConnections();
    } else one.destroy();
  }
});

interface Site {
  readonly port: number;
  readonly room: BodyRoom;
  readonly doors: Doors;
}

async function site(script: Script = {}, { most = 1_000, ofOne = 500 } = {}): Promise<Site> {
  const keys = [
    { name: "one", hash: await hashKey("secret-one"), routes: null, limits: {} },
    { name: "two", hash: await hashKey("secret-two"), routes: null, limits: {} },
  ];
  const room = new BodyRoom(roomBytes);
  const { app } = await gateway({ contextSize: 20_000_000, ...script }, { keys, maxBodyBytes, bodyRoom: room });
  const doors = new Doors({ ICDPO_MAX_CONNECTIONS: most, addressConnections: ofOne, bodiesBytes: roomBytes }, 60_000);
  const server = createServer(getRequestListener(app.fetch));
  doors.watch(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  opened.push(server);
  return { port: (server.address() as AddressInfo).port, room, doors };
}

interface Answer {
  readonly status: number | undefined;
  readonly retryAfter: string | undefined;
  readonly text: string;
}

interface Sending {
  readonly asked: ClientRequest;
  readonly answer: Promise<Answer>;
}

/** Begins a request; nothing of its body is sent yet. */
function begin(port: number, headers: Record<string, string | number>, key = "one"): Sending {
  const asked = request({
    host: "127.0.0.1",
    port,
    method: "POST",
    path: "/v1/chat/completions",
    headers: { "content-type": "application/json", authorization: `Bearer secret-${key}`, ...headers },
  });
  opened.push(asked);
  const answer = new Promise<Answer>((resolve) => {
    asked.on("response", async (response) => {
      let text = "";
      const [status, retryAfter] = [response.statusCode, response.headers["retry-after"]];
      try {
        for await (const part of response) text += part;
      } finally {
        resolve({ status, retryAfter, text });
      }
    });
    asked.on("error", () => resolve({ status: undefined, retryAfter: undefined, text: "" }));
  });
  asked.flushHeaders();
  return { asked, answer };
}

async function send({ asked }: Sending, megabytes: number): Promise<void> {
  const closed = new Promise((resolve) => asked.once("close", resolve));
  for (let sent = 0; sent < megabytes && !asked.destroyed; sent++)
    if (!asked.write(piece)) await Promise.race([new Promise((resolve) => asked.once("drain", resolve)), closed]);
}

const body = (model: string, content = "How do I brew coffee?"): string =>
  JSON.stringify({ model, messages: [{ role: "user", content }] });

async function ask(port: number, key: string, content?: string): Promise<Answer> {
  const text = body("plain", content);
  const sending = begin(port, { "content-length": Buffer.byteLength(text) }, key);
  sending.asked.end(text);
  return sending.answer;
}

const memory = (): number => {
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
};

describe("many large bodies at once", () => {
  it.each([
    ["that say how long they are", { "content-length": 10 * megabyte }],
    ["that do not", { "transfer-encoding": "chunked" }],
  ])("take no more than there is room for, and keep nobody else out: %s", async (_, headers) => {
    const { port, room } = await site();
    const before = memory();
    const sendings = Array.from({ length: 100 }, () => begin(port, headers as unknown as Record<string, string>));
    const answers: Answer[] = [];
    for (const { answer } of sendings) void answer.then((given) => answers.push(given));
    let most = 0;
    const watch = setInterval(() => {
      most = Math.max(most, memory() - before);
    }, 10);
    // All but the last megabyte: nobody is done.
    await Promise.all(sendings.map((sending) => send(sending, 9)));
    await expect.poll(() => answers.length).toBeGreaterThanOrEqual(85);
    for (const { status, retryAfter, text } of answers) {
      // Whoever is cut off in the middle of sending may have had no time to read; those that had room do not go on
      // here.
      expect([503, 408, undefined]).toContain(status);
      if (status === 503) expect([retryAfter, text]).toEqual(["1", expect.stringContaining("out_of_room")]);
    }
    expect(answers.map(({ status }) => status)).toContain(503);
    expect(room.held).toBeLessThanOrEqual(roomBytes / 2);
    expect(room.refused).toBeGreaterThanOrEqual(85);
    clearInterval(watch);
    expect(most).toBeLessThan(250 * megabyte);
    // Another one's large body has room, and so have short ones of the first.
    expect((await ask(port, "two", "x".repeat(megabyte))).status).toBe(200);
    expect((await ask(port, "one")).status).toBe(200);
    for (const { asked } of sendings) asked.destroy();
    await expect.poll(() => room.held).toBe(0);
  });

  it("hold their room as long as their requests are worked on", async () => {
    const { opened: free, open } = gate();
    const { port, room } = await site({ pause: () => free });
    const long = "x".repeat(megabyte);
    const working = ask(port, "one", long);
    await expect.poll(() => room.held).toBe(Buffer.byteLength(body("plain", long)));
    await quiet();
    expect(room.held).toBe(Buffer.byteLength(body("plain", long)));
    open();
    expect((await working).status).toBe(200);
    await expect.poll(() => room.held).toBe(0);
  });
});

describe("a body that comes too slowly", () => {
  it("is waited for no longer, and gives its room back", async () => {
    const { port, room } = await site();
    const [silent, trickling] = [
      begin(port, { "content-length": 10 * megabyte }),
      begin(port, { "transfer-encoding": "chunked" }),
    ];
    await send(trickling, 1);
    const drops = setInterval(() => trickling.asked.write("x"), 200);
    for (const { answer } of [silent, trickling]) {
      const { status, text } = await answer;
      expect(status).toBe(408);
      expect(text).toContain("request_timeout");
    }
    clearInterval(drops);
    await expect.poll(() => room.held).toBe(0);
  });

  it("of whoever leaves in the middle gives its room back, and is no fault of the gateway's", async () => {
    const { port, room } = await site();
    const leaving = [begin(port, { "content-length": 10 * megabyte }), begin(port, { "content-length": 1_000 })];
    for (const { asked } of leaving) asked.write("{");
    await expect.poll(() => room.held).toBe(10 * megabyte + 1_000);
    for (const { asked } of leaving) asked.destroy();
    await expect.poll(() => room.held).toBe(0);
  });
});

describe("connections", () => {
  const knock = (port: number) =>
    new Promise<string>((resolve) => {
      const socket = connect(port, "127.0.0.1");
      opened.push(socket);
      let text = "";
      socket.on("data", (data) => {
        text += data;
      });
      socket.on("close", () => resolve(text || "closed"));
      socket.on("error", () => {});
      socket.once("connect", () => setTimeout(() => resolve(text || "open"), 300));
    });

  it.each([
    ["in all", { most: 20, ofOne: 100 }, { all: 30, address: 0 }],
    ["of one address", { most: 100, ofOne: 20 }, { all: 0, address: 30 }],
  ])("are bounded, and who is refused is told so at once and counted: %s", async (_, limits, refused) => {
    const { port, doors } = await site({}, limits);
    const answers = await Promise.all(Array.from({ length: 50 }, () => knock(port)));
    expect(answers.filter((answer) => answer === "open")).toHaveLength(20);
    expect(answers.filter((answer) => answer.startsWith("HTTP/1.1 503"))).toHaveLength(30);
    expect(answers.find((answer) => answer.startsWith("HTTP"))).toContain("retry-after: 1");
    expect(doors.state).toMatchObject({ open: 20, refused });
    for (const one of opened) if ("setNoDelay" in one) one.destroy();
    await expect.poll(() => doors.state.open).toBe(0);
    expect((await ask(port, "one")).status).toBe(200);
  });
});

describe("a whole answer that nobody reads", () => {
  /** Eight clients that ask for 20 MB each and read nothing; the server's time for them. */
  async function unread(readerMs: number): Promise<Doors> {
    const doors = new Doors({ ICDPO_MAX_CONNECTIONS: 100, addressConnections: 100, bodiesBytes: roomBytes }, readerMs);
    const answer = "x".repeat(20 * megabyte);
    const server = createServer((_, response) => response.end(answer));
    doors.watch(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    opened.push(server);
    for (let i = 0; i < 8; i++) {
      const socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
      opened.push(socket);
      socket.on("error", () => {});
      socket.pause();
      socket.write("GET / HTTP/1.1\r\nhost: localhost\r\n\r\n");
    }
    return doors;
  }

  it("is given up after a while", async () => {
    const doors = await unread(300);
    await expect.poll(() => doors.state.cut).toBe(8);
    expect(doors.state.waiting).toBe(0);
  });

  it("is given up at once, the oldest first, where too much waits", async () => {
    const doors = await unread(600_000);
    await expect.poll(() => doors.state.cut).toBeGreaterThan(0);
    await expect.poll(() => doors.state.open).toBeLessThan(8);
    expect(doors.state.waiting).toBeLessThanOrEqual(roomBytes);
    expect(doors.state.waiting).toBeGreaterThan(roomBytes / 2);
  });
});
