/** @module What stands at a path. */
import { stat } from "node:fs/promises";

/** What is at `place`, or undefined when nothing is. */
export function entryAt(place: string) {
  return stat(place).catch((error: NodeJS.ErrnoException) => {
    if (error.code === "ENOENT" || error.code === "ENOTDIR") return undefined;
    throw error;
  });
}
