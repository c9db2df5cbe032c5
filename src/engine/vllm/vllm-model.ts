/** @module The model that vLLM serves: found among those that it lists, and the same on every replica. */
import { z } from "zod";
import { quoted } from "../../text/quoted.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt } from "../engine.ts";
import type { RemoteServer } from "../server/remote.ts";
import type { Replicas } from "../server/replicas.ts";

const listed = z.object({
  data: z.array(z.object({ id: z.string(), root: z.string().nullish(), max_model_len: z.int().nullish() })),
});

/** vLLM answers it at once, however busy it is. */
export const probeTimeoutMs = 5_000;
/** Of a server's models, in a complaint: how many, and characters of each name. */
const shownModels = 20;
export const shownName = 100;

/** A model that calls name. */
export interface VllmModel {
  readonly model: string;
  readonly replicas: Replicas;
  /** Tenants do not get what others' prompts have left in its cache. */
  readonly isSeparate: boolean;
}

/** A model as one server lists it. */
export interface Listing {
  readonly id: string;
  /** The path or name of its weights. */
  readonly root: string | null | undefined;
  readonly contextSize: number | null | undefined;
  readonly by: RemoteServer;
}

/** What parts a tenant's blocks in vLLM's cache from those of others. */
export function saltOf(
  { isSeparate }: Pick<VllmModel, "isSeparate">,
  { tenant }: Pick<Prompt, "tenant">,
): { readonly cache_salt?: string } {
  return isSeparate && tenant !== undefined ? { cache_salt: tenant } : {};
}

/**
 * `wanted`: absent: the first that is listed. Throws "configuration" where replicas serve different models,
 * "engine_unavailable" where none answers.
 */
export async function findListing(
  replicas: Replicas,
  wanted: string | undefined,
  signal?: AbortSignal,
): Promise<Listing> {
  const listings = await Promise.allSettled(replicas.servers.map((server) => readListing(server, wanted, signal)));
  const found = listings.flatMap((listing) => (listing.status === "fulfilled" ? [listing.value] : []));
  const refused = listings.flatMap((listing) => (listing.status === "rejected" ? [listing.reason] : []));
  const [first] = found;
  const grave = refused.find(
    (error) => first === undefined || !(error instanceof GatewayError) || error.code !== "engine_unavailable",
  );
  if (first === undefined || grave !== undefined) throw grave;
  for (const other of found) assertSame(first, other);
  return first;
}

export async function readListing(
  server: RemoteServer,
  wanted: string | undefined,
  signal?: AbortSignal,
): Promise<Listing> {
  const { data } = await server.json({ path: "/v1/models", answer: listed, signal, timeoutMs: probeTimeoutMs });
  const model = wanted === undefined ? data[0] : data.find(({ id }) => id === wanted);
  if (model !== undefined) return { id: model.id, root: model.root, contextSize: model.max_model_len, by: server };
  const names = data.slice(0, shownModels).map(({ id }) => quoted(id, shownName));
  const all = names.join(", ") || "none";
  const message = `The server at ${server.name} serves no model ${wanted ?? ""}; it has: ${all}. Set the engine's model.`;
  throw new GatewayError("configuration", message);
}

/**
 * As it is served, and its weights, where those have a name of their own: other weights may be served under the same
 * name. They may lie elsewhere on another machine: the last part of their path counts.
 */
export function nameOf({ id, root }: Pick<Listing, "id" | "root">): string {
  const weights = (root ?? id).split("/").at(-1);
  return weights === id.split("/").at(-1) ? id : `${id} (${weights})`;
}

/** Throws "configuration". */
export function assertSame(one: Listing, other: Listing): void {
  const [a, b] = [one, other].map((listing) => `${quoted(nameOf(listing), shownName)}, ${listing.contextSize} tokens`);
  if (a === b) return;
  const servers = `The servers at ${one.by.name} and ${other.by.name} serve different models`;
  throw new GatewayError(
    "configuration",
    `${servers}: ${a}, and ${b}. Replicas must be equal; name them as two engines.`,
  );
}
