/** SIGTERM under load, with engines that hang, and a log that cannot be written: no request notices either. */
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eventually, type Gateway, post, shortPrompts, spawnServe, startGateway, withoutEnd } from "./gateway.ts";

let gateway: Gateway | undefined;
afterEach(async () => {
  await gateway?.stop();
});

const messages = [{ role: "user", content: "Name a fruit." }];
const bodies = [
  { model: "plain", messages, max_tokens: 40, ...withoutEnd },
  { model: "plain", messages, max_tokens: 40, ...withoutEnd, stream: true },
  { model: "icdpo", messages, max_tokens: 24, ...withoutEnd },
  { model: "icdpo", messages, max_tokens: 24, ...withoutEnd, stream: true },
];

/** Sends a request; resolves to its whole answer. */
async function ask(url: string, number: number): Promise<string> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(bodies[number % bodies.length]),
  });
  const text = await response.text();
  expect(response.status, text).toBe(200);
  return text;
}

/** How many the gateway is at work on. */
async function requests(url: string): Promise<number> {
  return ((await (await fetch(`${url}/health`)).json()) as { requests: number }).requests;
}

function expectWhole(text: string): void {
  if (!text.startsWith("{")) expect(text).toMatch(/"finish_reason":"(?:stop|length)".*data: \[DONE\]\n\n$/su);
  else expect(JSON.parse(text)).toHaveProperty("usage");
}

it("finishes what is under way after SIGTERM, takes no more, and ends with code 0", async () => {
  gateway = await startGateway(shortPrompts);
  const { url } = gateway;
  let answered = 0;
  const answers = Promise.all(
    Array.from({ length: 12 }, async (_, number) => {
      const text = await ask(url, number);
      answered += 1;
      return text;
    }),
  );
  // All twelve have been taken.
  await eventually(async () => answered + (await requests(url)) >= 12);
  const ended = once(gateway.process, "exit");
  gateway.process.kill("SIGTERM");
  await eventually(async () => (await fetch(`${url}/ready`)).status === 503);
  const late = await post(`${url}/v1/chat/completions`, bodies[0]);
  expect(late).toMatchObject({ status: 503, body: { error: { code: "shutting_down" } } });
  expect(late.headers.get("retry-after")).toBe("1");
  for (const text of await answers) expectWhole(text);
  expect((await ended)[0]).toBe(0);
});

it("ends what takes longer than it may with an error event, and still ends with code 0", async () => {
  gateway = await startGateway({ ...shortPrompts, ICDPO_DRAIN_MS: "300" });
  const { url } = gateway;
  const long = fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ model: "icdpo", messages, max_tokens: 600, ...withoutEnd, stream: true }),
  }).then((response) => response.text());
  await eventually(async () => (await requests(url)) === 1);
  const code = await gateway.stop();
  expect(await long).toMatch(/"code":"shutting_down"/u);
  expect(code).toBe(0);
  expect(gateway.log()).toContain("did not finish within ICDPO_DRAIN_MS");
});

it("ends with code 0 after SIGTERM while its engine hangs, and the engine with it", async () => {
  gateway = await startGateway(shortPrompts);
  const { engine } = (await (await fetch(`${gateway.url}/ready`)).json()) as { engine: { pid: number } };
  process.kill(engine.pid, "SIGSTOP");
  expect(await gateway.stop()).toBe(0);
  expect(() => process.kill(engine.pid, 0)).toThrow("ESRCH");
});

describe("a server that never answers", () => {
  let folder: string;
  let silent: Server;
  let asked: Promise<unknown>;
  beforeEach(async () => {
    folder = await mkdtemp(path.join(tmpdir(), "icdpo-ending-"));
    silent = createServer();
    asked = once(silent, "request");
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    const { port } = silent.address() as AddressInfo;
    const own = "default: { type: openai, urls: ['http://127.0.0.1:9'], model: none }";
    await writeFile(
      path.join(folder, "engines.yml"),
      `engines:\n  ${own}\n  silent: { type: llama-server, urls: ['http://127.0.0.1:${port}'] }\n`,
    );
    await writeFile(path.join(folder, "routes.yaml"), "routes: { r: { policy: p } }\n");
  });
  afterEach(async () => {
    silent.close();
    silent.closeAllConnections();
    await rm(folder, { recursive: true });
  });

  const write = (policy: string) => writeFile(path.join(folder, "p.yaml"), policy);
  const settings = () => ({
    ICDPO_POLICIES: folder,
    ICDPO_ENGINES: path.join(folder, "engines.yml"),
    ICDPO_RELOAD_MS: "50",
  });

  it("does not keep the gateway from ending while it waits for it at the start", async () => {
    await write("engine: silent\nscore: { type: none }\n");
    const { child } = spawnServe(settings());
    const ended = once(child, "exit");
    await asked;
    child.kill("SIGTERM");
    expect((await ended)[0]).toBe(130);
  });

  it("does not keep the gateway from ending while it waits for it in a reload", async () => {
    await write("score: { type: none }\n");
    gateway = await startGateway(settings());
    await write("engine: silent\nscore: { type: none }\n");
    await asked;
    expect(await gateway.stop()).toBe(0);
  });
});

it("waits for no connection that nothing was sent on, and has said nothing of messages in its log", async () => {
  gateway = await startGateway(shortPrompts);
  const socket = connect(Number(new URL(gateway.url).port), "127.0.0.1");
  await once(socket, "connect");
  await ask(gateway.url, 0);
  expect(await gateway.stop()).toBe(0);
  socket.destroy();
  expect(gateway.log()).not.toContain("did not finish");
  expect(gateway.log()).toContain('"path":"/v1/chat/completions"');
  expect(gateway.log()).not.toContain("Name a fruit");
});

it.each([
  ["a full disk", { ICDPO_LOG_FILE: "/dev/full" }, false],
  ["a log that nobody reads any more", {}, true],
])("answers with %s", async (_, settings, isClosed) => {
  gateway = await startGateway({ ...shortPrompts, ...settings });
  if (isClosed) gateway.process.stderr?.destroy();
  const { url } = gateway;
  for (let number = 0; number < 4; number++) expectWhole(await ask(url, number));
  const metrics = await (await fetch(`${url}/metrics`)).text();
  expect(Number(/icdpo_log_lines_dropped_total (\d+)/u.exec(metrics)?.[1])).toBeGreaterThan(0);
  expect(await gateway.stop()).toBe(0);
});
