/** @module Plots as SVG text: points with intervals, shares that make a whole, and lines. */
import type { Estimate } from "./statistics.ts";
import {
  bottom,
  colours,
  drawing,
  escaped,
  grid,
  labelWidth,
  linear,
  place,
  right,
  rowHeight,
  text,
  tickDigits,
  vertical,
  width,
} from "./svg.ts";
import { fixed } from "./tables.ts";

const top = 44;
/** Of shares: won, neither, lost. */
const partColours = ["#009e73", "#8a8a8a", "#d55e00"] as const;

export interface DotPlot {
  readonly title: string;
  readonly axis: string;
  readonly digits: number;
  /** Where a dashed line stands, as chance does. */
  readonly reference?: number | undefined;
  /** A heading, and a row for each point. */
  readonly groups: readonly {
    readonly label: string;
    readonly points: readonly { readonly label: string; readonly estimate: Estimate | null }[];
  }[];
}

/** Values as points with their intervals, a row each. */
export function dotPlot({ title, axis, digits, reference, groups }: DotPlot): string {
  const known = groups.flatMap(({ points }) => points.flatMap(({ estimate }) => (estimate === null ? [] : [estimate])));
  const scale = linear(known.flatMap(({ low, high }) => [low, high]).concat(reference ?? []), [labelWidth, width - right]);
  const rows = groups.flatMap(({ label, points }) => [
    { heading: label },
    ...points.map((point, i) => ({ ...point, colour: colours[i % colours.length] })),
  ]);
  const height = top + rows.length * rowHeight + bottom;
  const marks = rows.map((row, i) => {
    const y = top + i * rowHeight + rowHeight / 2;
    if ("heading" in row) return text(8, y + 4, row.heading, "heading");
    const name = text(labelWidth - 10, y + 4, row.label, "label");
    if (row.estimate === null) return name;
    const { colour } = row;
    const { value, low, high } = row.estimate;
    const spread = `<line class="interval" stroke="${colour}" x1="${place(scale.at(low))}" x2="${place(scale.at(high))}" y1="${place(y)}" y2="${place(y)}"/>`;
    const point = `<circle fill="${colour}" cx="${place(scale.at(value))}" cy="${place(y)}" r="4.5"/>`;
    return `${name}<g><title>${escaped(`${row.label}: ${fixed(value, digits)} (${fixed(low, digits)} … ${fixed(high, digits)})`)}</title>${spread}${point}</g>`;
  });
  const end = height - bottom;
  const line = reference === undefined ? "" : vertical(scale.at(reference), top, end, "reference");
  return drawing(title, height, [
    ...grid(scale, top, end, digits),
    line,
    ...marks,
    text((labelWidth + width - right) / 2, height - 8, axis, "axis"),
  ]);
}

export interface ShareBars {
  readonly title: string;
  readonly axis: string;
  /** Names of the parts, as many as `parts`. */
  readonly legend: readonly string[];
  readonly bars: readonly { readonly label: string; readonly parts: readonly number[] }[];
}

/** A bar for each row, cut by its parts' shares: Figures 2 and 4. */
export function shareBars({ title, axis, legend, bars }: ShareBars): string {
  const scale = linear([0, 100], [labelWidth, width - right]);
  const height = top + 20 + bars.length * (rowHeight + 8) + bottom;
  const keys = legend.map((name, i) => {
    const x = labelWidth + i * 120;
    return `<rect x="${x}" y="${top - 8}" width="12" height="12" fill="${partColours[i]}"/>${text(x + 18, top + 3, name, "key")}`;
  });
  const rows = bars.map(({ label, parts }, i) => {
    const y = top + 20 + i * (rowHeight + 8);
    const total = parts.reduce((sum, part) => sum + part, 0) || 1;
    let from = 0;
    const pieces = parts.map((part, k) => {
      const share = (part / total) * 100;
      const [x, end] = [scale.at(from), scale.at(from + share)];
      from += share;
      const written = share < 6 ? "" : `<text class="inside" x="${place((x + end) / 2)}" y="${y + 15}">${fixed(share, 0)}</text>`;
      return `<rect x="${place(x)}" y="${y}" width="${place(end - x)}" height="${rowHeight}" fill="${partColours[k]}"/>${written}`;
    });
    return text(labelWidth - 10, y + 15, label, "label") + pieces.join("");
  });
  const end = height - bottom;
  return drawing(title, height, [
    ...grid(scale, top + 14, end, 0),
    ...keys,
    ...rows,
    text((labelWidth + width - right) / 2, height - 8, axis, "axis"),
  ]);
}

export interface LinePlot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly digits: number;
  readonly lines: readonly { readonly label: string; readonly points: readonly { readonly x: number; readonly estimate: Estimate }[] }[];
}

/** Values over a setting, with their intervals. */
export function linePlot({ title, x: xName, y: yName, digits, lines }: LinePlot): string {
  const height = 360;
  const left = 64;
  const top = 64;
  const points = lines.flatMap((line) => line.points);
  const settings = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b);
  const end = width - right - 150;
  const across = (x: number): number => left + 24 + (settings.indexOf(x) * (end - left - 48)) / Math.max(1, settings.length - 1);
  const scale = linear(
    points.flatMap(({ estimate }) => [estimate.low, estimate.high]),
    [height - bottom, top],
  );
  const horizontal = scale.ticks.map((tick) => {
    const y = place(scale.at(tick));
    return `<line class="grid" x1="${left}" x2="${end}" y1="${y}" y2="${y}"/>${text(left - 8, scale.at(tick) + 4, fixed(tick, tickDigits(scale.ticks)), "label")}`;
  });
  const drawn = lines.map(({ label, points: own }, i) => {
    const colour = colours[i % colours.length];
    // Side by side, or intervals at one place would hide each other.
    const at = (x: number): number => across(x) + (i - (lines.length - 1) / 2) * 7;
    const path = own.map(({ x, estimate }) => `${place(at(x))},${place(scale.at(estimate.value))}`).join(" ");
    const marks = own.map(({ x, estimate: { value, low, high } }) => {
      const title = escaped(`${label}, ${x}: ${fixed(value, digits)} (${fixed(low, digits)} … ${fixed(high, digits)})`);
      const spread = `<line class="interval" stroke="${colour}" x1="${place(at(x))}" x2="${place(at(x))}" y1="${place(scale.at(low))}" y2="${place(scale.at(high))}"/>`;
      return `<g><title>${title}</title>${spread}<circle fill="${colour}" cx="${place(at(x))}" cy="${place(scale.at(value))}" r="4"/></g>`;
    });
    const y = top + 10 + i * 20;
    const key = `<rect x="${end + 16}" y="${y - 9}" width="12" height="12" fill="${colour}"/>${text(end + 34, y + 2, label, "key")}`;
    return `<polyline class="line" stroke="${colour}" points="${path}"/>${marks.join("")}${key}`;
  });
  const names = settings.map((setting) => text(across(setting), height - bottom + 18, String(setting), "tick"));
  const axes = [text((left + end) / 2, height - 8, xName, "axis"), text(8, top - 20, yName, "heading")];
  return drawing(title, height, [...horizontal, ...drawn, ...names, ...axes]);
}
