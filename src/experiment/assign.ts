/**
 * @module Which arm a unit comes to: by hash of (experiment, unit), so that it is the same for every request, on every
 * machine.
 */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";
import type { AssignmentUnit } from "../policy/routes-schema.ts";

/** What assignment needs of an experiment. */
export interface Assignable<Arm extends { readonly name: string; readonly weight: number }> {
  readonly name: string;
  readonly arms: readonly Arm[];
  /** The share of units that take part. */
  readonly ramp: number;
}

/**
 * The unit's arm, or null where it does not take part. Weighted rendezvous hashing (the arm with the least
 * −ln(u)/weight, u being the hash of unit and arm): raising a weight moves units to that arm only, and no more than its
 * share grows by. A larger ramp keeps all who took part.
 */
export function assign<Arm extends { readonly name: string; readonly weight: number }>(
  { name, arms, ramp }: Assignable<Arm>,
  unit: string,
): Arm | null {
  if (uniform(name, "ramp", unit) >= ramp) return null;
  let [chosen, least]: [Arm | null, number] = [null, Number.POSITIVE_INFINITY];
  for (const arm of arms) {
    const cost =
      arm.weight > 0 ? -Math.log(uniform(name, "arm", arm.name, unit)) / arm.weight : Number.POSITIVE_INFINITY;
    if (cost < least) [chosen, least] = [arm, cost];
  }
  return chosen;
}

/** Arm → the share of units that come to it. */
export function shares(arms: readonly { readonly name: string; readonly weight: number }[]): Record<string, number> {
  const total = arms.reduce((sum, { weight }) => sum + weight, 0);
  return Object.fromEntries(arms.map(({ name, weight }) => [name, weight / total]));
}

export interface UnitFacts {
  /** The request's `user` or `safety_identifier`. */
  readonly user: string | undefined;
  /** The name of the API key. */
  readonly key: string | undefined;
  /** The conversation's first user message. */
  readonly opening: string;
}

/**
 * Conversations of so many characters in common are told apart by no more: those of megabytes would hold up everybody.
 */
const mostOpening = 65_536;

/**
 * What is assigned, as a name that tells nothing of whom it names. Without a user the key stands in, without a key the
 * conversation.
 */
export function unitOf(unit: AssignmentUnit, { user, key, opening }: UnitFacts): string {
  if (unit === "user" && user !== undefined) return pseudonym("user", user);
  if (unit !== "conversation" && key !== undefined) return pseudonym("key", key);
  return pseudonym("conversation", opening.slice(0, mostOpening));
}

/** 32 hex digits. */
export function pseudonym(kind: "user" | "key" | "conversation", value: string): string {
  return bytesToHex(digest(kind, value).subarray(0, 16));
}

/** In (0, 1), from the hash's first 48 bits. */
function uniform(...parts: readonly string[]): number {
  const bytes = digest(...parts);
  let value = 0;
  for (let i = 0; i < 6; i++) value = value * 256 + (bytes[i] as number);
  return (value + 0.5) / 2 ** 48;
}

function digest(...parts: readonly string[]): Uint8Array {
  return sha256(utf8ToBytes(parts.join("\0")));
}
