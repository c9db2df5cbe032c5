/**
 * @module What a model with a ranking head reads of a conversation and a response: its chat template's text of both, or
 * a query and a document, as rerankers are trained.
 */
import type { Conversation } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import { charactersOf } from "../characters.ts";
import type { Token } from "../engine.ts";
import { ChatTemplate, renderedTokens } from "../template/chat-template.ts";
import { type NativeModel, readVocabulary } from "./native-model.ts";

/** The tokens of a whole conversation that the response ends. */
export type RankingText = (conversation: Conversation, response: string) => Token[];

/** What stands in the model's file, beside its vocabulary. */
export interface RankingFile {
  readonly model: NativeModel;
  /** Between two texts. */
  readonly separator: Token | undefined;
  /** `tokenizer.chat_template.rerank`, with {query} and {document}. */
  readonly rerankTemplate: string | undefined;
}

/**
 * By what was asked for, else the file's template for ranking, else its chat template, else query and document with the
 * model's end tokens. Throws "configuration" where a template lacks one of its places.
 */
export function rankingText({ model, separator, rerankTemplate }: RankingFile, template?: string): RankingText {
  const pair = template ?? rerankTemplate;
  if (pair !== undefined) return pairText(model, pairPieces(pair));
  if (model.chatTemplate !== undefined) return chatText(model, model.chatTemplate);
  const ends = model.eos === undefined ? [] : [model.eos];
  const begin = model.bos === undefined ? [] : [model.bos];
  const between = [...ends, ...(separator === undefined ? [] : [separator])];
  return (conversation, response) => [
    ...begin,
    ...model.tokenizeContinuation(queryOf(conversation)),
    ...between,
    ...model.tokenizeContinuation(response),
    ...ends,
  ];
}

function chatText(model: NativeModel, source: string): RankingText {
  const vocabulary = readVocabulary(model);
  const template = new ChatTemplate(source, vocabulary);
  return (conversation, response) =>
    withBos(
      model,
      renderedTokens(template.renderWhole([...conversation, { role: "assistant", content: response }]), vocabulary),
    );
}

function pairText(model: NativeModel, pieces: readonly string[]): RankingText {
  const place = (name: string, conversation: Conversation, response: string): Token[] =>
    model.tokenizeContinuation(name === "query" ? queryOf(conversation) : response);
  return (conversation, response) =>
    withBos(
      model,
      pieces.flatMap((piece, i) =>
        i % 2 === 1 ? place(piece, conversation, response) : piece === "" ? [] : model.tokenize(piece, true),
      ),
    );
}

/** `[pieces]`: the template's own text and, at odd places, "query" or "document". */
export function pairPieces(template: string): readonly string[] {
  const pieces = template.split(/\{{1,2}(query|document)\}{1,2}/u);
  const places = pieces.filter((_, i) => i % 2 === 1);
  if (places.includes("query") && places.includes("document")) return pieces;
  throw new GatewayError(
    "configuration",
    "the template of a ranking head needs places for both: {{query}} and {{document}}",
  );
}

/** A single message as it stands, several as a transcript. */
export function queryOf(conversation: Conversation): string {
  const [only, ...more] = conversation;
  if (only !== undefined && more.length === 0) return only.content;
  return conversation
    .map(({ role, content }) => `${role === "assistant" ? "Assistant" : "Human"}: ${content}`)
    .join("\n\n");
}

function withBos({ bos, prependsBos }: NativeModel, tokens: Token[]): Token[] {
  return bos !== undefined && prependsBos && tokens[0] !== bos ? [bos, ...tokens] : tokens;
}

export interface RankingRoom {
  /** Tokens that the model reads. */
  readonly contextSize: number;
  /** Characters beyond which a text cannot fit into them. */
  readonly mostCharacters: number;
}

/**
 * The response after as much of the conversation as fits: its oldest messages are left out. Throws
 * "context_length_exceeded" where the last message and the response alone do not fit.
 */
export function fittingTokens(
  text: RankingText,
  conversation: Conversation,
  response: string,
  { contextSize, mostCharacters }: RankingRoom,
): Token[] {
  const last = Math.max(0, conversation.length - 1);
  let from = 0;
  let characters = charactersOf(conversation) + response.length;
  // What cannot fit is not even tokenised: that takes long.
  for (; from < last && characters > mostCharacters; from++)
    characters -= charactersOf(conversation.slice(from, from + 1));
  if (characters > mostCharacters) throw tooLong(contextSize, characters, "characters");
  const tokensFrom = (first: number): Token[] => text(conversation.slice(first), response);
  let fitting = tokensFrom(from);
  if (fitting.length <= contextSize) return fitting;
  fitting = tokensFrom(last);
  if (fitting.length > contextSize) throw tooLong(contextSize, fitting.length, "tokens");
  // The first message with which it fits lies between one that is too many and one that is not.
  let [tooMany, enough] = [from, last];
  while (enough - tooMany > 1) {
    const middle = Math.floor((tooMany + enough) / 2);
    const tokens = tokensFrom(middle);
    if (tokens.length > contextSize) tooMany = middle;
    else [enough, fitting] = [middle, tokens];
  }
  return fitting;
}

function tooLong(contextSize: number, count: number, unit: "characters" | "tokens"): GatewayError {
  const message = `The reward model reads ${contextSize} tokens; the last message and an answer to it take ${count} ${unit}. Shorten 'messages', or lower 'max_tokens'.`;
  return new GatewayError("context_length_exceeded", message, { param: "messages" });
}
