/** @module A plot of values with their intervals over what they cost, each with its name. */
import { type Estimate, Label, linear, PlotFile, Rule } from "icdpo-gateway/laboratory";
import { AxisNames, colourOf, described, fileOf, Key, Mark, tickDigits } from "./plots.tsx";
import { fixed } from "./tables.ts";

export interface ScatterPlot {
  readonly title: string;
  readonly x: string;
  readonly y: string;
  readonly digits: number;
  readonly points: readonly { readonly label: string; readonly x: number; readonly estimate: Estimate }[];
}

const [width, leastHeight, left, start, bottom] = [760, 420, 64, 64, 46];
/** Room for the names: in width, and each one's height. */
const [keys, keyHeight] = [210, 20];

export function scatterPlot({ title, x: xName, y: yName, digits, points }: ScatterPlot): string {
  const end = width - keys;
  const height = Math.max(leastHeight, start + points.length * keyHeight + bottom);
  const across = linear([0, ...points.map(({ x }) => x)], [left, end]);
  const up = linear([0, ...points.flatMap(({ estimate: { low, high } }) => [low, high])], [height - bottom, start]);
  return fileOf(
    <PlotFile label={title} width={width} height={height}>
      {up.ticks.map((tick) => (
        <>
          <Rule kind={tick === 0 ? "reference" : "grid"} x={[left, end]} y={[up.at(tick), up.at(tick)]} />
          <Label x={left - 8} y={up.at(tick) + 4} kind="label">
            {fixed(tick, tickDigits(up.ticks))}
          </Label>
        </>
      ))}
      {across.ticks.map((tick) => (
        <Label x={across.at(tick)} y={height - bottom + 18} kind="tick">
          {fixed(tick, tickDigits(across.ticks))}
        </Label>
      ))}
      {points.map(({ label, x, estimate }, i) => {
        const at = [across.at(x), up.at(estimate.value)] as const;
        return (
          <>
            <Mark
              title={described(`${label}, ${fixed(x, 2)}`, estimate, digits)}
              colour={colourOf(i)}
              radius={4}
              at={at}
              x={[at[0], at[0]]}
              y={[up.at(estimate.low), up.at(estimate.high)]}
            />
            {/* Colours come again where there are many: a number tells them apart. */}
            <Label x={at[0] + 7} y={at[1] - 6} kind="number">
              {i + 1}
            </Label>
            <Key x={end + 16} y={start + 10 + i * keyHeight} colour={colourOf(i)}>
              {`${i + 1} ${label}`}
            </Key>
          </>
        );
      })}
      <AxisNames at={(left + end) / 2} height={height} top={start} x={xName} y={yName} />
    </PlotFile>,
  );
}
