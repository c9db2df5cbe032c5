/**
 * @module llama-server's tokenizer, and the vocabulary of its model: what each token spells, and which spellings are
 * control tokens.
 */
import { z } from "zod";
import { GatewayError } from "../../types/error.ts";
import type { Token, TokenText } from "../engine.ts";
import type { Replicas } from "../server/replicas.ts";
import type { TemplateVocabulary } from "../template/chat-template.ts";

export const tokens = z.object({ tokens: z.array(z.int()) });

/** A token's text, or its bytes where they are not whole characters. */
export type Piece = string | readonly number[];

/** Tokens of texts in a row; numbers are tokens already. */
export type Tokenize = (content: readonly (string | Token)[], special: boolean) => Promise<Token[]>;

/** Pieces that are looked at together when control tokens are searched. */
const groupSize = 256;
const plainMarker = /^\s*(?:<+[^<>\s]+>+|\[[^[\]\s]+\])\s*$/u;

/** Text as tokens, in one call. Numbers in `content` are tokens already. */
export async function tokenize(
  replicas: Replicas,
  content: string | readonly (string | Token)[],
  special: boolean,
  signal?: AbortSignal,
): Promise<Token[]> {
  const body = { content, add_special: false, parse_special: special };
  return (await replicas.json({ path: "/tokenize", body, answer: tokens, signal })).tokens;
}

export class ServedVocabulary implements TemplateVocabulary {
  readonly bos: string;
  readonly eos: string;
  readonly endOfSequence: Token;
  readonly control: ReadonlyMap<string, Token>;
  readonly userDefined: readonly string[];
  /** No token is written with more characters. */
  readonly longestToken: number;
  readonly #pieces: readonly Piece[];
  readonly #controlTokens: ReadonlySet<Token>;

  private constructor(
    pieces: readonly Piece[],
    names: { readonly bos: string; readonly eos: string },
    control: ReadonlyMap<string, Token>,
  ) {
    this.#pieces = pieces;
    this.control = control;
    this.#controlTokens = new Set(control.values());
    this.bos = names.bos;
    this.eos = names.eos;
    this.longestToken = pieces.reduce((longest, { length }) => Math.max(longest, length), 1);
    const end = control.get(names.eos) ?? pieces.indexOf(names.eos);
    if (end < 0) throw new GatewayError("engine_failure", "The server's model names no end-of-sequence token.");
    this.endOfSequence = end;
    this.userDefined = pieces.filter(
      (piece): piece is string => typeof piece === "string" && plainMarker.test(piece) && !control.has(piece),
    );
  }

  /** A control token is what a spelling means where control tokens are recognised, and does not mean in plain text. */
  static async read(
    pieces: readonly Piece[],
    names: { readonly bos: string; readonly eos: string },
    tokenize: Tokenize,
  ): Promise<ServedVocabulary> {
    const spelled = [...pieces.entries()].filter(
      (entry): entry is [Token, string] => typeof entry[1] === "string" && entry[1] !== "",
    );
    const separator = pieces.indexOf(names.eos);
    const differing = async <Item>(items: readonly Item[], spelling: (item: Item) => string): Promise<Item[]> => {
      const content = items.flatMap((item) => [spelling(item), separator]);
      const [plain, special] = await Promise.all([tokenize(content, false), tokenize(content, true)]);
      const parts = splitBy(special, separator, items.length);
      return splitBy(plain, separator, items.length).flatMap((part, i) =>
        part.join() === parts[i]?.join() ? [] : [items[i] as Item],
      );
    };
    const groups = Array.from({ length: Math.ceil(spelled.length / groupSize) }, (_, i) =>
      spelled.slice(i * groupSize, (i + 1) * groupSize),
    );
    // The separator's own spelling would be taken for one.
    const text = (group: readonly [Token, string][]): string =>
      group
        .map(([, spelling]) => spelling)
        .filter((spelling) => spelling !== names.eos)
        .join("\n");
    const suspicious = (await differing(groups, text)).flat().filter(([, spelling]) => spelling !== names.eos);
    const found = await differing(suspicious, ([, spelling]) => spelling);
    const control = found.map(([token, spelling]): [string, Token] => [spelling, token]);
    return new ServedVocabulary(pieces, names, new Map(separator < 0 ? control : [...control, [names.eos, separator]]));
  }

  get size(): number {
    return this.#pieces.length;
  }

  isControl(token: Token): boolean {
    return this.#controlTokens.has(token);
  }

  /** Whether a token is whole characters of text, so that a server shows it as it is. */
  isText(token: Token): boolean {
    const piece = this.#pieces[token];
    return typeof piece === "string" && piece !== "" && !piece.includes("\0") && !this.isControl(token);
  }

  describe(token: Token): TokenText {
    const bytes = this.bytes(token);
    return { text: new TextDecoder().decode(bytes), bytes: [...bytes] };
  }

  bytes(token: Token): Uint8Array {
    const piece = this.#pieces[token] ?? "";
    return typeof piece === "string" ? new TextEncoder().encode(piece) : Uint8Array.from(piece);
  }

  /** What may be half a character at the end, and control tokens, are left out. */
  textOf(tokens: readonly Token[]): string {
    const decoder = new TextDecoder();
    return tokens
      .map((token) => (this.isControl(token) ? "" : decoder.decode(this.bytes(token), { stream: true })))
      .join("");
  }
}

/** `[parts][tokens]`: what stands before each separator. */
export function splitBy(tokens: readonly Token[], separator: Token, parts: number): Token[][] {
  const split: Token[][] = [];
  let part: Token[] = [];
  for (const token of tokens) {
    if (token === separator) {
      split.push(part);
      part = [];
    } else part.push(token);
  }
  if (split.length !== parts)
    throw new GatewayError("engine_failure", "The server's tokenizer joins texts that were apart.");
  return split;
}
