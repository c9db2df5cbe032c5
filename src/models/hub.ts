/** @module Files from the hub over HTTP: resumed where they broke off, given up soon where nothing answers. */
import { mkdir, open, rm } from "node:fs/promises";
import path from "node:path";
import { retry } from "../async/retry.ts";
import { isRedirect } from "../client/redirect.ts";
import type { HubSource } from "./catalog.ts";
import { checkFile, type ExpectedFile, install, missingFiles, sizeOf, WrongFile } from "./pinned-files.ts";
import { hubEndpoint, type SourceAccess, throttled } from "./sources.ts";

const headersWithinMs = 10_000;
const bytesWithinMs = 60_000;
const attempts = 3;
/** After the first failure; twice as much after the second. */
const pauseMs = 500;
const mostHops = 5;
/** Of a pinned file whose size is not known: configurations of models. */
const mostBytes = 16 * 2 ** 20;
/** Of a file that nobody has pinned: a model's weights. */
const mostUnpinnedBytes = 16 * 2 ** 30;

export async function fetchFromHub(
  source: HubSource,
  root: string,
  access: SourceAccess,
  signal?: AbortSignal,
): Promise<void> {
  for (const file of await missingFiles(source.files, root))
    await fetchFile(source.repository, file, root, access, signal);
}

/** The hub has no such file. */
export class AbsentFile extends Error {}

/**
 * The newest version of a file that the user names, at its path under `root`; what lies there already stays. Throws
 * `AbsentFile`, another reason, or the signal's.
 */
export async function fetchUnpinned(
  { repository, from, root }: { readonly repository: string; readonly from: string; readonly root: string },
  access: SourceAccess,
  signal?: AbortSignal,
): Promise<void> {
  const file = { from, to: from };
  const place = path.join(root, from);
  if ((await checkFile(place, file)).type !== "missing") return;
  // What was begun may be of another version.
  await rm(partOf(place), { force: true });
  await fetchFile(repository, file, root, access, signal);
}

async function fetchFile(
  repository: string,
  file: ExpectedFile,
  root: string,
  access: SourceAccess,
  signal?: AbortSignal,
): Promise<void> {
  const url = `${hubEndpoint(access)}/${repository}/resolve/main/${file.from}`;
  const place = path.join(root, file.to);
  access.report(`fetching ${url}`);
  await mkdir(path.dirname(place), { recursive: true });
  await download({ url, file, part: partOf(place), access, signal }, place);
}

function partOf(place: string): string {
  return `${place}.part`;
}

interface Download {
  readonly url: string;
  readonly file: ExpectedFile;
  readonly part: string;
  readonly access: SourceAccess;
  readonly signal: AbortSignal | undefined;
}

/**
 * Several attempts once the hub has answered; none when it does not or refuses, so that the next source has its turn
 * soon.
 */
async function download(wanted: Download, place: string): Promise<void> {
  const progress = { answered: false };
  let resumed = 0;
  const attempt = async (): Promise<void> => {
    resumed = await sizeOf(wanted.part);
    await transfer(wanted, progress);
    await install(wanted.part, place, wanted.file);
  };
  // A whole file that is wrong stays wrong; one that began with an older part may come out right from the start.
  const mayPass = (error: unknown): boolean => (error instanceof WrongFile ? resumed > 0 : progress.answered);
  await retry(attempt, { attempts, pauseMs: (failures) => failures * pauseMs, mayPass, signal: wanted.signal });
}

/**
 * One request: appends to the part what it lacks, or writes it anew. Throws when the transfer breaks off; the part
 * stays.
 */
async function transfer(wanted: Download, progress: { answered: boolean }): Promise<void> {
  const { url, file, part, access, signal } = wanted;
  const kept = await sizeOf(part);
  if (kept > 0 && kept === file.bytes) return;
  const offset = file.bytes !== undefined && kept > file.bytes ? 0 : kept;
  const patience = new Patience(signal);
  try {
    patience.expect("answer", headersWithinMs);
    const response = await ask(url, offset, access, patience.signal);
    const { status, headers, body } = response;
    const appends = status === 206 && headers.get("content-range")?.startsWith(`bytes ${offset}-`) === true;
    const badRange = !appends && (status === 206 || status === 416);
    progress.answered ||= badRange || appends || status === 200;
    if (body !== null && (appends || status === 200))
      return await receive(wanted, body, headers, appends ? offset : 0, patience);
    await body?.cancel();
    if (badRange) await rm(part, { force: true });
    const refusal = `HTTP ${status} ${response.statusText}`.trimEnd();
    throw status === 404 ? new AbsentFile(refusal) : new Error(refusal);
  } finally {
    patience.end();
  }
}

/**
 * Hubs redirect to storage on other hosts, which are not given the token: only as often as that takes, and never to
 * where others can read what comes.
 */
async function ask(address: string, offset: number, access: SourceAccess, signal: AbortSignal): Promise<Response> {
  for (let [url, hops] = [new URL(address), 0]; ; hops++) {
    const token = url.origin === new URL(address).origin ? access.hubToken : undefined;
    const response = await (access.fetch ?? fetch)(url.href, {
      headers: requestHeaders(offset, token),
      signal,
      redirect: "manual",
    });
    const location = response.headers.get("location");
    if (!isRedirect(response.status) || location === null) return response;
    await response.body?.cancel();
    const next = new URL(location, url);
    if (hops === mostHops) throw new Error(`${url.origin} redirects for the ${hops + 1}th time`);
    if (next.protocol !== url.protocol && next.protocol !== "https:")
      throw new Error(`${url.origin} redirects to ${next.protocol}//, which is not safe`);
    url = next;
  }
}

type Body = NonNullable<Response["body"]>;

async function receive(
  { file, part, access }: Download,
  body: Body,
  headers: Headers,
  offset: number,
  patience: Patience,
): Promise<void> {
  const length = headers.get("content-length");
  const total = file.bytes ?? (length === null ? undefined : offset + Number(length));
  const most = file.bytes ?? (file.sha256 === undefined ? mostUnpinnedBytes : mostBytes);
  let received = offset;
  const report = throttled(() => access.progress?.({ name: path.basename(file.from), received, total }));
  const handle = await open(part, offset > 0 ? "a" : "w");
  try {
    patience.expect("bytes", bytesWithinMs);
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      patience.expect("bytes", bytesWithinMs);
      await handle.appendFile(chunk);
      received += chunk.length;
      if (received > most) break;
      report();
    }
  } finally {
    await handle.close();
  }
  if (total !== undefined && received < total)
    throw new Error(`the transfer ended after ${received} of ${total} bytes`);
}

function requestHeaders(offset: number, token: string | undefined): Record<string, string> {
  return {
    // A compressed answer would make ranges and lengths mean something else.
    "accept-encoding": "identity",
    ...(offset > 0 && { range: `bytes=${offset}-` }),
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
  };
}

/** An AbortSignal that fires with the outer one, or when what is expected does not come in time. */
class Patience {
  readonly signal: AbortSignal;
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;

  constructor(outer: AbortSignal | undefined) {
    this.signal = outer === undefined ? this.#controller.signal : AbortSignal.any([outer, this.#controller.signal]);
  }

  expect(what: "answer" | "bytes", withinMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(
      () => this.#controller.abort(new Error(`no ${what} within ${withinMs / 1000} s`)),
      withinMs,
    );
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
