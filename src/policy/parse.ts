/** @module Reads YAML and JSONL against a schema; every complaint names file, line and field. */
import { type Document, LineCounter, parseDocument, visit } from "yaml";
import type { z } from "zod";
import { pause } from "../async/pause.ts";
import { splitLines } from "../text/lines.ts";
import type { Demonstration } from "../types/conversation.ts";
import { GatewayError } from "../types/error.ts";
import { demonstrationSchema } from "./demonstration-schema.ts";

/** Throws "configuration" with one line for each complaint, `file:line: field: reason`. */
export function parseYaml<Schema extends z.ZodType>(file: string, text: string, schema: Schema): z.output<Schema> {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  if (document.errors.length > 0)
    throw complaints(
      document.errors.map((error) => `${file}:${error.linePos?.[0].line ?? 1}: ${error.message.split("\n")[0]}`),
    );
  visit(document, {
    Alias(_, alias) {
      if (alias.resolve(document) !== undefined) return;
      const line = lines.linePos(alias.range?.[0] ?? 0).line;
      throw complaints([
        `${file}:${line}: "*${alias.source}" refers to nothing; text that begins with "*" needs quotes`,
      ]);
    },
  });
  const parsed = schema.safeParse(document.toJS() ?? {});
  if (parsed.success) return parsed.data;
  throw complaints(
    parsed.error.issues.map((issue) => `${file}:${lineOf(document, lines, complaintPath(issue))}: ${describe(issue)}`),
  );
}

/** A complaint about a field that is well-formed, but does not go with what stands elsewhere. */
export function complaintAt(file: string, text: string, path: readonly PropertyKey[], reason: string): GatewayError {
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines });
  return complaints([`${file}:${lineOf(document, lines, path)}: ${path.join(".")}: ${reason}`]);
}

/** The line of the field, or of the nearest one around it. */
function lineOf(document: Document.Parsed, lines: LineCounter, path: readonly PropertyKey[]): number {
  for (let depth = path.length; depth > 0; depth--) {
    const node = document.getIn(path.slice(0, depth), true) as { readonly range?: readonly number[] } | undefined;
    if (node?.range?.[0] !== undefined) return lines.linePos(node.range[0]).line;
  }
  return 1;
}

/** So many lines at a time; then whoever waits has a turn. */
const linesAtOnce = 1_000;

/** One demonstration a line; blank lines are skipped. Throws "configuration". */
export async function parseDemonstrations(file: string, text: string): Promise<Demonstration[]> {
  const demonstrations: Demonstration[] = [];
  const ids = new Set<string>();
  for (const [index, line] of splitLines(text).entries()) {
    if (index % linesAtOnce === linesAtOnce - 1) await pause(0);
    if (line.trim() === "") continue;
    const place = `${file}:${index + 1}`;
    const parsed = demonstrationSchema.safeParse(parseJson(place, line));
    if (!parsed.success) throw complaints(parsed.error.issues.map((issue) => `${place}: ${describe(issue)}`));
    const { id, messages, chosen, rejected, near } = parsed.data;
    if (ids.has(id)) throw complaints([`${place}: id: "${id}" stands on an earlier line as well`]);
    ids.add(id);
    demonstrations.push({ id, messages, chosen, rejected, near });
  }
  if (demonstrations.length === 0) throw complaints([`${file}: holds no demonstration`]);
  return demonstrations;
}

function parseJson(place: string, line: string): unknown {
  try {
    return JSON.parse(line);
  } catch (error) {
    throw new GatewayError("configuration", `${place}: not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** Unknown keys are complained about where they stand. */
function complaintPath(issue: z.core.$ZodIssue): PropertyKey[] {
  return issue.code === "unrecognized_keys" ? [...issue.path, issue.keys[0] as string] : issue.path;
}

function describe(issue: z.core.$ZodIssue): string {
  const path = complaintPath(issue).join(".");
  return path === "" ? issue.message : `${path}: ${issue.message}`;
}

function complaints(lines: readonly string[]): GatewayError {
  return new GatewayError("configuration", lines.join("\n"));
}
