/** @module A task: one prompt with one or more sequences that follow it, samples or completions to score. */
import type { Token } from "../engine.ts";
import type { Logits } from "./backend.ts";
import { type Ownership, undivided } from "./slots.ts";

/** What follows the prompt in one slot. */
export interface TaskSequence {
  /** Tokens to decode after the prompt's last one, logits wanted at each. */
  readonly start: readonly Token[];
  /** Takes the logits of the tokens just decoded; returns what to decode next, nothing when done. */
  accept(rows: readonly Logits[]): Promise<readonly Token[]>;
  /** Ends with what there is; absent where nothing grows. */
  cut?(): void;
  dispose(): void;
}

export interface TaskRequest {
  /** Samples step together, one token each; completions to score are decoded in chunks. */
  readonly kind: "sample" | "score";
  readonly prompt: readonly Token[];
  /** Whose tokens the prompt's and its sequences' are; absent: there is one tenant only. */
  readonly owner?: Ownership | undefined;
  readonly sequences: readonly TaskSequence[];
  /** So many tokens more has the longest of the tasks that are in step with it; absent: none. */
  readonly behind?: number | undefined;
  readonly signal: AbortSignal;
  /** So many of the prompt's tokens have been prefilled by now. */
  readonly onPrefill?: ((tokens: number) => void) | undefined;
  /** The prompt is filled; so many of its tokens need not be prefilled. */
  readonly onPrompt?: ((cached: number) => void) | undefined;
  /**
   * A sequence has more to decode than its context holds: it is the callee's now, with all tokens from the prompt's
   * first to the one that comes next. Absent: there are none such.
   */
  readonly onFull?: ((sequence: TaskSequence, tokens: readonly Token[]) => void) | undefined;
}

/** A sequence that has a slot. */
export interface RunningSequence {
  readonly sequence: TaskSequence;
  slot: number;
  /** Tokens to decode. */
  queue: readonly Token[];
  /** Nothing has come of it yet. */
  fresh: boolean;
}

/** How a task is run, and whom it tells of its end. */
export interface TaskTerms {
  /** More sequences may come. */
  readonly open: boolean;
  /** Slots wanted. */
  readonly width: number;
  /** All that are in step with it, itself among them: they begin together, and each step takes all or none of them. */
  readonly inStep: readonly Task[];
  /** It is alone. */
  readonly isAlone: boolean;
  /** No sequence runs in the first slot: the others get the prompt from there anew, where states cannot be cut. */
  readonly keepsPrompt: boolean;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
  /** Called when the signal fires. */
  readonly wake: () => void;
}

export interface Task extends Omit<TaskRequest, "sequences">, Omit<TaskTerms, "open"> {
  readonly owner: Ownership;
  readonly waiting: TaskSequence[];
  readonly running: Set<RunningSequence>;
  open: boolean;
  /** May use the slots that are kept for single samples. */
  readonly isSingle: boolean;
  /** Those that it has. */
  slots: number[];
  /** The prompt but for its last token is in the first slot: each sequence decodes that one, for its logits. */
  ready: boolean;
  /** `onPrompt` has been called. */
  told: boolean;
  /** Tokens of the prompt that were decoded for this task. */
  prefilled: number;
  /** Slots that wait for a sequence. */
  idle: number[];
}

export function createTask({ sequences, ...request }: TaskRequest, terms: TaskTerms): Task {
  return {
    ...request,
    ...terms,
    owner: request.owner ?? undivided,
    waiting: [...sequences],
    running: new Set(),
    isSingle: request.kind === "sample" && terms.width === 1 && terms.isAlone,
    slots: [],
    ready: false,
    told: false,
    prefilled: 0,
    idle: [],
  };
}

/** Each of those in step with it has a sequence at work: what waits for another is not stepped. */
export function isInStep({ inStep }: Task): boolean {
  return inStep.every(({ running }) => running.size > 0);
}
