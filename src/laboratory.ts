/** @module All that the laboratories beside the gateway (`lab`, `bench`) may use of it. */

export { growingPause } from "./async/growing-pause.ts";
export { inOrder } from "./async/in-order.ts";
export { inTime, pause } from "./async/pause.ts";
export { inPool } from "./async/pool.ts";
export { retry } from "./async/retry.ts";
export { answerTo } from "./client/answer-size.ts";
export { boundedFetch } from "./client/bounded-fetch.ts";
export { isRedirect, redirected } from "./client/redirect.ts";
export { addPriceOptions, endpointKey, type Priced, whole } from "./commands/endpoint-options.ts";
export { type World, withModels, withSignal } from "./commands/world.ts";
export { withoutSystemTurn } from "./demonstrations/chat-rows.ts";
export { dataFiles, dataName, readRows } from "./demonstrations/data-rows.ts";
export { detectFormat, type Example, readExample } from "./demonstrations/datasets.ts";
export { openJournal, readLines, writeLines } from "./demonstrations/demonstration-files.ts";
export { judgePair } from "./demonstrations/judge.ts";
export { costOf, openTeacher, type Teacher, type TeacherAnswer } from "./demonstrations/teacher.ts";
export type { Engine, Prompt, Sample, SampleEvent, SampleRequest, ScoreEvent, Token } from "./engine/engine.ts";
export { LlamaEngine } from "./engine/llama-cpp/index.ts";
export type { ExperimentDescription } from "./experiment/report.ts";
export type { Estimate } from "./experiment/sequence.ts";
export { rank } from "./icdpo/choose.ts";
export { buildContexts, type ScoringContext } from "./icdpo/contexts.ts";
export { muchCopied, sourcesOf } from "./icdpo/copied.ts";
export { finalScores } from "./icdpo/final-scores.ts";
export { forcedSums } from "./icdpo/forced-sums.ts";
export { type Measurement, type MeasureRequest, measure } from "./icdpo/measure.ts";
export { type IcdpoOutcome, icdpo } from "./icdpo/pipeline.ts";
export { baseContext, encodeContext, responseTokens } from "./icdpo/prompt.ts";
export { compareRace } from "./icdpo/pruning.ts";
export { tokenizeResponse } from "./icdpo/response.ts";
export { negativeOf, scoreOf } from "./icdpo/score.ts";
export { candidateSeed, randomFrom } from "./icdpo/seed.ts";
export { negativesRandom, withShownNegative } from "./icdpo/shown-negative.ts";
export { computedTokens, counted, noUsage, type TokenUsage } from "./icdpo/token-usage.ts";
export { readAccess } from "./node/open-access.ts";
export type { ModelRuntime } from "./node/runtime.ts";
export { serve } from "./node/serve.ts";
export { buildPolicySet, policyId } from "./policy/build.ts";
export { lacksDemonstrations } from "./policy/bypass.ts";
export { keptOf, type Prune } from "./policy/choice-schema.ts";
export { defaultEngine } from "./policy/engines-file.ts";
export { complaintAt, parseDemonstrations, parseYaml } from "./policy/parse.ts";
export {
  type CapabilitiesOf,
  demonstrationSet,
  type ParsedPolicy,
  type PolicyFiles,
  parsePolicyFiles,
} from "./policy/parsed-policies.ts";
export type { Policy, PromptedModel } from "./policy/policy.ts";
export { type FieldChanges, fieldIn, withFields } from "./policy/policy-document.ts";
export { contradiction } from "./policy/policy-models.ts";
export { boundedSampling } from "./policy/policy-sampling.ts";
export { PolicyStore } from "./policy/policy-store.ts";
export { mostCandidates, type PolicySettings, type PromptFormat, promptFormats } from "./policy/schema.ts";
export { rewardAsked, wantsConsensus } from "./policy/score-schema.ts";
export { compilePattern, problemWith } from "./policy/user-pattern.ts";
export { Database } from "./records/libsql-records.ts";
export type { AnswerRow } from "./records/record.ts";
export { ThreadedStore } from "./records/thread/threaded-records.ts";
export { bm25Ranking } from "./retrieval/bm25.ts";
export { cosine } from "./retrieval/embedding.ts";
export type { Embedder } from "./retrieval/retriever.ts";
export { twoStageRetriever } from "./retrieval/two-stage.ts";
export { rewardProtocols } from "./reward/reward-model.ts";
export { writeWhole } from "./system/whole-file.ts";
export { sha256Hex } from "./text/bytes.ts";
export { type Conversation, type Demonstration, promptText } from "./types/conversation.ts";
export { cancelled, GatewayError, messageOf } from "./types/error.ts";
export type { Report } from "./types/operator.ts";
export { Curve, Label, linear, PlotFile, place, Rule, type Scale } from "./web/svg.tsx";

/** The built program. */
export const program = new URL("./commands/cli.js", import.meta.url);
