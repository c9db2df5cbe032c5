/** @module Plots as SVG text: points with intervals, shares that make a whole, and lines. */
import { Curve, type Estimate, Label, linear, PlotFile, place, Rule, type Scale } from "icdpo-gateway/laboratory";
import { fixed } from "./tables.ts";

const width = 760;
const labelWidth = 230;
const rowHeight = 22;
const top = 44;
const bottom = 46;
const right = 24;
/** Of Okabe and Ito's palette: told apart by the colour-blind, and on white as on black. */
const colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8a8a"] as const;
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
  const ends = known.flatMap(({ low, high }) => [low, high]).concat(reference ?? []);
  const scale = linear(ends, [labelWidth, width - right]);
  const rows = groups.flatMap(({ label, points }) => [
    { heading: label },
    ...points.map((point, i) => ({ ...point, colour: colourOf(i) })),
  ]);
  const height = top + rows.length * rowHeight + bottom;
  const end = height - bottom;
  return fileOf(
    <PlotFile label={title} width={width} height={height}>
      <Grid scale={scale} from={top} to={end} digits={digits} />
      {reference !== undefined && <Vertical kind="reference" at={scale.at(reference)} from={top} to={end} />}
      {rows.map((row, i) => {
        const y = top + i * rowHeight + rowHeight / 2;
        if ("heading" in row)
          return (
            <Label x={8} y={y + 4} kind="heading">
              {row.heading}
            </Label>
          );
        const { label, estimate, colour } = row;
        return (
          <>
            <Label x={labelWidth - 10} y={y + 4} kind="label">
              {label}
            </Label>
            {estimate !== null && (
              <Mark
                title={described(label, estimate, digits)}
                colour={colour}
                radius={4.5}
                at={[scale.at(estimate.value), y]}
                x={[scale.at(estimate.low), scale.at(estimate.high)]}
                y={[y, y]}
              />
            )}
          </>
        );
      })}
      <Axis at={(labelWidth + width - right) / 2} height={height}>
        {axis}
      </Axis>
    </PlotFile>,
  );
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
  return fileOf(
    <PlotFile label={title} width={width} height={height}>
      <Grid scale={scale} from={top + 14} to={height - bottom} digits={0} />
      {legend.map((name, i) => (
        <Key x={labelWidth + i * 120} y={top + 1} colour={partColours[i] ?? ""}>
          {name}
        </Key>
      ))}
      {bars.map(({ label, parts }, i) => (
        <Shares label={label} parts={parts} y={top + 20 + i * (rowHeight + 8)} scale={scale} />
      ))}
      <Axis at={(labelWidth + width - right) / 2} height={height}>
        {axis}
      </Axis>
    </PlotFile>,
  );
}

interface SharesProps {
  readonly label: string;
  readonly parts: readonly number[];
  readonly y: number;
  readonly scale: Scale;
}

function Shares({ label, parts, y, scale }: SharesProps) {
  const total = parts.reduce((sum, part) => sum + part, 0) || 1;
  const shares = parts.map((part) => (part / total) * 100);
  return (
    <>
      <Label x={labelWidth - 10} y={y + 15} kind="label">
        {label}
      </Label>
      {shares.map((share, k) => {
        const from = shares.slice(0, k).reduce((sum, before) => sum + before, 0);
        const [x, end] = [scale.at(from), scale.at(from + share)];
        return (
          <>
            <rect x={place(x)} y={y} width={place(end - x)} height={rowHeight} fill={partColours[k] ?? ""} />
            {share >= 6 && (
              <Label x={(x + end) / 2} y={y + 15} kind="inside">
                {fixed(share, 0)}
              </Label>
            )}
          </>
        );
      })}
    </>
  );
}

export interface LinePlot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly digits: number;
  readonly lines: readonly { readonly label: string; readonly points: readonly LinePoint[] }[];
}

interface LinePoint {
  readonly x: number;
  readonly estimate: Estimate;
}

