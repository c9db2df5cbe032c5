/** @module Plots as SVG text: points with intervals, shares that make a whole, and lines. Legible on light and dark pages alike. */
import type { Estimate } from "./statistics.ts";
import { fixed } from "./tables.ts";

const width = 760;
const labelWidth = 230;
const rowHeight = 22;
const top = 44;
const bottom = 46;
const right = 24;
/** Of Okabe and Ito's palette: told apart by the colour-blind, and on white as on black. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a"] as const;

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
  const rows = groups.flatMap(({ label, points }) => [{ heading: label }, ...points]);
  const height = top + rows.length * rowHeight + bottom;
  const marks = rows.map((row, i) => {
    const y = top + i * rowHeight + rowHeight / 2;
    if ("heading" in row) return text(8, y + 4, row.heading, "heading");
    const colour = colours[(rows.slice(0, i + 1).filter((one) => !("heading" in one)).length - 1) % colours.length];
    const name = text(labelWidth - 10, y + 4, row.label, "label");
    if (row.estimate === null) return name;
    const { value, low, high } = row.estimate;
    const spread = `<line class="interval" stroke="${colour}" x1="${n(scale.at(low))}" x2="${n(scale.at(high))}" y1="${n(y)}" y2="${n(y)}"/>`;
    const point = `<circle fill="${colour}" cx="${n(scale.at(value))}" cy="${n(y)}" r="4.5"/>`;
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
    return `<rect x="${x}" y="${top - 8}" width="12" height="12" fill="${colours[i]}"/>${text(x + 18, top + 3, name, "key")}`;
  });
  const rows = bars.map(({ label, parts }, i) => {
    const y = top + 20 + i * (rowHeight + 8);
    const total = parts.reduce((sum, part) => sum + part, 0) || 1;
    let from = 0;
    const pieces = parts.map((part, k) => {
      const share = (part / total) * 100;
      const [x, end] = [scale.at(from), scale.at(from + share)];
      from += share;
      const written = share < 6 ? "" : `<text class="inside" x="${n((x + end) / 2)}" y="${y + 15}">${fixed(share, 0)}</text>`;
      return `<rect x="${n(x)}" y="${y}" width="${n(end - x)}" height="${rowHeight}" fill="${colours[k]}"/>${written}`;
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
  const points = lines.flatMap((line) => line.points);
  const places = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b);
  const end = width - right - 150;
  const across = (x: number): number => left + 24 + (places.indexOf(x) * (end - left - 48)) / Math.max(1, places.length - 1);
  const scale = linear(
    points.flatMap(({ estimate }) => [estimate.low, estimate.high]),
    [height - bottom, top],
  );
  const horizontal = scale.ticks.map((tick) => {
    const y = n(scale.at(tick));
    return `<line class="grid" x1="${left}" x2="${end}" y1="${y}" y2="${y}"/>${text(left - 8, scale.at(tick) + 4, fixed(tick, tickDigits(scale.ticks)), "label")}`;
  });
  const drawn = lines.map(({ label, points: own }, i) => {
    const colour = colours[i % colours.length];
    // Side by side, or intervals at one place would hide each other.
    const at = (x: number): number => across(x) + (i - (lines.length - 1) / 2) * 7;
    const path = own.map(({ x, estimate }) => `${n(at(x))},${n(scale.at(estimate.value))}`).join(" ");
    const marks = own.map(({ x, estimate: { value, low, high } }) => {
      const title = escaped(`${label}, ${x}: ${fixed(value, digits)} (${fixed(low, digits)} … ${fixed(high, digits)})`);
      const spread = `<line class="interval" stroke="${colour}" x1="${n(at(x))}" x2="${n(at(x))}" y1="${n(scale.at(low))}" y2="${n(scale.at(high))}"/>`;
      return `<g><title>${title}</title>${spread}<circle fill="${colour}" cx="${n(at(x))}" cy="${n(scale.at(value))}" r="4"/></g>`;
    });
    const y = top + 10 + i * 20;
    const key = `<rect x="${end + 16}" y="${y - 9}" width="12" height="12" fill="${colour}"/>${text(end + 34, y + 2, label, "key")}`;
    return `<polyline class="line" stroke="${colour}" points="${path}"/>${marks.join("")}${key}`;
  });
  const names = places.map((place) => text(across(place), height - bottom + 18, String(place), "tick"));
  const axes = [text((left + end) / 2, height - 8, xName, "axis"), text(8, top - 8, yName, "heading")];
  return drawing(title, height, [...horizontal, ...drawn, ...names, ...axes]);
}

interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Values to places, with round ticks around them. */
function linear(values: readonly number[], [from, to]: readonly [number, number]): Scale {
  const finite = values.filter(Number.isFinite);
  const [least, most] = finite.length === 0 ? [0, 1] : [Math.min(...finite), Math.max(...finite)];
  const span = most - least || Math.abs(most) || 1;
  const rough = span / 5;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const [start, end] = [Math.floor(least / step), Math.ceil(most / step)];
  const ticks = Array.from({ length: Math.max(2, end - start + 1) }, (_, i) => (start + i) * step);
  const [low, high] = [ticks[0] as number, ticks.at(-1) as number];
  return { at: (value) => from + ((value - low) / (high - low)) * (to - from), ticks };
}

function tickDigits(ticks: readonly number[]): number {
  const step = (ticks[1] as number) - (ticks[0] as number);
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}

function grid(scale: Scale, from: number, to: number, digits: number): string[] {
  const shown = Math.max(tickDigits(scale.ticks), Math.min(digits, 0));
  return scale.ticks.map((tick) => vertical(scale.at(tick), from, to, "grid") + text(scale.at(tick), to + 18, fixed(tick, shown), "tick"));
}

function vertical(x: number, from: number, to: number, kind: string): string {
  return `<line class="${kind}" x1="${n(x)}" x2="${n(x)}" y1="${n(from)}" y2="${n(to)}"/>`;
}

const style = `svg { color: #1f2328; font: 13px system-ui, sans-serif } text { fill: currentColor } .title { font-size: 15px; font-weight: 600 }
.heading { font-weight: 600 } .label { text-anchor: end } .tick, .axis { text-anchor: middle } .tick { font-size: 12px } .inside { text-anchor: middle; fill: #fff; font-weight: 600 }
.grid { stroke: currentColor; opacity: 0.15 } .reference { stroke: currentColor; stroke-dasharray: 4 3; opacity: 0.7 } .interval { stroke-width: 2.5 }
.line { fill: none; stroke-width: 2 } @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }`;

function drawing(title: string, height: number, parts: readonly string[]): string {
  const opening = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${n(height)}" width="${width}" height="${n(height)}" role="img" aria-label="${escaped(title)}">`;
  return `${opening}\n<style>${style}</style>\n${text(8, 20, title, "title")}\n${parts.filter((part) => part !== "").join("\n")}\n</svg>\n`;
}

function text(x: number, y: number, content: string, kind: string): string {
  return `<text class="${kind}" x="${n(x)}" y="${n(y)}">${escaped(content)}</text>`;
}

function escaped(content: string): string {
  return content.replace(/[&<>"]/gu, (sign) => `&#${sign.codePointAt(0)};`);
}

function n(value: number): string {
  return Number(value.toFixed(1)).toString();
}
