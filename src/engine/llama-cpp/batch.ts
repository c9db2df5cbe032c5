/**
 * @module What one step decodes: a token of every running sample, and a chunk of what can wait, prompts and completions
 * to score.
 */
import type { Token } from "../engine.ts";
import type { BatchChunk } from "./backend.ts";
import { allot, type Portion } from "./plan.ts";
import type { Prefix, Slots } from "./slots.ts";
import { isInStep, type RunningSequence, type Task } from "./task.ts";

/** A part of the batch, and whom its logits are for; without a sequence: a part of the task's prompt. */
export interface PlannedChunk {
  readonly task: Task;
  readonly chunk: BatchChunk;
  readonly running?: RunningSequence;
}

/** What can be decoded in chunks: the rest of a prompt, or of a completion to score. */
interface Remainder {
  readonly task: Task;
  readonly slot: number;
  readonly rest: readonly Token[];
  readonly running?: RunningSequence;
}

/** `[chunks]`, by slot. `chunkTokens`: of what can wait, at most. */
export function fillBatch(tasks: readonly Task[], slots: Slots, chunkTokens: number): PlannedChunk[] {
  const samples = tasks.filter((task) => task.kind === "sample" && isInStep(task));
  const tokens = samples.flatMap((task) =>
    [...task.running].map((running) => planChunk(slots, task, running.slot, running.queue, running)),
  );
  // A sample's first token does not wait for a chunk of something else.
  const hasFresh = tokens.some(({ running }) => running?.fresh);
  const granted = hasFresh ? [] : allot(remainders(tasks, slots), chunkTokens);
  const chunks = granted.map(({ item: { task, slot, rest, running }, tokens: count }) =>
    planChunk(slots, task, slot, rest.slice(0, count), running),
  );
  // llama.cpp puts neighbours into one batch where they come in order.
  return [...tokens, ...chunks].toSorted((a, b) => a.chunk.sequence - b.chunk.sequence);
}

/** A prompt about to be prefilled that others have come further with, and what there is of it. */
export function findOvertaken(
  batch: readonly PlannedChunk[],
  slots: Slots,
): { readonly task: Task; readonly prefix: Prefix } | undefined {
  for (const { task, running } of batch) {
    const prefix = running === undefined ? slots.further(task.slots[0] as number, task.prompt) : undefined;
    if (prefix !== undefined) return { task, prefix };
  }
  return undefined;
}

/** Prompts to prefill and completions to score, in order of arrival. */
function remainders(tasks: readonly Task[], slots: Slots): Portion<Remainder>[] {
  return tasks.flatMap((task): Portion<Remainder>[] => {
    const slot = task.slots[0] as number;
    if (!task.ready) {
      const rest = task.prompt.slice(slots.length(slot), -1);
      return [{ item: { task, slot, rest }, tokens: rest.length, urgent: task.waiting.length > 0 }];
    }
    if (task.kind === "sample") return [];
    return [...task.running].map((running) => {
      return {
        item: { task, slot: running.slot, rest: running.queue, running },
        tokens: running.queue.length,
        urgent: true,
      };
    });
  });
}

function planChunk(
  slots: Slots,
  task: Task,
  slot: number,
  tokens: readonly Token[],
  running?: RunningSequence,
): PlannedChunk {
  const logits = running === undefined ? [] : [...tokens.keys()];
  const chunk = { sequence: slot, position: slots.length(slot), tokens, logits };
  return { task, chunk, ...(running && { running }) };
}
