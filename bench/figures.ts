/**
 * @module What a benchmark measures: figures, each beside its alternative in the same round, summed up over interleaved
 * rounds.
 */

/** One measurement in one round. */
export interface Measurement {
  readonly name: string;
  readonly unit: string;
  readonly value: number;
  /** What it is compared with, in the same unit, measured in the same round. */
  readonly against?: { readonly name: string; readonly value: number };
}

export interface BenchCase {
  readonly name: string;
  run(round: number): Promise<Measurement[]>;
}

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly value: Spread;
  readonly against?: {
    readonly name: string;
    readonly value: Spread /** value / against, round by round. */;
    readonly ratio: Spread;
  };
}

/** Runs all cases in every round, in the same order, so that a slow minute of the machine meets them all. */
export async function runRounds(
  cases: readonly BenchCase[],
  rounds: number,
  progress: (line: string) => void,
): Promise<Figure[]> {
  const measured = new Map<string, Measurement[]>();
  for (let round = 0; round < rounds; round++)
    for (const benchCase of cases) {
      progress(`round ${round + 1} of ${rounds}: ${benchCase.name}`);
      for (const measurement of await benchCase.run(round)) {
        const figure = JSON.stringify([measurement.name, measurement.against?.name]);
        measured.set(figure, [...(measured.get(figure) ?? []), measurement]);
      }
    }
  return [...measured.values()].map(summarise);
}

function summarise(measurements: readonly Measurement[]): Figure {
  const { name, unit, against } = measurements[0] as Measurement;
  const value = spread(measurements.map((measurement) => measurement.value));
  if (against === undefined) return { name, unit, value };
  const others = measurements.map((measurement) => measurement.against?.value ?? Number.NaN);
  const ratios = measurements.map((measurement, i) => measurement.value / (others[i] as number));
  return { name, unit, value, against: { name: against.name, value: spread(others), ratio: spread(ratios) } };
}

export function spread(values: readonly number[]): Spread {
  const sorted = values.toSorted((a, b) => a - b);
  return { median: quantile(sorted, 0.5), min: sorted[0] as number, max: sorted.at(-1) as number };
}

/** Of ascending values, linear between neighbours. */
export function quantile(sorted: readonly number[], share: number): number {
  const place = (sorted.length - 1) * share;
  const below = sorted[Math.floor(place)] as number;
  const above = sorted[Math.ceil(place)] as number;
  return below + (above - below) * (place - Math.floor(place));
}

export function renderTable(figures: readonly Figure[]): string {
  const rows = figures.map(({ name, unit, value, against }) => {
    const beside = against === undefined ? ["", "", ""] : [against.name, shown(against.value), shown(against.ratio)];
    return `| ${[name, `${shown(value)} ${unit}`, ...beside].join(" | ")} |`;
  });
  return ["| what | median (least to most) | beside | its figure | ratio |", "|---|---|---|---|---|", ...rows].join(
    "\n",
  );
}

function shown({ median, min, max }: Spread): string {
  return `${short(median)} (${short(min)} to ${short(max)})`;
}

function short(value: number): string {
  return Number.isNaN(value)
    ? "–"
    : value >= 100
      ? value.toFixed(0)
      : value >= 10
        ? value.toFixed(1)
        : value.toFixed(2);
}
