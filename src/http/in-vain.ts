/** @module Headers that name what a request asks for in vain. */

const mostNamed = 16;
/** Names come from the client: a header can hold only so much. */
const nameable = /^[\w.-]{1,64}$/u;

interface InVain {
  /** Fields and items that have no effect. */
  readonly ignored?: readonly string[];
  /** Types of tools that nobody here can run, or describe to the model. */
  readonly leftOut: readonly string[];
}

export function vainHeaders({ ignored = [], leftOut }: InVain): Record<string, string> {
  const [fields, types] = [named(ignored), named(leftOut)];
  return {
    ...(fields !== "" && { "x-icdpo-ignored": fields }),
    ...(types !== "" && { "x-icdpo-tools": `left-out; ${types}` }),
  };
}

function named(names: readonly string[]): string {
  const nice = [...new Set(names.filter((name) => nameable.test(name)))];
  return nice.slice(0, mostNamed).join(", ");
}
