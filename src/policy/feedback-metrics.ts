/** @module What is measured of answers, and what feedback may say of them. */

/** Of every answer the gateway itself measures these, or its judge: feedback cannot pretend to be them. */
export const measuredMetrics: readonly string[] = [
  ...["latency_ms", "completion_tokens", "work_tokens", "score", "score_over_plain", "error", "left", "judge"],
];

/** Of an experiment, and of an answer. */
export const mostMetrics = 16;
/** Beside a larger value nothing would be left of the others' squares: it is not counted, and no range goes farther. */
export const largestValue = 1e15;

/** Values of feedback that count, both ends among them. */
export interface MetricRange {
  readonly name: string;
  readonly min: number;
  readonly max: number;
}

/** What thumbs say. Of answers outside of experiments, feedback says nothing else. */
export const rating: MetricRange = { name: "rating", min: 0, max: 1 };

/** As the routes' file names them: a name alone has values from 0 to 1. */
export type GivenMetric = string | (MetricRange & { readonly verdict: boolean });

/** Metrics that the verdict is about. */
export function verdictMetrics(given: readonly GivenMetric[]): string[] {
  return given.flatMap((metric) => (typeof metric === "string" ? [metric] : metric.verdict ? [metric.name] : []));
}

/** What feedback may say: `rating` always, since every page has thumbs. */
export function feedbackRanges(given: readonly GivenMetric[]): MetricRange[] {
  const ranges = given.flatMap((metric): MetricRange[] => {
    if (typeof metric !== "string") return [{ name: metric.name, min: metric.min, max: metric.max }];
    return measuredMetrics.includes(metric) ? [] : [{ name: metric, min: 0, max: 1 }];
  });
  return ranges.some(({ name }) => name === rating.name) ? ranges : [rating, ...ranges];
}

/** What is wrong with an experiment's metrics, and with which. */
export function complaintsAbout(given: readonly GivenMetric[]): { readonly place: number; readonly message: string }[] {
  const names = given.map((metric) => (typeof metric === "string" ? metric : metric.name));
  const complaints = given.flatMap((metric, place) => {
    const name = names[place] as string;
    const wrong = (message: string) => [{ place, message }];
    if (names.indexOf(name) < place) return wrong(`"${name}" stands here twice`);
    if (typeof metric === "string") return [];
    if (measuredMetrics.includes(name))
      return wrong(`"${name}" is measured by the gateway itself: name it alone, without a range`);
    if (metric.min >= metric.max) return wrong(`min is not less than max`);
    if (name === rating.name && (metric.min > rating.min || metric.max < rating.max))
      return wrong("thumbs up and down are a rating of 1 and 0: its range must hold both");
    return [];
  });
  if (verdictMetrics(given).length === 0)
    complaints.push({ place: 0, message: "the verdict must be about one of them at least" });
  if (feedbackRanges(given).length > mostMetrics)
    complaints.push({
      place: mostMetrics - 1,
      message: `feedback has ${mostMetrics} metrics at most, rating among them`,
    });
  return complaints;
}

/** Experiment → what feedback on its answers may say. */
export type DeclaredMetrics = ReadonlyMap<string, readonly MetricRange[]>;

/** Why feedback is refused, by the field at fault. */
export interface Refusal {
  readonly param: "metric" | "value";
  readonly message: string;
}

/** Null where the value counts. `experiment`: the answer's, if any. */
export function refusalOf(
  declared: DeclaredMetrics,
  experiment: string | null,
  said: { readonly metric: string; readonly value: number },
): Refusal | null {
  const ranges = (experiment === null ? undefined : declared.get(experiment)) ?? [rating];
  const range = ranges.find(({ name }) => name === said.metric);
  if (range !== undefined && said.value >= range.min && said.value <= range.max) return null;
  const where =
    experiment === null ? "an answer outside of experiments" : `an answer of the experiment "${experiment}"`;
  const list = ranges.map(({ name, min, max }) => `"${name}" from ${min} to ${max}`).join(", ");
  if (range === undefined)
    return {
      param: "metric",
      message: `"${said.metric}" is not declared. Of ${where} feedback may say: ${list} (metrics, in routes.yaml).`,
    };
  return {
    param: "value",
    message: `${said.value} is out of range. Of ${where} feedback may say: ${list} (metrics, in routes.yaml).`,
  };
}
