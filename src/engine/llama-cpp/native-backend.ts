/** @module llama.cpp as the scheduler sees it: batches of many sequences on one native context. */
import type { Contrast, SampleRequest, Token } from "../engine.ts";
import { AvailableCores } from "./available-cores.ts";
import type { Backend, BatchChunk, ContrastSampler, Logits, Sampler, TopLogprobs } from "./backend.ts";
import type { NativeContext } from "./native-context.ts";
import type { NativeSamplers } from "./native-samplers.ts";
import { asLogits } from "./sampler.ts";
import type { ThreadControl } from "./threads.ts";

export type BackendSize = Pick<Backend, "sequences" | "contextSize" | "stepTokens" | "prefillSpeed" | "rewinds">;

export class NativeBackend implements Backend {
  readonly sequences: number;
  readonly contextSize: number;
  readonly stepTokens: number;
  readonly prefillSpeed: number;
  readonly rewinds: boolean;
  readonly #context: NativeContext;
  readonly #samplers: NativeSamplers;
  readonly #threads: ThreadControl;
  readonly #available = new AvailableCores();

  constructor(context: NativeContext, samplers: NativeSamplers, threads: ThreadControl, size: BackendSize) {
    this.#context = context;
    this.#samplers = samplers;
    this.#threads = threads;
    this.sequences = size.sequences;
    this.contextSize = size.contextSize;
    this.stepTokens = size.stepTokens;
    this.prefillSpeed = size.prefillSpeed;
    this.rewinds = size.rewinds;
  }

  get threads(): number {
    return this.#threads.threads;
  }

  async decode(batch: readonly BatchChunk[]): Promise<Logits[][]> {
    const context = this.#context;
    const count = batch.reduce((sum, { tokens }) => sum + tokens.length, 0);
    context.initBatch(count);
    const rows = batch.map(({ sequence, position, tokens, logits }) =>
      Array.from(context.addToBatch(sequence, position, Uint32Array.from(tokens), Uint32Array.from(logits)), (row) =>
        asLogits({ context, row }),
      ),
    );
    const start = performance.now();
    context.setThreads(this.#threads.next(count, start, this.#available.get(start)));
    await context.decodeBatch();
    const end = performance.now();
    this.#threads.record(count, end - start, end);
    return rows;
  }

  logprobs(row: Logits, tokens: readonly Token[]): Promise<number[]> {
    return this.#samplers.logprobs(row, tokens);
  }

  topLogprobs(row: Logits, token: Token, count: number): Promise<TopLogprobs> {
    return this.#samplers.topLogprobs(row, token, count);
  }

  createSampler(request: SampleRequest, seed: number, prompt: readonly Token[]): Sampler {
    return this.#samplers.create(request, seed, prompt);
  }

  createContrastSampler(
    request: SampleRequest,
    contrast: Contrast,
    seed: number,
    prompt: readonly Token[],
  ): ContrastSampler {
    return this.#samplers.createContrast(request, contrast, seed, prompt);
  }

  async copy(source: number, target: number, length: number): Promise<void> {
    this.#context.disposeSequence(target);
    if (length === 0) return;
    const last = await this.#context.copySequenceStateFromOtherSequence(target, source);
    if (last < length - 1) throw new Error(`A copied sequence ends at position ${last}, before ${length - 1}`);
    if (last > length - 1) this.truncate(target, length);
  }

  truncate(sequence: number, length: number): void {
    const isCut = this.#context.removeTokenCellsFromSequence(sequence, length, -1);
    if (!isCut) throw new Error(`A sequence could not be cut to ${length} tokens`);
  }

  clear(sequence: number): void {
    this.#context.disposeSequence(sequence);
  }
}
