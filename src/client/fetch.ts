/** @module What calls to servers go through. */

/** As much of `fetch` as is needed. */
export type Fetch = (
  url: string,
  init: {
    readonly method: "GET" | "POST";
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string;
    readonly signal: AbortSignal;
  },
) => Promise<FetchAnswer>;

export interface FetchAnswer {
  readonly ok: boolean;
  readonly status: number;
  /** Names in lower case. */
  readonly headers: { get(name: string): string | null };
  readonly body: AsyncIterable<Uint8Array> | null;
}
