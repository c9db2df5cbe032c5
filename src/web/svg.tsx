/** @module What plots are drawn with, on the page and in reports: scales, and parts of SVG. */
import type { Child } from "hono/jsx";

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

/** Tenths are finer than anybody sees. */
export function place(value: number): string {
  return Number(value.toFixed(1)).toString();
}

export interface PlotProps {
  /** Read out to who cannot see it. */
  readonly label: string;
  readonly width: number;
  readonly height: number;
  readonly children?: Child;
}

/** On a page, whose style it has. */
export function Plot({ label, width, height, children }: PlotProps) {
  return (
    <svg viewBox={`0 0 ${width} ${place(height)}`} role="img" aria-label={label}>
      {children}
    </svg>
  );
}

/** A file of its own, legible on light and dark pages alike, with its label as a title. */
export function PlotFile({ label, width, height, children }: PlotProps) {
  const size = { viewBox: `0 0 ${width} ${place(height)}`, width, height: place(height) };
  return (
    <svg xmlns="http://www.w3.org/2000/svg" {...size} role="img" aria-label={label}>
      <style>{fileStyle}</style>
      <Label x={8} y={20} kind="title">
        {label}
      </Label>
      {children}
    </svg>
  );
}

const fileStyle = `svg { color: #1f2328; font: 13px system-ui, sans-serif } text { fill: currentColor }
.title { font-size: 15px; font-weight: 600 } .heading { font-weight: 600 } .label { text-anchor: end }
.tick, .axis { text-anchor: middle } .tick { font-size: 12px }
.inside { text-anchor: middle; fill: #fff; font-weight: 600 } .grid { stroke: currentColor; opacity: 0.15 }
.reference { stroke: currentColor; stroke-dasharray: 4 3; opacity: 0.7 } .interval { stroke-width: 2.5 }
.line { fill: none; stroke-width: 2 } @media (prefers-color-scheme: dark) { svg { color: #e6edf3 } }`;

interface LabelProps {
  readonly x: number;
  readonly y: number;
  readonly kind: string;
  readonly children?: Child;
}

export function Label({ x, y, kind, children }: LabelProps) {
  return (
    <text class={kind} x={place(x)} y={place(y)}>
      {children}
    </text>
  );
}

interface RuleProps {
  readonly kind: string;
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
  readonly colour?: string;
}

/** A straight line. */
export function Rule({ kind, x, y, colour }: RuleProps) {
  const ends = { x1: place(x[0]), x2: place(x[1]), y1: place(y[0]), y2: place(y[1]) };
  return colour === undefined ? <line class={kind} {...ends} /> : <line class={kind} stroke={colour} {...ends} />;
}

/** A line through points. */
export function Curve({
  kind,
  points,
  colour,
}: {
  readonly kind: string;
  readonly points: readonly Place[];
  readonly colour?: string;
}) {
  return colour === undefined ? (
    <polyline class={kind} points={placed(points)} />
  ) : (
    <polyline class={kind} stroke={colour} points={placed(points)} />
  );
}

/** What lies between two lines. */
export function Band({ upper, lower }: { readonly upper: readonly Place[]; readonly lower: readonly Place[] }) {
  return <polygon class="band" points={placed([...upper, ...lower.toReversed()])} />;
}

export type Place = readonly [x: number, y: number];

function placed(points: readonly Place[]): string {
  return points.map(([x, y]) => `${place(x)},${place(y)}`).join(" ");
}
