/** @module One request's facts and times, gathered once and given to the log, the metrics and the traces. */
import type { RequestEnd, RequestFacts, RequestObserver, RequestRecord, Telemetry } from "../http/telemetry.ts";
import type { Stage } from "../icdpo/pipeline.ts";

/** Takes what is to be said of a request when it begins and when it is over. */
export interface Recorder {
  begin?(): void;
  record(record: RequestRecord): void;
}

export interface TelemetryOptions {
  readonly recorders: readonly Recorder[];
  readonly metrics: Telemetry["metrics"];
  /** Milliseconds since 1970. */
  readonly now: () => number;
  /** A recorder failed; the request goes on. */
  readonly onFailure: (error: unknown) => void;
}

export function createTelemetry({ recorders, metrics, now, onFailure }: TelemetryOptions): Telemetry {
  const each = (act: (recorder: Recorder) => void): void => {
    for (const recorder of recorders) {
      try {
        act(recorder);
      } catch (error) {
        onFailure(error);
      }
    }
  };
  return {
    metrics,
    observe(request) {
      each((recorder) => recorder.begin?.());
      return new Observer(request, now, (record) => each((recorder) => recorder.record(record)));
    },
  };
}

class Observer implements RequestObserver {
  readonly #request: Pick<RequestRecord, "id" | "method" | "traceparent">;
  readonly #now: () => number;
  readonly #done: (record: RequestRecord) => void;
  readonly #startedAt: number;
  readonly #stages: { stage: Stage; startedAt: number; ms: number }[] = [];
  readonly #texts: Record<string, unknown> = {};
  #facts: RequestFacts = {};
  #stage: { readonly stage: Stage; readonly startedAt: number } | undefined;
  #firstByteAt: number | undefined;
  #isOver = false;

  constructor(request: Pick<RequestRecord, "id" | "method" | "traceparent">, now: () => number, done: (record: RequestRecord) => void) {
    this.#request = request;
    this.#now = now;
    this.#done = done;
    this.#startedAt = now();
  }

  note(facts: RequestFacts): void {
    this.#facts = { ...this.#facts, ...facts };
  }

  stage(stage: Stage): void {
    this.#endStage();
    this.#stage = { stage, startedAt: this.#now() };
  }

  text(of: "request" | "settings" | "answers", text: unknown): void {
    this.#texts[of] = text;
  }

  begin(): void {
    this.#firstByteAt ??= this.#now();
  }

  end(end: RequestEnd): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#endStage();
    this.#done({
      ...this.#request,
      ...this.#facts,
      ...end,
      startedAt: this.#startedAt,
      ms: this.#now() - this.#startedAt,
      firstByteMs: this.#firstByteAt === undefined ? undefined : this.#firstByteAt - this.#startedAt,
      stages: this.#stages,
      texts: this.#texts,
    });
  }

  #endStage(): void {
    if (this.#stage !== undefined) this.#stages.push({ ...this.#stage, ms: this.#now() - this.#stage.startedAt });
    this.#stage = undefined;
  }
}
