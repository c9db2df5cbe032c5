/**
 * @module `fetch` for libraries that read an answer whole, however large it is and however slowly it comes: here it
 * must be of a size, and in time.
 */
import { errorBytes } from "./answer-size.ts";
import { tooLarge } from "./connection.ts";

export interface Bounds {
  /** Who is called, for people: begins a sentence. */
  readonly name: string;
  /** Bytes of an answer, unpacked. An error's are fewer. */
  readonly most: number;
  /** Milliseconds for all of it; absent: the library has limits of its own. */
  readonly wholeMs?: number;
}

/** An answer's body fails with "engine_failure" where it is larger. Of an error as many bytes come as are looked at. */
export function boundedFetch(fetch: typeof globalThis.fetch, { name, most, wholeMs }: Bounds): typeof globalThis.fetch {
  return async (input, init) => {
    const signals = [init?.signal, wholeMs === undefined ? null : AbortSignal.timeout(wholeMs)].filter(
      (signal) => signal instanceof AbortSignal,
    );
    const response = await fetch(input, signals.length === 0 ? init : { ...init, signal: AbortSignal.any(signals) });
    if (response.body === null) return response;
    const body = response.body.pipeThrough(response.ok ? refusing(name, most) : cutting(errorBytes));
    const { status, statusText, headers } = response;
    return new Response(body, { status, statusText, headers: withoutLength(headers) });
  };
}

function refusing(name: string, most: number): TransformStream<Uint8Array, Uint8Array> {
  let bytes = 0;
  return new TransformStream({
    transform(chunk, controller) {
      bytes += chunk.byteLength;
      if (bytes > most) controller.error(tooLarge(name, "an answer", most));
      else controller.enqueue(chunk);
    },
  });
}

function cutting(most: number): TransformStream<Uint8Array, Uint8Array> {
  let left = most;
  return new TransformStream({
    transform(chunk, controller) {
      controller.enqueue(chunk.subarray(0, left));
      left -= Math.min(left, chunk.byteLength);
      if (left === 0) controller.terminate();
    },
  });
}

/** The body is unpacked already, and may be cut. */
function withoutLength(given: Headers): Headers {
  const headers = new Headers(given);
  for (const name of ["content-length", "content-encoding"]) headers.delete(name);
  return headers;
}
