/**
 * @module Sentence-embedding models that users bring: folders as the hub has them, with ONNX weights and a tokenizer's
 * files, on the disk or fetched (`hf:owner/repo`, `hf:owner/repo/onnx/model.onnx`).
 */
import path from "node:path";
import { z } from "zod";
import { entryAt } from "../system/entry.ts";
import { locked } from "../system/file-lock.ts";
import { readText } from "../system/text-files.ts";
import { cancelled, GatewayError } from "../types/error.ts";
import { AbsentFile, fetchUnpinned } from "./hub.ts";
import type { ModelStoreOptions } from "./model-store.ts";
import { folderId } from "./references.ts";
import { hubEndpoint, reasonOf } from "./sources.ts";

/** How a text's embedding comes of its tokens' states: their mean, or the first one's. */
export const poolings = ["mean", "cls"] as const;
export type Pooling = (typeof poolings)[number];

export interface EmbeddingFolder {
  readonly folder: string;
  /** The ONNX file, relative to the folder. */
  readonly weights: string;
  readonly pooling: Pooling;
  /** Identifies weights and pooling. */
  readonly id: string;
}

const companions = ["config.json", "tokenizer.json", "tokenizer_config.json"];
/** The first that is there: int8 takes a quarter of the room, and half of the time. */
const usualWeights = ["onnx/model_quantized.onnx", "onnx/model.onnx", "model.onnx"];
const poolingFile = "1_Pooling/config.json";
/** Weights of two gigabytes and more stand in a file beside the graph. */
const dataOf = (weights: string): string => `${weights}_data`;

const advice =
  "Set ICDPO_EMBEDDING_MODEL to a folder with onnx/model_quantized.onnx or onnx/model.onnx, config.json, tokenizer.json and tokenizer_config.json, to an .onnx file in such a folder, or to hf:owner/repo; or leave it unset.";

/**
 * What ICDPO_EMBEDDING_MODEL names: a folder, an .onnx file in one, or either at the hub, fetched where the cache lacks
 * it. `pooling`: what the user says of it; else it is what the folder's 1_Pooling/config.json says, or the mean. Throws
 * "model_unavailable", naming what is missing; "cancelled" or "timeout" by the signal.
 */
export async function embeddingFolder(
  reference: string,
  options: ModelStoreOptions,
  pooling?: Pooling,
  signal?: AbortSignal,
): Promise<EmbeddingFolder> {
  const place = reference.startsWith("hf:") ? await fetched(reference, options, signal) : path.resolve(reference);
  const { folder, weights } = await foundAt(place);
  const missing: string[] = weights === undefined ? [usualWeights.slice(0, 2).join(" or ")] : [];
  for (const name of [...companions, ...(place.endsWith(".onnx") && weights !== undefined ? [weights] : [])])
    if (!(await isFile(path.join(folder, name)))) missing.push(name);
  if (weights === undefined || missing.length > 0)
    throw new GatewayError(
      "model_unavailable",
      `The embedding model ${reference} cannot be used: ${folder} lacks ${missing.join(", ")}. ${advice}`,
    );
  const pools = pooling ?? (await poolingOf(folder));
  const id = await folderId(folder, [weights, ...companions]);
  return { folder, weights, pooling: pools, id: pools === "mean" ? id : `${id}:${pools}` };
}

/** An .onnx file stands in its model's folder, or in a folder of it. */
async function foundAt(place: string): Promise<{ readonly folder: string; readonly weights: string | undefined }> {
  if (place.endsWith(".onnx")) {
    const own = path.dirname(place);
    const folder = (await isFile(path.join(own, "config.json"))) ? own : path.dirname(own);
    return { folder, weights: path.relative(folder, place) };
  }
  for (const weights of usualWeights) if (await isFile(path.join(place, weights))) return { folder: place, weights };
  return { folder: place, weights: undefined };
}

const poolingSchema = z.record(z.string(), z.unknown());

