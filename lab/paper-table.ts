/**
 * @module Answers of several runs in one table, laid out as the paper's Tables 2 to 5: models and data sets across,
 * demonstrations' sources and systems down.
 */
import { z } from "zod";
import { answerRowSchema } from "./answers.ts";
import { columnsOf, type Measure, meanOfArm } from "./answers-report.ts";
import { fixed, markdownTable } from "./tables.ts";

export const paperRowSchema = answerRowSchema.extend({
  /** The model's column. */
  model: z.string(),
  /** Whose demonstrations; "" where that was not said. */
  teacher: z.string(),
});
export type PaperRow = Readonly<z.output<typeof paperRowSchema>>;

/** `only` the last column of each model: Table 4, or data without parts as in Table 5. */
export function paperTable(rows: readonly PaperRow[], measure: Measure, only: "all" | "total"): string {
  const models = distinct(rows.map(({ model }) => model));
  const sets = distinct(rows.map(({ set }) => set));
  const columns = only === "all" ? columnsOf(sets) : columnsOf(sets).slice(-1);
  const heads = models.flatMap((model) => columns.map(({ name }) => (only === "all" ? `${model}, ${name}` : model)));
  const body = distinct(rows.map(({ teacher }) => teacher)).flatMap((teacher) => {
    const group = rows.filter((row) => row.teacher === teacher);
    const heading = teacher === "" ? [] : [[`**w/ ${teacher}**`, ...heads.map(() => "")]];
    const systems = distinct(group.map(({ arm }) => arm)).map((arm) => [
      arm,
      ...models.flatMap((model) =>
        columns.map(({ of }) => {
          const own = group.filter((row) => row.model === model);
          const mean = meanOfArm(own, arm, of, measure);
          return mean === null ? "–" : `${fixed(mean.value, 2)} ± ${fixed((mean.high - mean.low) / 2, 2)}`;
        }),
      ),
    ]);
    return [...heading, ...systems];
  });
  return `${measure.name}; ±: half the bootstrap interval of 95 %\n\n${markdownTable({ columns: ["", ...heads], rows: body })}\n`;
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)];
}