/** Values over a setting, with their intervals. */
export function linePlot({ title, x: xName, y: yName, digits, lines }: LinePlot): string {
  const [height, left, start, end] = [360, 64, 64, width - right - 150];
  const points = lines.flatMap((line) => line.points);
  const settings = [...new Set(points.map(({ x }) => x))].toSorted((a, b) => a - b);
  const step = (end - left - 48) / Math.max(1, settings.length - 1);
  const across = (x: number): number => left + 24 + settings.indexOf(x) * step;
  const ends = points.flatMap(({ estimate }) => [estimate.low, estimate.high]);
  const scale = linear(ends, [height - bottom, start]);
  return fileOf(
    <PlotFile label={title} width={width} height={height}>
      {scale.ticks.map((tick) => (
        <>
          <Rule kind="grid" x={[left, end]} y={[scale.at(tick), scale.at(tick)]} />
          <Label x={left - 8} y={scale.at(tick) + 4} kind="label">
            {fixed(tick, tickDigits(scale.ticks))}
          </Label>
        </>
      ))}
      {lines.map(({ label, points: own }, i) => {
        const colour = colourOf(i);
        // Side by side, or intervals at one place would hide each other.
        const at = (x: number): number => across(x) + (i - (lines.length - 1) / 2) * 7;
        const path = own.map(({ x, estimate }) => [at(x), scale.at(estimate.value)] as const);
        return (
          <>
            <Curve kind="line" colour={colour} points={path} />
            {own.map(({ x, estimate }) => (
              <Mark
                title={described(`${label}, ${x}`, estimate, digits)}
                colour={colour}
                radius={4}
                at={[at(x), scale.at(estimate.value)]}
                x={[at(x), at(x)]}
                y={[scale.at(estimate.low), scale.at(estimate.high)]}
              />
            ))}
            <Key x={end + 16} y={start + 10 + i * 20} colour={colour}>
              {label}
            </Key>
          </>
        );
      })}
      {settings.map((setting) => (
        <Label x={across(setting)} y={height - bottom + 18} kind="tick">
          {setting}
        </Label>
      ))}
      <AxisNames at={(left + end) / 2} height={height} top={start} x={xName} y={yName} />
    </PlotFile>,
  );
}

export function fileOf(plot: { toString(): string | Promise<string> }): string {
  return `${plot.toString() as string}\n`;
}

export function colourOf(i: number): string {
  return colours[i % colours.length] as string;
}

export function described(label: string, { value, low, high }: Estimate, digits: number): string {
  return `${label}: ${fixed(value, digits)} (${fixed(low, digits)} … ${fixed(high, digits)})`;
}

export function tickDigits(ticks: readonly number[]): number {
  const step = (ticks[1] as number) - (ticks[0] as number);
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}

interface GridProps {
  readonly scale: Scale;
  readonly from: number;
  readonly to: number;
  readonly digits: number;
}

function Grid({ scale, from, to, digits }: GridProps) {
  const shown = Math.max(tickDigits(scale.ticks), Math.min(digits, 0));
  return (
    <>
      {scale.ticks.map((tick) => (
        <>
          <Vertical kind="grid" at={scale.at(tick)} from={from} to={to} />
          <Label x={scale.at(tick)} y={to + 18} kind="tick">
            {fixed(tick, shown)}
          </Label>
        </>
      ))}
    </>
  );
}

function Vertical({
  kind,
  at,
  from,
  to,
}: {
  readonly kind: string;
  readonly at: number;
  readonly from: number;
  readonly to: number;
}) {
  return <Rule kind={kind} x={[at, at]} y={[from, to]} />;
}

interface MarkProps {
  readonly title: string;
  readonly colour: string;
  readonly radius: number;
  readonly at: readonly [x: number, y: number];
  /** The interval's ends. */
  readonly x: readonly [number, number];
  readonly y: readonly [number, number];
}

/** A value with its interval, and its figures for who points at it. */
export function Mark({ title, colour, radius, at, x, y }: MarkProps) {
  return (
    <g>
      <title>{title}</title>
      <Rule kind="interval" colour={colour} x={x} y={y} />
      <circle fill={colour} cx={place(at[0])} cy={place(at[1])} r={radius} />
    </g>
  );
}

export function Key({
  x,
  y,
  colour,
  children,
}: {
  readonly x: number;
  readonly y: number;
  readonly colour: string;
  readonly children?: string;
}) {
  return (
    <>
      <rect x={x} y={y - 9} width="12" height="12" fill={colour} />
      <Label x={x + 18} y={y + 2} kind="key">
        {children}
      </Label>
    </>
  );
}

/** Of a plot over two axes, whose area begins at `top`. */
export function AxisNames({
  at,
  height,
  top,
  x,
  y,
}: {
  readonly at: number;
  readonly height: number;
  readonly top: number;
  readonly x: string;
  readonly y: string;
}) {
  return (
    <>
      <Axis at={at} height={height}>
        {x}
      </Axis>
      <Label x={8} y={top - 20} kind="heading">
        {y}
      </Label>
    </>
  );
}

function Axis({ at, height, children }: { readonly at: number; readonly height: number; readonly children?: string }) {
  return (
    <Label x={at} y={height - 8} kind="axis">
      {children}
    </Label>
  );
}
