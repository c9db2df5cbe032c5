/** @module A lock between processes: a file that says who holds it. */
import { randomUUID } from "node:crypto";
import { link, mkdir, readFile, rename, rm, utimes, writeFile } from "node:fs/promises";
import { hostname } from "node:os";
import path from "node:path";
import { pause } from "../async/pause.ts";
import { entryAt } from "./entry.ts";

const lockPollMs = 200;
const lockTouchedEveryMs = 10_000;
const lockDeadAfterMs = 60_000;
const held = new Set<string>();

/** Does the work while this process alone holds the lock file; its folder is made. */
export async function locked<Value>(
  place: string,
  report: (line: string) => void,
  work: () => Promise<Value>,
  signal?: AbortSignal,
): Promise<Value> {
  await mkdir(path.dirname(place), { recursive: true });
  const release = await lock(place, report, signal);
  try {
    return await work();
  } finally {
    await release();
  }
}

/** Waits until no other process holds the lock file, then holds it; returns how to let go. */
async function lock(place: string, report: (line: string) => void, signal?: AbortSignal): Promise<() => Promise<void>> {
  const mine = `${process.pid} ${hostname()} ${randomUUID()}`;
  held.add(mine);
  try {
    let waits = false;
    while (!(await created(place, mine))) {
      if (await removedAsStale(place)) continue;
      if (!waits) report(`waiting for another process that holds ${place}`);
      waits = true;
      await pause(lockPollMs, signal);
    }
  } catch (error) {
    held.delete(mine);
    throw error;
  }
  const touch = setInterval(
    () => void utimes(place, new Date(), new Date()).catch(() => undefined),
    lockTouchedEveryMs,
  );
  return async () => {
    clearInterval(touch);
    if ((await contentOf(place)) === mine) await rm(place, { force: true });
    held.delete(mine);
  };
}

function created(place: string, content: string): Promise<boolean> {
  return writeFile(place, content, { flag: "wx" }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") return false;
      throw error;
    },
  );
}

async function removedAsStale(place: string): Promise<boolean> {
  const content = await contentOf(place);
  const touchedAt = (await entryAt(place))?.mtimeMs;
  if (content === undefined || touchedAt === undefined) return true;
  if (Date.now() - touchedAt < lockDeadAfterMs && !holderIsGone(content)) return false;
  // Moved and looked at before it is removed: meanwhile another process may have found it stale too and put its own
  // lock there.
  const aside = `${place}.${randomUUID()}`;
  await rename(place, aside).catch(() => undefined);
  if ((await contentOf(aside)) !== content) await link(aside, place).catch(() => undefined);
  await rm(aside, { force: true });
  return true;
}

/**
 * Process ids come round again (each start in a container has the same), hence also the list of what this process
 * holds.
 */
function holderIsGone(content: string): boolean {
  const [pid, host] = content.split(" ");
  if (host !== hostname() || !Number(pid)) return false;
  if (Number(pid) === process.pid) return !held.has(content);
  try {
    process.kill(Number(pid), 0);
    return false;
  } catch (error) {
    return error instanceof Error && "code" in error && error.code === "ESRCH";
  }
}

function contentOf(place: string): Promise<string | undefined> {
  return readFile(place, "utf8").catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT") return undefined;
    throw error;
  });
}
