/** @module What references in a schema refer to: by a JSON pointer, an anchor, or an id within the schema. */
import type { Budget } from "./budget.ts";
import { clipped, inside, type Place, unkeepable } from "./place.ts";

export class SchemaReferences {
  readonly #root: unknown;
  readonly #rootPath: string;
  readonly #budget: Budget;
  readonly #targets = new Map<string, unknown>();
  /** Of the first schema with each id and anchor; null: nobody has asked yet. */
  #named: ReadonlyMap<string, unknown> | null = null;

  constructor(root: unknown, rootPath: string, budget: Budget) {
    this.#root = root;
    this.#rootPath = rootPath;
    this.#budget = budget;
  }

  /** Throws "invalid_request" where it refers to nothing in the schema. `place` is the schema that refers. */
  resolve(reference: unknown, place: Place): unknown {
    const at = inside(place, "$ref");
    if (typeof reference !== "string") throw unkeepable(at, "must be a text");
    if (this.#targets.has(reference)) return this.#targets.get(reference);
    this.#budget.spend(4 * reference.length);
    const [base = "", fragment = ""] = splitAtHash(reference);
    const start = base === "" ? this.#root : this.#byName(base, at);
    const isAnchor = fragment !== "" && !fragment.startsWith("/");
    const target = isAnchor ? this.#byName(`#${fragment}`, at) : this.#byPointer(start, fragment, reference, at);
    this.#targets.set(reference, target);
    return target;
  }

  #byPointer(start: unknown, pointer: string, reference: string, at: Place): unknown {
    let target = start;
    for (const part of pointer.split("/").slice(1)) {
      const key = keyOf(part);
      if (key === null) throw unkeepable(at, `${clipped(reference)} is no JSON pointer: '%' begins no character in it`);
      if (typeof target !== "object" || target === null || !Object.hasOwn(target, key))
        throw unkeepable(at, `${clipped(reference)} does not exist in ${this.#rootPath}`);
      target = (target as Record<string, unknown>)[key];
    }
    return target;
  }

  #byName(name: string, at: Place): unknown {
    this.#named ??= this.#names();
    const target = this.#named.get(name) ?? this.#named.get(lastPart(name));
    if (target === undefined)
      throw unkeepable(at, `only references within the schema (#/$defs/…) can be followed, not ${clipped(name)}`);
    return target;
  }

  /** Whatever says an id or an anchor, wherever it stands. */
  #names(): ReadonlyMap<string, unknown> {
    const names = new Map<string, unknown>();
    const add = (name: unknown, schema: object): void => {
      if (typeof name === "string" && !names.has(name)) names.set(name, schema);
    };
    const open: unknown[] = [this.#root];
    for (let next = open.pop(); next !== undefined; next = open.pop()) {
      if (typeof next !== "object" || next === null) continue;
      const inner = Object.values(next);
      this.#budget.spend(4 + inner.length);
      if (!Array.isArray(next)) {
        const { $id, id, $anchor, $dynamicAnchor } = next as Record<string, unknown>;
        for (const name of [$id, id])
          if (typeof name === "string") {
            add(name.endsWith("#") ? name.slice(0, -1) : name, next);
            if (!name.startsWith("#")) add(lastPart(name), next);
          }
        for (const name of [$anchor, $dynamicAnchor]) if (typeof name === "string") add(`#${name}`, next);
      }
      for (const value of inner.reverse()) open.push(value);
    }
    return names;
  }
}

function splitAtHash(reference: string): [base: string, fragment: string] {
  const at = reference.indexOf("#");
  return at < 0 ? [reference, ""] : [reference.slice(0, at), reference.slice(at + 1)];
}

/** Relative ids and absolute ones of the same name mean the same here. */
function lastPart(name: string): string {
  return name.startsWith("#") ? name : (name.split("/").at(-1) ?? name);
}

/** A part of a JSON pointer in a URI; null where it is none. */
function keyOf(part: string): string | null {
  try {
    return decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
  } catch {
    return null;
  }
}
