/**
 * @module Whether an answer fits the whole schemas of its request: also what its grammar does not keep to, and what was
 * cut off.
 */
import { Budget } from "../constraint/budget.ts";
import { SchemaCheck, type Truth } from "../constraint/schema-check.ts";
import { isRecord, parsedJson } from "../text/json.ts";
import type { Answer, Generation } from "./generation.ts";

type Wanted = Pick<Generation, "tools" | "toolChoice" | "format">;

/** Of one request: all its answers have one budget of work. */
export class AnswerCheck {
  readonly #wanted: Wanted;
  readonly #budget = new Budget();
  readonly #checks = new Map<string, SchemaCheck>();

  constructor(wanted: Wanted) {
    this.#wanted = wanted;
  }

  /** Null: it would take too much work, or the schema says what cannot be checked. */
  fits({ content, toolCalls }: Answer): Truth {
    const { tools, toolChoice, format } = this.#wanted;
    if (toolCalls.length > 0) {
      const said = toolCalls.map(({ name, arguments: text }) => this.fitsTool(name, text));
      return said.includes(false) ? false : said.includes(null) ? null : true;
    }
    if (tools.length > 0 && toolChoice !== "auto") return false;
    switch (format.type) {
      case "text":
        return true;
      case "json-object":
        return this.#fitsSchema(content ?? "", true, "", true);
      case "json-schema":
        return this.#fitsSchema(content ?? "", format.schema, format.path, false);
      case "choice":
        return format.choices.includes(content ?? "");
      case "pattern":
      case "grammar":
        return null;
    }
  }

  /** Whether a call's arguments, as they are written, fit what the tool of that name takes. */
  fitsTool(name: string, text: string): Truth {
    const tool = this.#wanted.tools.find((one) => one.name === name);
    return tool === undefined ? false : this.#fitsSchema(text, tool.parameters, tool.path, true);
  }

  #fitsSchema(text: string, schema: unknown, path: string, isObject: boolean): Truth {
    const value = parsedJson(text);
    if (value === undefined) return false;
    if (isObject && !isRecord(value)) return false;
    const check = this.#checks.get(path) ?? new SchemaCheck(schema, path, this.#budget);
    this.#checks.set(path, check);
    return check.fits(value);
  }
}
