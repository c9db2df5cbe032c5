/** @module The tokenizer's side of a model that node-llama-cpp has loaded, without the library's types. */
import type { LlamaModel, Token as LlamaToken } from "node-llama-cpp";
import { GatewayError } from "../../types/error.ts";
import type { InfillTokens, Token } from "../engine.ts";
import type { Vocabulary } from "../template/chat-template.ts";
import type { Detokenize } from "./completion-text.ts";
import { tokenBytes } from "./token-bytes.ts";

export interface NativeModel {
  readonly vocabularySize: number;
  /** No token is written with more characters. */
  readonly longestToken: number;
  readonly chatTemplate: string | undefined;
  readonly bos: Token | undefined;
  readonly eos: Token | undefined;
  readonly prependsBos: boolean;
  readonly infill: InfillTokens | undefined;
  /** Those that do not end a generation. */
  readonly controlTokens: readonly Token[];
  /** Those that do. */
  readonly endTokens: readonly Token[];
  kind(token: Token): "text" | "control" | "user-defined";
  endsGeneration(token: Token): boolean;
  spelling(token: Token): string;
  /** What a token adds to a text, in UTF-8. */
  bytes(token: Token): Uint8Array;
  tokenize(text: string, special: boolean): Token[];
  /** Plain text that goes on where another stopped: without the space that some tokenizers put first. */
  tokenizeContinuation(text: string): Token[];
  readonly detokenize: Detokenize;
}

export function describeModel(model: LlamaModel): NativeModel {
  const { metadata } = model.fileInfo;
  // llama.cpp takes plain text for what it is at the beginning only: a SentencePiece vocabulary puts a space before it.
  const addsSpace = model.detokenize(model.tokenize("a", false)).startsWith(" ");
  const { tokens, model: vocabulary } = metadata.tokenizer.ggml;
  const { prefix, suffix, middle } = model.tokens.infill;
  const kind = (token: Token) => {
    const attributes = model.getTokenAttributes(token as LlamaToken);
    return attributes.control || attributes.unknown ? "control" : attributes.userDefined ? "user-defined" : "text";
  };
  const spelling = (token: Token) => model.detokenize([token as LlamaToken], true);
  return {
    vocabularySize: tokens.length,
    longestToken: tokens.reduce((longest, entry) => Math.max(longest, entry.length), 1),
    controlTokens: [...tokens.keys()].filter(
      (token) => kind(token) === "control" && !model.isEogToken(token as LlamaToken),
    ),
    endTokens: [...tokens.keys()].filter((token) => model.isEogToken(token as LlamaToken)),
    chatTemplate: metadata.tokenizer.chat_template,
    bos: model.tokens.bos ?? undefined,
    eos: model.tokens.eos ?? undefined,
    prependsBos: model.tokens.shouldPrependBosToken,
    infill: prefix === null || suffix === null || middle === null ? undefined : { prefix, suffix, middle },
    kind,
    endsGeneration: (token) => model.isEogToken(token as LlamaToken),
    spelling,
    bytes: (token) =>
      (kind(token) === "text" ? tokenBytes(vocabulary, tokens[token] ?? "") : undefined) ??
      new TextEncoder().encode(spelling(token)),
    tokenize: (text, special) => model.tokenize(text, special),
    tokenizeContinuation: (text) => model.tokenize(text, false, addsSpace ? "trimLeadingSpace" : undefined),
    detokenize: (tokens, previous) => model.detokenize(tokens as LlamaToken[], false, previous as LlamaToken[]),
  };
}

/** What a chat template and its tokens need. Throws "configuration" where the model names no end. */
export function readVocabulary(model: NativeModel): Vocabulary {
  if (model.eos === undefined) throw new GatewayError("configuration", "This model names no end-of-sequence token.");
  const control = new Map<string, Token>();
  const userDefined: string[] = [];
  for (let token = 0; token < model.vocabularySize; token++) {
    const kind = model.kind(token);
    if (kind === "control" && model.spelling(token) !== "") control.set(model.spelling(token), token);
    if (kind === "user-defined") userDefined.push(model.spelling(token));
  }
  return {
    bos: model.bos === undefined ? "" : model.spelling(model.bos),
    eos: model.spelling(model.eos),
    endOfSequence: model.eos,
    control,
    userDefined,
    tokenize: (text) => model.tokenize(text, false),
    tokenizeSpecial: (text) => model.tokenize(text, true),
  };
}
