/** @module Tables in Markdown. */
import type { Estimate } from "./statistics.ts";

export interface Table {
  /** The first names the rows. */
  readonly columns: readonly string[];
  readonly rows: readonly (readonly string[])[];
}

export function markdownTable({ columns, rows }: Table): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(columns), `|${"---|".repeat(columns.length)}`, ...rows.map(line)].join("\n");
}

/** `61.3 (55.7 … 66.6)`, in hundredths. */
export function percentCell(estimate: Estimate | null): string {
  return estimateCell(
    estimate && { value: estimate.value * 100, low: estimate.low * 100, high: estimate.high * 100 },
    1,
  );
}

/** `2.41 (2.20 … 2.62)`; a dash where there is nothing to say. */
export function estimateCell(estimate: Estimate | null, digits: number): string {
  if (estimate === null || Number.isNaN(estimate.value)) return "–";
  const { value, low, high } = estimate;
  return `${fixed(value, digits)} (${fixed(low, digits)} … ${fixed(high, digits)})`;
}

/** With a real minus, and no minus before zero. */
export function fixed(value: number, digits: number): string {
  const text = Math.abs(value).toFixed(digits);
  return value < 0 && Number(text) !== 0 ? `−${text}` : text;
}
