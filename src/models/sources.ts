/**
 * @module Where pinned files come from: a hub over HTTP, or a Python package index by pip. Nothing unverified reaches a
 * final path.
 */
import type { ModelSource, PinnedFile } from "./catalog.ts";

export interface Progress {
  readonly name: string;
  /** Bytes, with those kept from an earlier attempt. */
  readonly received: number;
  readonly total: number | undefined;
}

export interface SourceAccess {
  /** Default: https://huggingface.co */
  readonly hubEndpoint?: string;
  /** Sent to the hub's endpoint only. */
  readonly hubToken?: string;
  readonly fetch?: typeof fetch;
  /** Commands that may start a Python with pip, in order; default python3, python. */
  readonly python?: readonly string[];
  readonly report: (line: string) => void;
  /** Called about five times a second at most. */
  readonly progress?: (progress: Progress) => void;
}

const progressEveryMs = 200;

export function filesOf(source: ModelSource): readonly PinnedFile[] {
  return source.type === "hub" ? source.files : source.packages.flatMap((pythonPackage) => pythonPackage.files);
}

export function hubEndpoint(access: SourceAccess): string {
  return (access.hubEndpoint ?? "https://huggingface.co").replace(/\/+$/, "");
}

/** A network error's cause says more than its message, "fetch failed". */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { cause } = error;
  if (!(cause instanceof Error)) return error.message;
  return `${error.message}: ${cause.message || ("code" in cause ? String(cause.code) : cause.name)}`;
}

/** Calls made too soon after the last one are dropped. */
export function throttled<Arguments extends readonly unknown[]>(
  call: (...given: Arguments) => void,
): (...given: Arguments) => void {
  let calledAt = 0;
  return (...given) => {
    if (Date.now() - calledAt < progressEveryMs) return;
    calledAt = Date.now();
    call(...given);
  };
}
