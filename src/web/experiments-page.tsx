/** @module Experiments: the verdict, the arms, each metric's difference over time with its interval. */
import {
  type DifferenceReport,
  type ExperimentReport,
  leftOutSentence,
  type MetricReport,
} from "../experiment/report.ts";
import type { StoreState } from "../records/record.ts";
import { numbers, Table, texts } from "./data-table.tsx";
import { Alert } from "./layout.tsx";
import { Band, Curve, Label, Plot, Rule } from "./svg.tsx";

export function ExperimentList({
  experiments,
}: {
  readonly experiments: readonly {
    readonly route: string;
    readonly name: string;
    readonly arms: readonly { readonly name: string }[];
  }[];
}) {
  if (experiments.length === 0)
    return (
      <p>
        No route has an experiment. In <code>policies/routes.yaml</code>, give a route arms instead of a policy:
        <pre>
          {
            "ab: { experiment: { unit: user, arms: { treatment: { policy: everyday, weight: 1 }, control: { policy: plain, weight: 1 } } } }"
          }
        </pre>
      </p>
    );
  return (
    <ul>
      {experiments.map(({ route, name, arms }) => (
        <li>
          <a href={`/experiments/${encodeURIComponent(route)}`}>{name}</a>{" "}
          <span class="quiet">
            route {route}: {arms.map((arm) => arm.name).join(" against ")}
          </span>
        </li>
      ))}
    </ul>
  );
}

export function Experiment({ report, records }: { readonly report: ExperimentReport; readonly records: StoreState }) {
  const { verdict, arms, metrics, sample_ratio: ratio, earlier_answers: earlier, unit, control } = report;
  return (
    <>
      {records.lost > 0 && <Alert>{`${records.lost} records were lost: what follows lacks them.`}</Alert>}
      {records.status === "failing" && <Alert>{`Records cannot be written now, and wait: ${records.error}`}</Alert>}
      {ratio.alarm || report.single_unit ? <Alert>{verdict}</Alert> : <p class="verdict">{verdict}</p>}
      <h2>Arms</h2>
      <Table
        caption={`Units are assigned by ${unit}; the others are compared with ${control}.`}
        columns={[...texts("Arm"), ...numbers("Weight", "Units", "Expected", "Answers"), ...texts("Policies")]}
        rows={arms.map((arm) => [
          arm.name,
          arm.weight,
          arm.units,
          (ratio.expected[arm.name] ?? 0).toFixed(0),
          arm.answers,
          <code>{arm.policies.join(" ")}</code>,
        ])}
      />
      {earlier > 0 && <p class="quiet">{earlier} answers from before the weights were changed do not count.</p>}
      {report.undeclared.length > 0 && (
        <p class="quiet">
          Feedback was also taken of what is not declared now, and is not shown: {report.undeclared.join(", ")}.
        </p>
      )}
      {metrics.map((metric) => (
        <Metric metric={metric} />
      ))}
      <p class="quiet">
        Intervals are confidence sequences: they hold at every look at once, so looking early or often misleads nobody.
        They are wider than those of a test that is looked at once.
      </p>
    </>
  );
}

function Metric({
  metric: { name, in_verdict: isJudged, alpha, left_out: leftOut, means, differences },
}: {
  readonly metric: MetricReport;
}) {
  const level = `${Number((100 * (1 - alpha)).toFixed(2))} %`;
  return (
    <section class="card">
      <h2>{name}</h2>
      <p class="quiet">
        {isJudged
          ? `The verdict is about it; each interval ${level}.`
          : `Shown beside the verdict; each interval ${level} by itself, so one of several may look like something by chance.`}
      </p>
      {leftOut > 0 && <p class="quiet">{leftOutSentence(name, leftOut)}</p>}
      <Table
        columns={[
          ...texts("Arm"),
          ...numbers("Units", "Mean", "Its interval", "Difference", "Its interval"),
          ...texts("So far"),
        ]}
        rows={means.map(({ arm, units, mean, ...bounds }) => {
          const difference = differences.find((one) => one.arm === arm);
          const compared =
            difference === undefined
              ? ["", "", ""]
              : [number(difference.difference), interval(difference), difference.verdict];
          return [arm, units, number(mean), interval(bounds), ...compared];
        })}
      />
      {differences.map((difference) => (
        <DifferencePlot metric={name} difference={difference} />
      ))}
    </section>
  );
}

const width = 480;
const height = 180;
const margin = { left: 64, right: 8, top: 8, bottom: 22 };

/** The difference and its interval of the first so many units. */
function DifferencePlot({
  metric,
  difference: { arm, over_time: points },
}: {
  readonly metric: string;
  readonly difference: DifferenceReport;
}) {
  const bounded = points.filter(({ low, high }) => low !== null && high !== null);
  const last = bounded.at(-1);
  if (bounded.length < 2 || last === undefined) return <p class="quiet">A plot needs more units.</p>;
  // The first intervals are as wide as they like; the picture is for the later half.
  const tail = bounded.slice(Math.floor(bounded.length / 4));
  const most = Math.max(
    ...tail.map(({ low, high }) => Math.max(Math.abs(low ?? 0), Math.abs(high ?? 0))),
    Number.MIN_VALUE,
  );
  const units = Math.max(...bounded.map((point) => point.units));
  const x = (point: { readonly units: number }): number =>
    margin.left + (point.units / units) * (width - margin.left - margin.right);
  const y = (value: number): number => {
    const share = (Math.max(-most, Math.min(most, value)) + most) / (2 * most);
    return height - margin.bottom - share * (height - margin.top - margin.bottom);
  };
  const upper = bounded.map((point) => [x(point), y(point.high ?? 0)] as const);
  const lower = bounded.map((point) => [x(point), y(point.low ?? 0)] as const);
  const middle = bounded.map((point) => [x(point), y(point.difference)] as const);
  const label = `${metric}: ${arm} less control, from ${bounded[0]?.units} to ${last.units} units; at the end ${number(last.difference)} between ${number(last.low ?? 0)} and ${number(last.high ?? 0)}`;
  return (
    <Plot label={label} width={width} height={height}>
      <Band upper={upper} lower={lower} />
      <Curve kind="curve" points={middle} />
      <Rule kind="axis" x={[margin.left, width - margin.right]} y={[y(0), y(0)]} />
      <Label x={4} y={y(most) + 10} kind="start">{`+${number(most)}`}</Label>
      <Label x={4} y={y(0) + 4} kind="start">
        0
      </Label>
      <Label x={4} y={y(-most)} kind="start">{`−${number(most)}`}</Label>
      <Label x={width - margin.right} y={height - 6} kind="end">{`${units} units`}</Label>
    </Plot>
  );
}

function interval({ low, high }: Pick<DifferenceReport, "low" | "high">): string {
  return low === null || high === null ? "too little to say" : `${number(low)} … ${number(high)}`;
}

function number(value: number): string {
  return Number(value.toPrecision(3)).toString();
}
