/** @module How a task's sequences get the state of its prompt: it is prefilled once, and copied from slot to slot. */
import type { Slots } from "./slots.ts";
import type { Task, TaskSequence } from "./task.ts";

/** Its prompt is not filled, as far as it knows, or a sequence waits for a slot that is idle. */
export function mayFork({ ready, idle, waiting }: Task): boolean {
  return !ready || (idle.length > 0 && waiting.length > 0);
}

/**
 * Starts waiting sequences on the task's idle slots, once its prompt is filled. `rewinds`: states of slots can be cut.
 */
export async function forkTask(task: Task, slots: Slots, rewinds: boolean): Promise<void> {
  const length = task.prompt.length - 1;
  const [first, ...others] = task.slots as [number, ...number[]];
  if (!task.ready) {
    if (slots.length(first) < length) return;
    task.ready = true;
    task.idle = task.keepsPrompt ? others : [first, ...others];
    if (!task.told) task.onPrompt?.(length - task.prefilled);
    task.told = true;
  }
  while (task.idle.length > 0 && task.waiting.length > 0) {
    const slot = task.idle[0] as number;
    if (!(await rewind(task, slot, slots, rewinds))) return;
    task.idle = task.idle.filter((other) => other !== slot);
    const sequence = task.waiting.shift() as TaskSequence;
    task.running.add({ sequence, slot, queue: [...task.prompt.slice(length), ...sequence.start], fresh: true });
  }
}

/** The slot holds the prompt but for its last token. False: it has to be prefilled again. */
async function rewind(task: Task, slot: number, slots: Slots, rewinds: boolean): Promise<boolean> {
  const length = task.prompt.length - 1;
  const held = slots.length(slot);
  if (held === length) return true;
  const [first] = task.slots as [number, ...number[]];
  if (held > length && rewinds) slots.truncate(slot, length);
  else if (slot !== first) await slots.begin(slot, { slot: first, length });
  else {
    // It is the only one: tasks of several slots keep the prompt in one.
    slots.forget(slot);
    task.ready = length === 0;
    return task.ready;
  }
  return true;
}