/** As Sentence Transformers keep it. Throws "model_unavailable" for what is pooled otherwise. */
async function poolingOf(folder: string): Promise<Pooling> {
  const file = path.join(folder, poolingFile);
  if (!(await isFile(file))) return "mean";
  try {
    const config = poolingSchema.parse(JSON.parse(await readText(file)));
    const modes = Object.keys(config).filter((key) => key.startsWith("pooling_mode_") && config[key] === true);
    if (modes.join() === "pooling_mode_mean_tokens") return "mean";
    if (modes.join() === "pooling_mode_cls_token") return "cls";
    throw new Error(`it says ${modes.join(" and ") || "nothing"}, and there are ${poolings.join(" and ")}`);
  } catch (error) {
    throw new GatewayError(
      "model_unavailable",
      `${file} does not say how to pool: ${reasonOf(error)}. Set ICDPO_EMBEDDING_POOLING to ${poolings.join(" or ")}, as the model's page says, or take another model.`,
      { cause: error },
    );
  }
}

async function isFile(place: string): Promise<boolean> {
  return (await entryAt(place))?.isFile() ?? false;
}

/** Where the files of `hf:owner/repo` or `hf:owner/repo/path/to/model.onnx` lie once they have been fetched. */
async function fetched(reference: string, options: ModelStoreOptions, signal?: AbortSignal): Promise<string> {
  const match = /^hf:([\w.-]+\/[\w.-]+?)(?:\/([\w./-]+\.onnx))?$/u.exec(reference);
  const [, repository = "", weights] = match ?? [];
  if (match === null || reference.includes("..")) throw unavailable(reference, "it is no hf:owner/repo");
  const root = path.join(options.directory, "hub", ...repository.split("/"));
  const wanted = weights === undefined ? usualWeights : [weights];
  const place = weights === undefined ? root : path.join(root, weights);
  try {
    signal?.throwIfAborted();
    if (await isComplete(root, wanted)) return place;
    if (options.offline) throw new Error(`offline: nothing is fetched, and ${root} is not complete`);
    const fetchAll = async (): Promise<void> => {
      // Another process may have fetched it while this one waited.
      if (!(await isComplete(root, wanted))) await fetchFolder(repository, root, wanted, options, signal);
    };
    await locked(`${root}.lock`, options.report, fetchAll, signal);
    return place;
  } catch (error) {
    if (signal?.aborted) throw cancelled(signal);
    throw unavailable(reference, `${hubEndpoint(options)}: ${reasonOf(error)}`, error);
  }
}

/** Weights come last: where they are, all is there that the hub has. */
async function isComplete(root: string, wanted: readonly string[]): Promise<boolean> {
  for (const name of wanted) if (await isFile(path.join(root, name))) return true;
  return false;
}

async function fetchFolder(
  repository: string,
  root: string,
  wanted: readonly string[],
  options: ModelStoreOptions,
  signal?: AbortSignal,
): Promise<void> {
  const fetchOne = (name: string) => fetchUnpinned({ repository, from: name, root }, options, signal);
  for (const name of companions)
    if (!(await unlessAbsent(fetchOne(name)))) throw new Error(`${repository} has no ${name}`);
  await unlessAbsent(fetchOne(poolingFile));
  for (const weights of wanted) {
    await unlessAbsent(fetchOne(dataOf(weights)));
    if (await unlessAbsent(fetchOne(weights))) return;
  }
  throw new Error(`${repository} has no ${wanted.join(", ")}`);
}

/** Whether there was such a file. */
async function unlessAbsent(fetching: Promise<void>): Promise<boolean> {
  try {
    await fetching;
    return true;
  } catch (error) {
    if (error instanceof AbsentFile) return false;
    throw error;
  }
}

function unavailable(reference: string, reason: string, cause?: unknown): GatewayError {
  return new GatewayError(
    "model_unavailable",
    `The embedding model ${reference} is not available: ${reason}. ${advice}`,
    { cause },
  );
}
