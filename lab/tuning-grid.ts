/** @module What `icdpo tune` tries: grids of values for a policy's fields, from YAML. */
import { complaintAt, type FieldChanges, GatewayError, parseYaml } from "icdpo-gateway/laboratory";
import { z } from "zod";

const path = z.string().regex(/^[a-z_]+(?:\.[a-z_]+)*$/u);
const values = z
  .array(z.json(), { error: "must be a list of values" })
  .min(1)
  .describe("each is tried; null: the field is absent");
const gridSchema = z
  .record(path, values, {
    error: ({ code }) =>
      code === "invalid_key"
        ? "must be the path of a policy's field, as in score.normalize"
        : "must hold lists by field",
  })
  .refine((grid) => Object.keys(grid).length > 0, "names no field");
const gridsSchema = z
  .array(gridSchema, { error: "must be a list of grids, each with lists of values by field" })
  .min(1);

/** Each value of a field with each of every other one: path → values. */
export type Grid = Readonly<Record<string, readonly unknown[]>>;

/** One combination, and where its values stand in the file. */
export interface Combination {
  readonly changes: FieldChanges;
  /** Paths into the file: grid, field, place in its list. */
  readonly places: readonly (readonly PropertyKey[])[];
}

/** More policies than anybody waits for. */
const mostCombinations = 1_000;

/** Throws "configuration", with a line for each complaint, `file:line: field: reason`. */
export function readGrids(file: string, text: string): Combination[] {
  const grids: readonly Grid[] = parseYaml(file, text, gridsSchema);
  const combinations = grids.flatMap((grid, i) => combinationsOf(grid, i));
  if (combinations.length > mostCombinations)
    throw new GatewayError(
      "configuration",
      `${file}: ${combinations.length} combinations of values are more than ${mostCombinations}: shorten its lists, or part them into several grids.`,
    );
  return combinations;
}

function combinationsOf(grid: Grid, place: number): Combination[] {
  return Object.entries(grid).reduce<Combination[]>(
    (before, [field, list]) =>
      before.flatMap(({ changes, places }) =>
        list.map((value, i) => ({
          changes: { ...changes, [field]: value },
          places: [...places, [place, field, i]],
        })),
      ),
    [{ changes: {}, places: [] }],
  );
}

/**
 * Values that no policy can have are mistakes of whoever wrote them. `reasons`: of each combination, why no policy can
 * be so; null: one can. Throws "configuration" by the line of the first such value.
 */
export function refuseHopeless(
  file: string,
  text: string,
  combinations: readonly Combination[],
  reasons: readonly (string | null)[],
): void {
  const possible = new Set(
    combinations.flatMap(({ places }, i) => (reasons[i] === null ? places.map((one) => one.join(" ")) : [])),
  );
  for (const [i, { places }] of combinations.entries()) {
    const hopeless = places.find((one) => !possible.has(one.join(" ")));
    if (hopeless !== undefined)
      throw complaintAt(file, text, hopeless, `no policy can be so with what stands beside it: ${reasons[i]}`);
  }
}
