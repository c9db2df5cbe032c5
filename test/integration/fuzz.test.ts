/**
 * Requests that nobody should send: each gets a proper answer or a proper refusal, and nothing is left behind. `npm run
 * check -- fuzz` sends 5,000.
 */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { complaintAbout } from "../abuse/answers.ts";
import { mostOddBytes, oddBody, oddContentType, oddPath } from "../abuse/odd-bodies.ts";
import { eventually, type Gateway, post, startGateway } from "./gateway.ts";

const requests = Number(process.env["ICDPO_TEST_FUZZ"] ?? 400);
const minutes = 60_000;

let gateway: Gateway;
beforeAll(async () => {
  // A small context keeps what is accepted by chance short.
  gateway = await startGateway({
    ICDPO_CONTEXT_SIZE: "128",
    ICDPO_MAX_BODY_BYTES: String(mostOddBytes),
    ICDPO_REQUEST_TIMEOUT_MS: "2000",
    ICDPO_LOG_LEVEL: "error",
  });
});
afterAll(async () => {
  await gateway.stop();
});

async function send(path: string, body: string | Uint8Array<ArrayBuffer>, type: string): Promise<number> {
  const response = await fetch(`${gateway.url}/v1/${path}`, {
    method: "POST",
    headers: { "content-type": type },
    body,
  });
  const answer = {
    status: response.status,
    type: response.headers.get("content-type") ?? "",
    text: await response.text(),
  };
  expect(complaintAbout(answer), `${path} ${typeof body === "string" ? body.slice(0, 500) : body}`).toBeNull();
  return response.status;
}

/** Megabytes that a process holds in memory. */
function residentMegabytes(pid: number): number {
  const [, kilobytes] = /VmRSS:\s+(\d+)/u.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return Number(kilobytes) / 1024;
}

async function memory(): Promise<number> {
  const { engine } = (await (await fetch(`${gateway.url}/health`)).json()) as { engine: { pid: number } };
  return residentMegabytes(gateway.process.pid as number) + residentMegabytes(engine.pid);
}

it(`refuses or answers ${requests} odd requests, and the next normal one works`, {
  timeout: 60 * minutes,
}, async () => {
  const samples = fc.sample(fc.tuple(oddPath, oddBody, oddContentType), { numRuns: requests, seed: 20_261_124 });
  const statuses = new Map<number, number>();
  const [warmUp, rest] = [samples.slice(0, requests / 4), samples.slice(requests / 4)];
  const sendAll = async (some: typeof samples): Promise<void> => {
    let next = 0;
    const worker = async (): Promise<void> => {
      for (let entry = some[next++]; entry !== undefined; entry = some[next++]) {
        const status = await send(...entry);
        statuses.set(status, (statuses.get(status) ?? 0) + 1);
      }
    };
    await Promise.all([worker(), worker(), worker(), worker()]);
  };
  await sendAll(warmUp);
  const before = await memory();
  await sendAll(rest);
  const after = await memory();
  console.log(
    `${requests} requests: ${[...statuses].map(([status, count]) => `${status} × ${count}`).join(", ")}; ${before.toFixed(0)} MB, then ${after.toFixed(0)} MB`,
  );
  expect(after).toBeLessThan(before + 150);
  const normal = await post(`${gateway.url}/v1/chat/completions`, {
    model: "plain",
    messages: [{ role: "user", content: "Say hi." }],
    max_tokens: 4,
  });
  expect(normal.status).toBe(200);
});

it("does not wait for a client that sends its body slowly", async () => {
  const { hostname, port } = new URL(gateway.url);
  const socket = connect(Number(port), hostname);
  socket.write(
    "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{",
  );
  let answer = "";
  socket.on("data", (data) => {
    answer += data;
  });
  await new Promise((resolve) => socket.once("close", resolve));
  expect(answer).toMatch(/^HTTP\/1\.1 408/u);
  await eventually(
    async () => ((await (await fetch(`${gateway.url}/health`)).json()) as { requests: number }).requests === 0,
  );
});
