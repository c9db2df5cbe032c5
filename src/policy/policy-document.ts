/** @module A policy's text with some of its fields changed: its comments, and the order of the others, stay. */
import { type Document, parseDocument } from "yaml";
import { GatewayError, messageOf } from "../types/error.ts";

/** By path, as in "score.normalize"; null takes the field away. */
export type FieldChanges = Readonly<Record<string, unknown>>;

/**
 * Throws "configuration" where the text is no YAML, or a path leads through a field that holds no others.
 *
 * @example withFields("shots: 2 # of 144\n", { shots: 4, block: { tokens: 16 } }); // "shots: 4 # of 144\nblock: { tokens: 16 }\n"
 */
export function withFields(text: string, changes: FieldChanges): string {
  const document = documentOf(text);
  for (const [path, value] of Object.entries(changes)) {
    const keys = path.split(".");
    try {
      if (value === null) removeField(document, keys);
      else document.setIn(keys, isSimple(value) ? value : document.createNode(value, { flow: true }));
    } catch (error) {
      throw new GatewayError("configuration", `${path} cannot be set: ${messageOf(error)}`, { cause: error });
    }
  }
  return document.contents === null ? text : document.toString({ lineWidth: 0 });
}

/** What stands there; undefined: nothing does. Throws "configuration" where the text is no YAML. */
export function fieldIn(text: string, path: string): unknown {
  const step = (value: unknown, key: string): unknown =>
    typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
  return path.split(".").reduce(step, documentOf(text).toJS());
}

function removeField(document: Document.Parsed, keys: readonly string[]): void {
  if (document.hasIn(keys)) document.deleteIn(keys);
}

/** Takes the place of another one, beside whose comment it then stands. */
function isSimple(value: unknown): boolean {
  return typeof value !== "object";
}

function documentOf(text: string): Document.Parsed {
  const document = parseDocument(text);
  const [error] = document.errors;
  if (error !== undefined) throw new GatewayError("configuration", `not YAML: ${error.message.split("\n")[0]}`);
  return document;
}
