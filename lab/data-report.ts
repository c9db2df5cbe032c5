/** @module What is measured of data's own responses, as tables and figures: rewards (Table 1), mean NLL (Figure 5). */
import { dotPlot } from "./plots.tsx";
import { bootstrapMean } from "./statistics.ts";
import { estimateCell, markdownTable } from "./tables.ts";

export interface DataRow {
  /** Whose responses: a teacher's, or the data's own. */
  readonly source: string;
  readonly set: string;
  readonly id: string;
  /** By the label of what measured. */
  readonly values: Readonly<Record<string, number>>;
}

/** `teacher/set`, or a source without sets. */
export function splitLabel(label: string): { readonly source: string; readonly set: string } {
  const at = label.indexOf("/");
  return at < 0 ? { source: label, set: "" } : { source: label.slice(0, at), set: label.slice(at + 1) };
}

export function dataReport(title: string, rows: readonly DataRow[], explanation: readonly string[]): string {
  const sets = distinct(rows.map(({ set }) => set));
  const labels = distinct(rows.flatMap(({ values }) => Object.keys(values)));
  const columns = [
    ...sets.map((set) => ({ name: set, of: [set] })),
    ...(sets.length > 1 ? [{ name: "Total", of: sets }] : []),
  ];
  const table = markdownTable({
    columns: [
      "",
      ...labels.flatMap((label) => columns.map(({ name }) => [label, name].filter((part) => part !== "").join(", "))),
    ],
    rows: distinct(rows.map(({ source }) => source)).map((source) => [
      source,
      ...labels.flatMap((label) => columns.map(({ of }) => estimateCell(meanOfSource(rows, source, of, label), 2))),
    ]),
  });
  return `# ${title}\n\n${explanation.join("\n")}\n\n${table}\n`;
}

export function meanOfSource(rows: readonly DataRow[], source: string, sets: readonly string[], label: string) {
  return bootstrapMean(
    sets.map((set) =>
      rows.filter((row) => row.source === source && row.set === set).flatMap(({ values }) => values[label] ?? []),
    ),
  );
}

/** Figure 5: a group for each of what measured, a point for each source. */
export function dataFigure(title: string, axis: string, rows: readonly DataRow[]): string {
  const sets = distinct(rows.map(({ set }) => set));
  const sources = distinct(rows.map(({ source }) => source));
  const groups = distinct(rows.flatMap(({ values }) => Object.keys(values))).map((label) => ({
    label,
    points: sources.map((source) => ({ label: source, estimate: meanOfSource(rows, source, sets, label) })),
  }));
  return dotPlot({ title, axis, digits: 2, groups });
}

function distinct(values: readonly string[]): string[] {
  return [...new Set(values)];
}
