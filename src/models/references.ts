/**
 * @module Models that users bring: GGUF files of their own, and addresses that node-llama-cpp resolves
 * (`hf:owner/repo:Q4_K_M`, https://…).
 */
import { rm, stat } from "node:fs/promises";
import path from "node:path";
import { untilAborted } from "../async/until-aborted.ts";
import { entryAt } from "../system/entry.ts";
import { locked } from "../system/file-lock.ts";
import { GatewayError } from "../types/error.ts";
import type { ModelStoreOptions, ReadyModel } from "./model-store.ts";
import { beginsAsGguf } from "./pinned-files.ts";
import { hubEndpoint, reasonOf, type SourceAccess, throttled } from "./sources.ts";

export function isAddress(reference: string): boolean {
  return /^(hf:|huggingface:|hf\.co\/|huggingface\.co\/|https?:\/\/)/.test(reference);
}

/** Throws "model_unavailable" where the file is missing or no GGUF. */
export async function userFile(place: string): Promise<ReadyModel> {
  const problem = await problemWith(place).catch(reasonOf);
  if (problem !== undefined)
    throw new GatewayError(
      "model_unavailable",
      `The model ${place} cannot be used: ${problem}. Set ICDPO_MODEL, or model in the engines file, to a GGUF file or to hf:owner/repo/file.gguf.`,
    );
  // Not a hash: that would read gigabytes at each start.
  const { size, mtimeMs } = await stat(place);
  return { path: place, id: `file:${path.basename(place)}:${size}:${Math.round(mtimeMs)}` };
}

/** A model of several files, known as one file is. Throws where one of them is missing. */
export async function folderId(folder: string, files: readonly string[]): Promise<string> {
  const entries = await Promise.all(files.map((file) => stat(path.join(folder, file))));
  return `folder:${path.basename(folder)}:${entries.map(({ size, mtimeMs }) => `${size}:${Math.round(mtimeMs)}`).join(":")}`;
}

async function problemWith(place: string): Promise<string | undefined> {
  const entry = await entryAt(place);
  if (entry === undefined) return "there is no such file";
  if (!entry.isFile()) return "it is not a file";
  return (await beginsAsGguf(place)) ? undefined : "it does not begin with the four bytes GGUF";
}

/** The path of the file at an address, fetched where the cache lacks it. Throws the reasons why it cannot be had. */
export async function resolveAddress(
  address: string,
  options: ModelStoreOptions,
  signal?: AbortSignal,
): Promise<string> {
  const { directory, offline } = options;
  const { resolveModelFile } = await import("node-llama-cpp");
  const endpoint = hubEndpoint(options);
  try {
    return await resolveModelFile(address, {
      directory,
      cli: false,
      endpoints: { huggingFace: endpoint },
      download: false,
    });
  } catch (error) {
    if (offline) throw new Error(`- offline: nothing is fetched\n- the cache: ${reasonOf(error)}`);
  }
  const host = /^https?:/.test(address) ? new URL(address).origin : endpoint;
  try {
    await expectAnswer(host, options, signal);
    return await locked(
      path.join(directory, "addresses.lock"),
      options.report,
      () => resolveByNetwork(address, endpoint, options, signal),
      signal,
    );
  } catch (error) {
    throw new Error(`- the cache ${directory}: no such file\n- ${host}: ${reasonOf(error)}`, { cause: error });
  }
}

async function resolveByNetwork(
  address: string,
  endpoint: string,
  options: ModelStoreOptions,
  signal?: AbortSignal,
): Promise<string> {
  const { directory, hubToken, report, progress } = options;
  const { resolveModelFile } = await import("node-llama-cpp");
  report(`fetching ${address}`);
  const download = resolveModelFile(address, {
    directory,
    cli: false,
    endpoints: { huggingFace: endpoint },
    deleteTempFileOnCancel: false,
    ...(hubToken !== undefined && { tokens: { huggingFace: hubToken } }),
    ...(signal !== undefined && { signal }),
    onProgress: throttled(({ totalSize, downloadedSize }) =>
      progress?.({ name: path.basename(address), received: downloadedSize, total: totalSize }),
    ),
  });
  const place = await untilAborted(download, signal);
  if (await beginsAsGguf(place)) return place;
  await rm(place, { force: true });
  throw new Error("what came is not a GGUF file");
}

/** node-llama-cpp tries an address for minutes; a host that cannot be reached at all is found out sooner. */
async function expectAnswer(host: string, access: SourceAccess, signal?: AbortSignal): Promise<void> {
  const within = AbortSignal.timeout(10_000);
  await (access.fetch ?? fetch)(host, {
    method: "HEAD",
    redirect: "manual",
    signal: signal === undefined ? within : AbortSignal.any([signal, within]),
  });
}
