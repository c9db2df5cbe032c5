/** @module JSON strings of a length, a format or a pattern, as grammars. */
import { z } from "zod";
import { type Grammar, literal, repeat } from "./gbnf.ts";
import { anyCharacter, exactPatternGrammar, patternGrammar } from "./pattern.ts";
import { anyLength, type Lengths, mostRepetitions } from "./pattern-length.ts";

const octet = "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])";
const label = "[a-z0-9](?:[a-z0-9-]{0,20}[a-z0-9])?";
const domain = `${label}(?:\\.${label}){0,3}\\.[a-z]{2,8}`;
const date = "(?:19|20)[0-9]{2}-(?:0[1-9]|1[0-2])-(?:0[1-9]|1[0-9]|2[0-8])";
const time = "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,3})?Z";

const ipv4 = `${octet}(?:\\.${octet}){3}`;
const ipv6 = "(?:[0-9a-f]{1,4}:){7}[0-9a-f]{1,4}";
const email = `[a-z0-9]{1,40}(?:[._-][a-z0-9]{1,10}){0,2}@${domain}`;
const uuid = "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}";
const uri = `https?://${domain}(?:/[A-Za-z0-9._~-]{1,40}){0,6}`;

/** What is written for each format: part of what the format allows, so that no validator objects. */
const formats: Readonly<Record<string, string>> = {
  date,
  time,
  "date-time": `${date}T${time}`,
  duration: "P(?:[1-9][0-9]{0,2}D(?:T[1-9][0-9]?H)?|T[1-9][0-9]{0,2}[HMS]|[1-9][0-9]?W)",
  email,
  "idn-email": email,
  hostname: domain,
  "idn-hostname": domain,
  ipv4,
  ipv6,
  // What Rust calls either.
  ip: `(?:${ipv4}|${ipv6})`,
  uuid,
  uuid4: uuid,
  uri,
  "uri-reference": uri,
  iri: uri,
  "iri-reference": uri,
  "json-pointer": "(?:/[A-Za-z0-9_-]{1,30}){0,8}",
};

export const knownFormats: readonly string[] = Object.keys(formats);

/** The rule of any JSON string. */
export function anyString(grammar: Grammar): string {
  return grammar.shared("string", () => quoted(repeat(anyCharacter(grammar), 0, undefined)));
}

/** Lengths in code points; a bound that is beyond what llama.cpp can count is drawn in. */
export function stringOfLength(grammar: Grammar, least: number, most: number | undefined): string {
  if (least === 0 && most === undefined) return anyString(grammar);
  const drawnIn = most === undefined ? undefined : Math.min(most, mostRepetitions);
  // The same lengths are counted by the same rules.
  return grammar.shared(`string-${least}-${drawnIn ?? "any"}`, () =>
    quoted(repeat(anyCharacter(grammar), least, drawnIn)),
  );
}

/** Throws UnsupportedPattern, UnmetLength. */
export function stringOfPattern(grammar: Grammar, pattern: string, within: Lengths): string {
  return quoted(patternGrammar(grammar, pattern, within));
}

/**
 * As `stringOfPattern`, whatever the length; with a format, which is one of the known ones, its texts that match. Null
 * where there are none. Throws UnsupportedPattern, LargeAutomaton.
 */
export function stringOfAll(grammar: Grammar, pattern: string, format: string | null, within: Lengths): string | null {
  const body = exactPatternGrammar(grammar, pattern, format === null ? null : wholePattern(format), within);
  return body === null ? null : grammar.same("text", quoted(body));
}

function wholePattern(format: string): string {
  return `^${formats[format] ?? ""}$`;
}

/** `format` is one of the known ones. Throws UnmetLength. */
export function stringOfFormat(grammar: Grammar, format: string, within: Lengths): string {
  const pattern = wholePattern(format);
  const isAny = within.least === anyLength.least && within.most === anyLength.most;
  if (isAny) return grammar.shared(`format-${format}`, () => quoted(patternGrammar(grammar, pattern)));
  return grammar.same(`format-${format}`, quoted(patternGrammar(grammar, pattern, within)));
}

/**
 * Whether everything that is written for a format matches the pattern: those that zod writes beside formats are known
 * (and tested).
 */
export function formatImplies(format: string, pattern: string): boolean {
  return (zodPatterns[format] ?? []).some(({ source }) => source === pattern);
}

const { regexes } = z;
const zodPatterns: Readonly<Record<string, readonly RegExp[]>> = {
  date: [regexes.date],
  "date-time": [regexes.datetime({})],
  duration: [regexes.duration],
  email: [regexes.email, regexes.html5Email, regexes.rfc5322Email, regexes.unicodeEmail],
  hostname: [regexes.hostname],
  ipv4: [regexes.ipv4],
  ipv6: [regexes.ipv6],
  uuid: [regexes.uuid(), regexes.uuid(4), regexes.guid],
};

function quoted(body: string): string {
  return [literal('"'), body, literal('"')].filter((part) => part !== "").join(" ");
}
