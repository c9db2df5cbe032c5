/** @module What plots are drawn with: SVG text, legible on light and dark pages alike. */
import { fixed } from "./tables.ts";

export const width = 760;
export const labelWidth = 230;
export const rowHeight = 22;
export const bottom = 46;
export const right = 24;
/** Of Okabe and Ito's palette: told apart by the colour-blind, and on white as on black. */
export const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a"] as const;

export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
}

/** Values to places, with round ticks around them. */
export function linear(values: readonly number[], [from, to]: readonly [number, number]): Scale {
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

export function tickDigits(ticks: readonly number[]): number {
  const step = (ticks[1] as number) - (ticks[0] as number);
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}

export function grid(scale: Scale, from: number, to: number, digits: number): string[] {
  const shown = Math.max(tickDigits(scale.ticks), Math.min(digits, 0));
  return scale.ticks.map((tick) => vertical(scale.at(tick), from, to, "grid") + text(scale.at(tick), to + 18, fixed(tick, shown), "tick"));
}

export function vertical(x: number, from: number, to: number, kind: string): string {
  return `<line class="${kind}" x1="${place(x)}" x2="${place(x)}" y1="${place(from)}" y2="${place(to)}"/>`;
}

const style = `svg { color: #1f2328; font: 13px system-ui, sans-serif } text { fill: currentColor } .title { font-size: 15px; font-weight: 600 }
.heading { font-weight: 600 } .label { text-anchor: end } .tick, .axis { text-anchor: middle } .tick { font-size: 12px } .inside { text-anchor: middle; fill: #fff; font-weight: 600 }
.grid { stroke: currentColor; opacity: 0.15 } .reference { stroke: currentColor; stroke-dasharray: 4 3; opacity: 0.7 } .interval { stroke-width: 2.5 }
.line { fill: none; stroke-width: 2 } @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }`;

export function drawing(title: string, height: number, parts: readonly string[]): string {
  const opening = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${place(height)}" width="${width}" height="${place(height)}" role="img" aria-label="${escaped(title)}">`;
  return `${opening}\n<style>${style}</style>\n${text(8, 20, title, "title")}\n${parts.filter((part) => part !== "").join("\n")}\n</svg>\n`;
}

export function text(x: number, y: number, content: string, kind: string): string {
  return `<text class="${kind}" x="${place(x)}" y="${place(y)}">${escaped(content)}</text>`;
}

export function escaped(content: string): string {
  return content.replace(/[&<>"]/gu, (sign) => `&#${sign.codePointAt(0)};`);
}

export function place(value: number): string {
  return Number(value.toFixed(1)).toString();
}
