/**
 * @module The processes that the overhead is measured on: a model server that answers at once, this gateway, and
 * another one where it is at hand.
 */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { mkdir, mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { GatewayError, inTime, pause, program } from "icdpo-gateway/laboratory";
import { load, type Target } from "./load.ts";
import type { OverheadTargets } from "./overhead.ts";

export interface RunningTargets {
  readonly targets: OverheadTargets;
  close(): Promise<void>;
}

const startMs = 60_000;
const pollMs = 100;

/**
 * `portkey`: the folder of its npm package. Throws "configuration" where something does not start; nothing is left
 * running then.
 */
export async function startTargets(portkey: string | undefined, signal: AbortSignal): Promise<RunningTargets> {
  const children: ChildProcess[] = [];
  const folder = await mkdtemp(path.join(tmpdir(), "icdpo-overhead-"));
  const close = async (): Promise<void> => {
    await Promise.all(children.map(ended));
    await rm(folder, { recursive: true, force: true });
  };
  try {
    const upstream = await startUpstream(children);
    const gateway = await startGateway(children, folder, upstream, signal);
    const other = portkey === undefined ? undefined : await startPortkey(children, portkey, upstream, signal);
    const asked = { name: "the upstream itself", url: `${upstream}/v1/chat/completions`, headers: {}, model: "stub" };
    return { targets: { upstream: asked, gateway, other }, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Whether a target can stream; some versions of some packages cannot. */
export async function canStream(target: Target, signal: AbortSignal): Promise<boolean> {
  return load(target, { count: 1, concurrency: 1, stream: true }, signal).then(
    () => true,
    () => false,
  );
}

async function startUpstream(children: ChildProcess[]): Promise<string> {
  const child = fork(fileURLToPath(new URL("./upstream.js", import.meta.url)));
  children.push(child);
  const port = await new Promise<unknown>((resolve, reject) =>
    child.once("message", resolve).once("exit", () => reject(didNotStart("upstream"))),
  );
  return `http://127.0.0.1:${port}`;
}

/** As a user would run it: default settings, records in a file, a log line for each request. */
async function startGateway(
  children: ChildProcess[],
  folder: string,
  upstream: string,
  signal: AbortSignal,
): Promise<Target> {
  const files = {
    "engines.yaml": `engines: { default: { type: openai, urls: ["${upstream}"], model: stub } }\n`,
    "policies/plain.yaml": "candidates: 1\nscore: { type: none }\n",
    "policies/routes.yaml": "routes: { plain: { policy: plain } }\n",
  };
  for (const name of ["policies", "demos"]) await mkdir(path.join(folder, name));
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(folder, name), text);
  const port = await freePort();
  const own = {
    PORT: String(port),
    HOST: "127.0.0.1",
    ICDPO_ENGINES: path.join(folder, "engines.yaml"),
    ICDPO_DATABASE: path.join(folder, "records.db"),
  };
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith("ICDPO_"));
  const log = await open(path.join(folder, "log"), "w");
  const environment = { ...Object.fromEntries(others), ...own };
  const child = spawn(process.execPath, [fileURLToPath(program), "serve"], {
    cwd: folder,
    env: environment,
    stdio: ["ignore", "ignore", log.fd],
  });
  children.push(child);
  await log.close();
  await listening(port, child, signal).catch(async () => {
    throw didNotStart(`gateway: ${await readFile(path.join(folder, "log"), "utf8")}`);
  });
  return { name: "the gateway", url: `http://127.0.0.1:${port}/v1/chat/completions`, headers: {}, model: "plain" };
}

async function startPortkey(
  children: ChildProcess[],
  folder: string,
  upstream: string,
  signal: AbortSignal,
): Promise<Target> {
  const port = await freePort();
  const server = path.join(folder, "build", "start-server.js");
  const child = spawn(process.execPath, [server, `--port=${port}`, "--headless"], { stdio: "ignore" });
  children.push(child);
  await listening(port, child, signal).catch(() => {
    throw didNotStart(`other gateway, ${server}`);
  });
  const headers = {
    "x-portkey-provider": "openai",
    "x-portkey-custom-host": `${upstream}/v1`,
    authorization: "Bearer none",
  };
  return { name: "Portkey's gateway", url: `http://127.0.0.1:${port}/v1/chat/completions`, headers, model: "stub" };
}

function didNotStart(what: string): GatewayError {
  return new GatewayError("configuration", `The ${what} did not start.`);
}

/** Nobody listens there now. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function listening(port: number, child: ChildProcess, signal: AbortSignal): Promise<void> {
  const until = performance.now() + startMs;
  while (!(await answers(port))) {
    if (child.exitCode !== null || performance.now() > until) throw didNotStart("program");
    await pause(pollMs, signal);
  }
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

async function ended(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill("SIGTERM");
  await inTime(exit, 5_000, () => void child.kill("SIGKILL"));
}
