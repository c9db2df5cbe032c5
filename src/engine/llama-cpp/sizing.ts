/**
 * @module How many sequences of what length fit the machine, and why; a model that does not fit is refused with
 * numbers.
 */
import { GatewayError } from "../../types/error.ts";

export interface ModelNeeds {
  /** Bytes of the weights. */
  readonly weights: number;
  /** Tokens per sequence that the model was trained with. */
  readonly trainContext: number;
  /** Bytes that so many sequences of so many tokens take. */
  readonly contextBytes: (contextSize: number, sequences: number) => number;
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

export interface Size {
  readonly contextSize: number;
  readonly sequences: number;
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

/** Throws "model_unavailable" where the model, or what the settings ask for, does not fit. */
export function chooseSize(
  { weights, trainContext, contextBytes }: ModelNeeds,
  room: Room,
  settings: SizeSettings,
): Size {
  const budget = Math.max(0, room.bytes - weights) * shareForSequences;
  const fits = (contextSize: number, sequences: number): boolean => contextBytes(contextSize, sequences) <= budget;
  let contextSize = settings.contextSize || Math.min(trainContext, usualContext);
  if (settings.contextSize === 0)
    while (contextSize > shortestContext && !fits(contextSize, settings.sequences || fewestSequences))
      contextSize = Math.max(shortestContext, Math.floor(contextSize / 2));
  let sequences = settings.sequences || usualSequences;
  if (settings.sequences === 0) while (sequences > fewestSequences && !fits(contextSize, sequences)) sequences -= 1;
  const needed = weights + contextBytes(contextSize, sequences);
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

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}
