/**
 * @module How many sequences of what length fit the machine, and why; a model that does not fit is refused with
 * numbers. Beside the usual sequences there is room for a few longer ones, which are opened when a request needs them.
 */
import { GatewayError } from "../../types/error.ts";

/** Sequences of one context. */
export interface Sequences {
  /** Tokens in each. */
  readonly contextSize: number;
  readonly sequences: number;
}

export interface ModelNeeds {
  /** Bytes of the weights. */
  readonly weights: number;
  /** Tokens per sequence that the model was trained with. */
  readonly trainContext: number;
  /** Bytes that a context of such sequences takes. */
  readonly bytesOf: (sequences: Sequences) => number;
}

export interface Room {
  /** Bytes that are free. */
  readonly bytes: number;
  readonly where: "memory" | "GPU memory";
}

/** 0: not set. */
export interface SizeSettings {
  readonly contextSize: number;
  readonly sequences: number;
}

export interface Size extends Sequences {
  /** For the log and /ready. */
  readonly why: string;
}

const usualContext = 4096;
const shortestContext = 1024;
const usualSequences = 16;
/** Three candidates, and a context to score them in. */
const fewestSequences = 4;
/** Of what the weights leave free: the rest is for everything else on the machine. */
const shareForSequences = 1 / 2;
/** The same, while longer sequences are open. */
const shareWithLong = 3 / 4;
/** Three candidates, a context to score them in, and two that keep prefixes. */
const mostLongSequences = 6;

/** Throws "model_unavailable" where the model, or what the settings ask for, does not fit. */
export function chooseSize({ weights, trainContext, bytesOf }: ModelNeeds, room: Room, settings: SizeSettings): Size {
  const budget = Math.max(0, room.bytes - weights) * shareForSequences;
  const fits = (contextSize: number, sequences: number): boolean => bytesOf({ contextSize, sequences }) <= budget;
  let contextSize = settings.contextSize || Math.min(trainContext, usualContext);
  if (settings.contextSize === 0)
    while (contextSize > shortestContext && !fits(contextSize, settings.sequences || fewestSequences))
      contextSize = Math.max(shortestContext, Math.floor(contextSize / 2));
  let sequences = settings.sequences || usualSequences;
  if (settings.sequences === 0) while (sequences > fewestSequences && !fits(contextSize, sequences)) sequences -= 1;
  const needed = weights + bytesOf({ contextSize, sequences });
  const sum = `${gib(weights)} for the weights and ${gib(needed - weights)} for ${sequences} sequences of ${contextSize} tokens`;
  if (needed > room.bytes)
    throw new GatewayError(
      "model_unavailable",
      `The model needs ${gib(needed)} of ${room.where} (${sum}), but ${gib(room.bytes)} are free. Use a smaller model or quantisation, or lower ICDPO_CONTEXT_SIZE (now ${contextSize}) and ICDPO_SEQUENCES (now ${sequences}).`,
    );
  const given = [settings.contextSize > 0 && "ICDPO_CONTEXT_SIZE", settings.sequences > 0 && "ICDPO_SEQUENCES"].filter(
    Boolean,
  );
  const reason =
    given.length > 0 ? `as ${given.join(" and ")} say${given.length === 1 ? "s" : ""}` : "chosen by what is free";
  return { contextSize, sequences, why: `${sum}, of ${gib(room.bytes)} free ${room.where}; ${reason}` };
}

/**
 * The one sequence of a model that reads texts and writes none; `wanted`: its tokens, 0: what the model was trained with,
 * at most the usual, as far as there is memory. Throws "model_unavailable" where it does not fit.
 */
export function chooseContext({ weights, trainContext, bytesOf }: ModelNeeds, room: Room, wanted: number): Size {
  const needed = (tokens: number): number => weights + bytesOf({ contextSize: tokens, sequences: 1 });
  let contextSize = Math.min(trainContext, wanted || usualContext);
  if (wanted === 0)
    while (contextSize > shortestContext && needed(contextSize) > room.bytes)
      contextSize = Math.max(shortestContext, Math.floor(contextSize / 2));
  const bytes = needed(contextSize);
  const sum = `${gib(weights)} for the weights and ${gib(bytes - weights)} for a text of ${contextSize} tokens`;
  if (bytes > room.bytes)
    throw new GatewayError(
      "model_unavailable",
      `The model needs ${gib(bytes)} of ${room.where} (${sum}), but ${gib(room.bytes)} are free. Use a smaller model or quantisation, or lower its context_size.`,
    );
  return { contextSize, sequences: 1, why: `${sum}, of ${gib(room.bytes)} free ${room.where}` };
}

/**
 * `[lengths]`, the shortest first: sequences longer than the usual ones, up to what the model was trained with, each
 * length as often as there is room for it beside the usual ones. Empty where a setting says how long a sequence is.
 */
export function longerSequences(
  { weights, trainContext, bytesOf }: ModelNeeds,
  room: Room,
  usual: Sequences,
  settings: SizeSettings,
): Sequences[] {
  if (settings.contextSize > 0) return [];
  const left = (room.bytes - weights) * shareWithLong - bytesOf(usual);
  const longer: Sequences[] = [];
  for (let contextSize = usual.contextSize; contextSize < trainContext; ) {
    contextSize = Math.min(contextSize * 2, trainContext);
    const most = Math.min(settings.sequences || mostLongSequences, mostLongSequences);
    const fitting = largestThatFits({ contextSize, sequences: most }, left, bytesOf);
    if (fitting === undefined) break;
    longer.push(fitting);
  }
  return longer;
}

/** What to do where a request does not fit into `contextSize` tokens. */
export function adviceForMore(contextSize: number, trainContext: number, settings: SizeSettings): string {
  if (contextSize >= trainContext) return `The model was trained with ${trainContext} tokens: more take another model.`;
  const trained = `the model was trained with ${trainContext} tokens`;
  if (settings.contextSize > 0) return `ICDPO_CONTEXT_SIZE, or the engine's context_size, can be raised: ${trained}.`;
  return `There was no memory for more, though ${trained}: lower ICDPO_SEQUENCES, or use a smaller model or quantisation.`;
}

/** For the log and /ready. */
export function whyLonger(longest: Sequences, bytesOf: ModelNeeds["bytesOf"]): string {
  const { contextSize, sequences } = longest;
  return `a request may take ${contextSize} tokens: ${sequences} longer ${sequences === 1 ? "sequence" : "sequences"}, ${gib(bytesOf(longest))}, are opened when one needs them`;
}

/** As many of the wanted sequences as what is free now has room for. Throws "out_of_room" where not even one fits. */
export function fewerThatFit(wanted: Sequences, room: Room, bytesOf: ModelNeeds["bytesOf"]): Sequences {
  const fitting = largestThatFits(wanted, room.bytes * shareWithLong, bytesOf);
  if (fitting !== undefined) return fitting;
  throw new GatewayError(
    "out_of_room",
    `There is no ${room.where} free for a context of ${wanted.contextSize} tokens at present. Shorten the request; whoever runs the gateway can lower ICDPO_SEQUENCES or use a smaller model.`,
    { retryAfter: 30 },
  );
}

function largestThatFits(
  { contextSize, sequences: most }: Sequences,
  bytes: number,
  bytesOf: ModelNeeds["bytesOf"],
): Sequences | undefined {
  for (let sequences = most; sequences > 0; sequences -= 1)
    if (bytesOf({ contextSize, sequences }) <= bytes) return { contextSize, sequences };
  return undefined;
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
