/** @module Takes policies and demonstrations into use when their files change. Looks at them, rather than being told: that works on every file system. */
import type { PolicyStore } from "../policy/store.ts";
import type { PolicyFolder } from "./policy-files.ts";
import type { Report } from "./runtime.ts";

/** Files that have not changed for so long are taken to be whole. */
const settleMs = 50;

export interface PolicyWatcher {
  close(): Promise<void>;
}

export function watchPolicies(store: PolicyStore, folder: PolicyFolder, everyMs: number, report: Report): PolicyWatcher {
  let isClosed = false;
  let wake = (): void => {};
  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, everyMs).unref();
    });
  const watch = async (): Promise<void> => {
    let unreadable = "";
    for (await pause(); !isClosed; await pause()) {
      try {
        if (!(await folder.hasChanged(settleMs))) continue;
      } catch (error) {
        // The folder itself: say so once, and take it when it is back.
        if (unreadable !== String(error)) report(`The policies cannot be watched: ${(error as Error).message}`);
        unreadable = String(error);
        continue;
      }
      const complaint = await store.reload();
      report(complaint === null ? "policies reloaded" : `The policies have changed, but are not in force:\n${complaint}`);
    }
  };
  const ended = watch();
  return {
    close() {
      isClosed = true;
      wake();
      return ended;
    },
  };
}
