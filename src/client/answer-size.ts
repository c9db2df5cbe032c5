/**
 * @module How much a server may answer, by what it was asked: bytes, unpacked. What comes beyond that is not read, and
 * the connection is closed. All of it is far more than servers send, and far less than fills a memory.
 */

export interface AnswerSize {
  /** All that comes. */
  readonly whole: number;
  /** One server-sent event, with the comments before it. */
  readonly event: number;
}

/** Of an error's answer; the rest of it is not read. */
export const errorBytes = 16 * 1024;

/** What says nothing of the request: lists of models, properties with a chat template, an answer's frame. */
const frameBytes = 4 * 2 ** 20;
const eventBytes = 2 ** 20;
/** Servers may send back what they were sent, escaped, in the answer or in its last event. */
const echoFactor = 4;
/** A character's tokens: a number for each byte, and how it is spelled. */
const tokenisedFactor = 16;
/** A sampled token in an event of its own: its text, the frame around it. */
const sampledBytes = 1024;
/** A token of given text, or an alternative: its text, its bytes one by one, its log-probability. */
const describedBytes = 256;
/** A token of a vocabulary. */
const spelledBytes = 128;
/** A component of an embedding, about 20 characters, of the largest there are. */
const embeddingBytes = 20 * 8192;

/** Of a call that says nothing else: in proportion to what is sent. */
export function answerTo(body: string): AnswerSize {
  return { whole: frameBytes + tokenisedFactor * body.length, event: eventBytes + echoFactor * body.length };
}

/**
 * So many sampled tokens, each with so many alternatives; so many tokens or characters of what was sent may come back.
 */
export function sampledAnswer(tokens: number, alternatives: number, sent = 0): AnswerSize {
  const echo = sent * describedBytes;
  return {
    whole: frameBytes + echo + tokens * (sampledBytes + alternatives * describedBytes),
    event: eventBytes + echo + alternatives * describedBytes,
  };
}

/**
 * Texts' tokens with their log-probabilities, each with so many alternatives; each text comes as an event, where events
 * come. `[texts]`: their lengths.
 */
export function describedAnswer(lengths: readonly number[], alternatives = 0): AnswerSize {
  const bytesOf = (tokens: number): number => tokens * describedBytes * (2 + alternatives);
  return {
    whole: frameBytes + lengths.reduce((sum, tokens) => sum + bytesOf(tokens), 0),
    event: eventBytes + lengths.reduce((most, tokens) => Math.max(most, bytesOf(tokens)), 0),
  };
}

/** A vocabulary of so many tokens, each spelled. */
export function vocabularyAnswer(tokens: number): AnswerSize {
  return { whole: frameBytes + tokens * spelledBytes, event: eventBytes };
}

export function embeddedAnswer(texts: number): AnswerSize {
  return { whole: frameBytes + texts * embeddingBytes, event: eventBytes };
}
