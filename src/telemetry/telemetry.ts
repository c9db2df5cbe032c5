/** @module One request's facts and times, gathered once and given to the log, the metrics and the traces. */
import type { Failure } from "../gateway/errors.ts";
import type { RequestEnd, RequestFacts, RequestObserver, RequestRecord, Telemetry } from "../gateway/observation.ts";
import type { Stage } from "../icdpo/pipeline.ts";
import { noUsage, type TokenUsage } from "../icdpo/token-usage.ts";

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
  readonly #facts: RequestFacts = {};
  #usage: TokenUsage | undefined;
  #failure: Failure | undefined;
  #end: Pick<RequestRecord, "status" | "path" | "error" | "ms"> | undefined;
  #holds = 0;
  #isTold = false;
  #stage: { readonly stage: Stage; readonly startedAt: number } | undefined;
  #firstByteAt: number | undefined;

  constructor(
    request: Pick<RequestRecord, "id" | "method" | "traceparent">,
    now: () => number,
    done: (record: RequestRecord) => void,
  ) {
    this.#request = request;
    this.#now = now;
    this.#done = done;
    this.#startedAt = now();
  }

  note(facts: RequestFacts): void {
    Object.assign(this.#facts, facts);
  }

  stage(stage: Stage): void {
    if (stage === this.#stage?.stage) return;
    this.#endStage();
    this.#stage = { stage, startedAt: this.#now() };
  }

  text(of: "request" | "settings" | "answers", text: unknown): void {
    this.#texts[of] = text;
  }

  begin(): void {
    this.#firstByteAt ??= this.#now();
  }

  worked(tokens: Readonly<TokenUsage>): void {
    const before = this.#usage ?? noUsage();
    this.#usage = {
      prompt: before.prompt + tokens.prompt,
      sampled: before.sampled + tokens.sampled,
      scored: before.scored + tokens.scored,
      cached: before.cached + tokens.cached,
    };
  }

  fail(failure: Failure): void {
    this.#failure ??= failure;
  }

  hold(): () => void {
    this.#holds += 1;
    let isReleased = false;
    return () => {
      if (isReleased) return;
      isReleased = true;
      this.#holds -= 1;
      this.#tell();
    };
  }

  end(end: RequestEnd): void {
    if (this.#end !== undefined) return;
    this.#end = { ...end, ...this.#failure, ms: this.#now() - this.#startedAt };
    this.#tell();
  }

  /** Once it has ended, and nothing is under way for it any more. */
  #tell(): void {
    if (this.#end === undefined || this.#holds > 0 || this.#isTold) return;
    this.#isTold = true;
    this.#endStage();
    this.#done({
      ...this.#request,
      ...this.#facts,
      ...this.#end,
      ...(this.#usage !== undefined && { work: this.#usage }),
      startedAt: this.#startedAt,
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
