/**
 * @module vLLM's tokenizer. It takes the spelling of a control token for the token itself, wherever it stands, so
 * content is checked and the spelling broken up by a space. Which tokens are control tokens is found out by trying.
 */
import { LRUCache } from "lru-cache";
import { z } from "zod";
import { inPool } from "../../async/pool.ts";
import { describedAnswer } from "../../client/answer-size.ts";
import { quoted } from "../../text/quoted.ts";
import { GatewayError } from "../../types/error.ts";
import type { Prompt, Token, TokenText } from "../engine.ts";
import type { VllmModel } from "./vllm-model.ts";

const tokenized = z.object({ tokens: z.array(z.int()), token_strs: z.array(z.string()).nullish() });
const detokenized = z.object({ prompt: z.string() });
const completed = z.object({
  choices: z.array(z.object({ text: z.string(), token_ids: z.array(z.int()), finish_reason: z.string() })).min(1),
});

/** Calls that may wait at once for one caller. */
const concurrency = 8;
const describedTokens = 50_000;
/** How control tokens look: `<|im_end|>`, `</s>`, `[INST]`, `>>TITLE<<`. A byte (`<0x0A>`) does so too. */
const controlShape = /^(?!<0x[0-9A-F]{2}>$).?[<[>|].*\p{L}.*[>\]<|]$/su;
const controlBegin = /[<[>|]/u;
/** A grammar of one text, in the notation that the gateway's own grammars use. */
const probeGrammar = 'root ::= item{1,1}\nitem ::= "a" [^\\x00-\\x60\\x62-\\U0010FFFF] | "a"';

/** Stands before what is looked at on its own. */
const anchor = "a";

const utf8 = new TextEncoder();

/** What `/v1/completions` ended with, in tokens. */
interface Completed {
  readonly text: string;
  readonly token_ids: readonly Token[];
}

export class VllmTokens {
  readonly #served: VllmModel;
  readonly #described = new LRUCache<Token, TokenText>({ max: describedTokens });
  /** Tokens that look like control tokens, and whether they are. */
  readonly #control = new Map<Token, boolean>();
  #anchor: readonly Token[] | undefined;
  #prefix: readonly Token[] | undefined;
  #endOfSequence: { readonly token: Token | null } | undefined;

  constructor(served: VllmModel) {
    this.#served = served;
  }

  /**
   * Plain text, without BOS. Throws "invalid_request" where a control token is spelled in a way that cannot be broken
   * up.
   */
  async plain(text: string, signal?: AbortSignal): Promise<Token[]> {
    if (text === "") return [];
    const first = await this.#tokenize(text, signal);
    const spellings = await this.#controlIn(first, signal);
    if (spellings.length === 0) return first.tokens;
    const second = await this.#tokenize(brokenUp(text, spellings), signal);
    if ((await this.#controlIn(second, signal)).length > 0)
      throw new GatewayError(
        "invalid_request",
        `The text spells the model's control token ${quoted(spellings[0] ?? "", 40)} in a way that cannot be kept as text.`,
      );
    return second.tokens;
  }

  /** `[texts][tokens]` */
  plainTexts(texts: readonly string[], signal?: AbortSignal): Promise<Token[][]> {
    return inPool(texts, { concurrency, signal }, (text) => this.plain(text, signal));
  }

  /** Spellings of control tokens that stand in a text. */
  async spellings(text: string, signal?: AbortSignal): Promise<string[]> {
    return controlBegin.test(text) ? this.#controlIn(await this.#tokenize(text, signal), signal) : [];
  }

  /**
   * A text behind what the tokenizer begins one with, unless it begins with that itself. `special`: spellings of
   * control tokens are these tokens.
   */
  async text(text: string, special: boolean, signal?: AbortSignal): Promise<Pick<Prompt, "tokens" | "opening">> {
    this.#prefix ??= await this.#beginning(signal);
    const own = special && text !== "" ? (await this.#tokenize(text, signal)).tokens : await this.plain(text, signal);
    const first = own[0] === this.#prefix[0] ? [] : this.#prefix;
    return { tokens: [...first, ...own], opening: first.length };
  }

  /** Text of a template, without BOS: spellings of control tokens are these tokens. */
  async special(text: string, signal?: AbortSignal): Promise<Token[]> {
    return (await this.#tokenize(text, signal)).tokens;
  }

  async detokenize(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    if (tokens.length === 0) return "";
    const { model, replicas } = this.#served;
    const size = describedAnswer([tokens.length]);
    const { prompt } = await replicas.json({
      path: "/detokenize",
      body: { model, tokens },
      answer: detokenized,
      size,
      signal,
    });
    return prompt;
  }

  /** The text of tokens behind others: a tokenizer that drops a text's first space drops none of theirs. */
  async continuation(tokens: readonly Token[], signal?: AbortSignal): Promise<string> {
    this.#anchor ??= await this.plain(anchor, signal);
    return (await this.detokenize([...this.#anchor, ...tokens], signal)).slice(anchor.length);
  }

  /** A token that holds part of a character has U+FFFD as its text: vLLM does not tell its bytes. */
  async describe(tokens: readonly Token[], signal?: AbortSignal): Promise<TokenText[]> {
    const unknown = [...new Set(tokens)].filter((token) => !this.#described.has(token));
    const found = await inPool(unknown, { concurrency, signal }, (token) => this.continuation([token], signal));
    const fresh = new Map(unknown.map((token, i) => [token, tokenText(found[i] as string)]));
    for (const [token, text] of fresh) this.#described.set(token, text);
    return tokens.map((token) => fresh.get(token) ?? this.#described.get(token) ?? tokenText(""));
  }

  /** Whether the token stands for no text of its own. */
  async isControl(token: Token, spelling: string, signal?: AbortSignal): Promise<boolean> {
    if (!controlShape.test(spelling)) return false;
    const known = this.#control.get(token);
    if (known !== undefined) return known;
    // Only this token can be sampled: its text is empty where the server leaves it out as special.
    const { text } = await this.#complete({ prompt: [token], max_tokens: 1, allowed_token_ids: [token] }, signal);
    this.#control.set(token, text === "");
    return text === "";
  }

  /**
   * The token that ends a text, found as the one that a grammar leaves after its only text; null where the server knows
   * no such grammars.
   */
  async endOfSequence(signal?: AbortSignal): Promise<Token | null> {
    this.#endOfSequence ??= await this.#findEnd(signal);
    return this.#endOfSequence.token;
  }

  async #findEnd(signal: AbortSignal | undefined): Promise<{ token: Token | null }> {
    const request = {
      prompt: await this.plain(anchor, signal),
      max_tokens: 4,
      temperature: 0,
      structured_outputs: { grammar: probeGrammar },
    };
    try {
      const { token_ids } = await this.#complete(request, signal);
      return { token: token_ids.at(-1) ?? null };
    } catch (error) {
      if (error instanceof GatewayError && error.code === "invalid_request") return { token: null };
      throw error;
    }
  }

  async #complete(request: Record<string, unknown>, signal: AbortSignal | undefined): Promise<Completed> {
    const { model, replicas } = this.#served;
    const body = { model, return_token_ids: true, ...request };
    const { choices } = await replicas.json({ path: "/v1/completions", body, answer: completed, signal });
    return choices[0] as Completed;
  }

  async #tokenize(prompt: string, signal?: AbortSignal, addSpecialTokens = false): Promise<z.infer<typeof tokenized>> {
    const { model, replicas } = this.#served;
    const body = { model, prompt, add_special_tokens: addSpecialTokens, return_token_strs: true };
    return replicas.json({ path: "/tokenize", body, answer: tokenized, signal });
  }

  async #beginning(signal: AbortSignal | undefined): Promise<Token[]> {
    const { tokens } = await this.#tokenize(anchor, signal, true);
    const [first] = await this.plain(anchor, signal);
    return tokens.slice(0, Math.max(0, tokens.indexOf(first as Token)));
  }

  async #controlIn({ tokens, token_strs }: z.infer<typeof tokenized>, signal?: AbortSignal): Promise<string[]> {
    const spelled = new Map(tokens.map((token, i) => [token, token_strs?.[i] ?? ""]));
    const isControl = await inPool([...spelled], { concurrency, signal }, ([token, spelling]) =>
      this.isControl(token, spelling, signal),
    );
    return [...spelled.values()].filter((_, i) => isControl[i]);
  }
}

/** Each spelling with a space after its first character: it is plain text then. */
export function brokenUp(text: string, spellings: readonly string[]): string {
  return spellings.reduce(
    (broken, spelling) => broken.replaceAll(spelling, ([first, ...rest]) => `${first} ${rest.join("")}`),
    text,
  );
}

function tokenText(text: string): TokenText {
  return { text, bytes: [...utf8.encode(text)] };
}
