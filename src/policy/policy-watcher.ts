/**
 * @module Takes policies and demonstrations into use when their files change. Looks at them, rather than being told:
 * that works on every file system. Files that were refused for a reason that may pass are tried again without a change.
 */
import type { Report } from "../types/operator.ts";
import type { PolicyFolder } from "./policy-files.ts";
import type { PolicyStore } from "./policy-store.ts";
import { Retries } from "./retries.ts";

/** Files that have not changed for so long are taken to be whole. */
const settleMs = 50;

export interface PolicyWatcher {
  close(): Promise<void>;
}

export function watchPolicies(
  store: PolicyStore,
  folder: PolicyFolder,
  everyMs: number,
  report: Report,
): PolicyWatcher {
  let isClosed = false;
  let wake = (): void => {};
  const pause = (): Promise<void> =>
    new Promise((resolve) => {
      wake = resolve;
      setTimeout(resolve, everyMs).unref();
    });
  const retries = new Retries(everyMs, () => performance.now());
  const watch = async (): Promise<void> => {
    let unreadable = "";
    let complained: string | null = null;
    for (await pause(); !isClosed; await pause()) {
      let isEdited: boolean;
      try {
        isEdited = await folder.hasChanged(settleMs);
      } catch (error) {
        // The folder itself: say so once, and take it when it is back.
        if (unreadable !== String(error)) report(`The policies cannot be watched: ${(error as Error).message}`);
        unreadable = String(error);
        continue;
      }
      if (!isEdited && !retries.isDue(store.state)) continue;
      const complaint = await store.reload();
      if (isClosed) return;
      retries.tried(isEdited);
      const again = store.state.error?.mayPass ? "\nThey are tried again." : "";
      if (complaint === null) report("policies reloaded");
      else if (isEdited || complaint !== complained)
        report(`The policies have changed, but are not in force:\n${complaint}${again}`);
      complained = complaint;
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
