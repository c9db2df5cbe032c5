/** @module `icdpo experiments`: what they show, their rows, and what is kept of a user. */
import { Command, Option } from "commander";
import { pseudonym } from "../experiment/assign.ts";
import {
  type ExperimentDescription,
  type ExperimentReport,
  leftOutSentence,
  type MetricReport,
} from "../experiment/report.ts";
import { readEngines } from "../node/open-engines.ts";
import { readRewards } from "../node/open-reward-models.ts";
import { declaredBy } from "../policy/engines-file.ts";
import { feedbackRanges, verdictMetrics } from "../policy/feedback-metrics.ts";
import { parsePolicyFiles } from "../policy/parsed-policies.ts";
import { PolicyFolder } from "../policy/policy-files.ts";
import { forgetSql } from "../records/forget.ts";
import { Database } from "../records/libsql-records.ts";
import { GatewayError } from "../types/error.ts";
import type { World } from "./world.ts";

export function experimentsCommand(world: World): Command {
  const show = new Command("show")
    .description("what the experiments of the routes show so far")
    .argument("[route]", "one route's")
    .option("--json", "print the reports as JSON")
    .action(async (route: string | undefined, { json }: { json?: boolean }) => {
      const described = (await describedExperiments(world)).filter((one) => route === undefined || one.route === route);
      if (route !== undefined && described.length === 0)
        throw new GatewayError("experiment_not_found", `There is no route "${route}" with an experiment.`);
      if (described.length === 0) world.report("No route has an experiment (policies/routes.yaml).");
      await withDatabase(world, async (database) => {
        for (const one of described) {
          const report = await database.report(one);
          process.stdout.write(json ? `${JSON.stringify(report)}\n` : `${renderReport(report)}\n`);
        }
      });
    });
  const write = new Command("export")
    .description("every answer of an experiment with its feedback")
    .argument("<experiment>", "its name: the route's, unless the experiment has one of its own")
    .addOption(new Option("--format <format>").choices(["jsonl", "csv"]).default("jsonl"))
    .action((name: string, { format }: { format: "jsonl" | "csv" }) =>
      withDatabase(world, async (database) => {
        let isFirst = true;
        for await (const row of database.answers(name)) {
          if (format === "csv" && isFirst) process.stdout.write(csvLine(Object.keys(row)));
          process.stdout.write(format === "csv" ? csvLine(Object.values(row)) : `${JSON.stringify(row)}\n`);
          isFirst = false;
        }
        if (isFirst)
          throw new GatewayError(
            "experiment_not_found",
            `There are no answers of an experiment "${name}". Recorded: ${(await database.experiments()).join(", ") || "none"}.`,
          );
      }),
    );
  const forget = new Command("forget")
    .description("delete everything that was recorded of a user")
    .argument("<user>", "as requests name them")
    .option("--sql", "print SQL that does it, for a database that this program does not reach (D1)")
    .action(async (user: string, { sql }: { sql?: boolean }) => {
      const forgotten = pseudonym("user", user);
      if (sql) process.stdout.write(forgetSql(forgotten));
      else await withDatabase(world, (database) => forgetUser(database, forgotten, world));
    });
  return new Command("experiments")
    .description("experiments and their records")
    .addCommand(show, { isDefault: true })
    .addCommand(write)
    .addCommand(forget);
}

/** A report that is being made holds an older state of the database for a moment. */
const purgeAttempts = 10;

async function forgetUser(database: Database, user: string, world: World): Promise<void> {
  process.stdout.write(`${await database.forget(user, Date.now())} answers deleted\n`);
  for (let attempt = 1; !(await database.purge()); attempt++) {
    if (attempt < purgeAttempts) continue;
    throw new GatewayError(
      "records_unavailable",
      "The answers are deleted, but somebody keeps reading the database: older states of it stay in its write-ahead log until that is over. Run the command again.",
    );
  }
  world.report(
    "Gateways take no more records of requests that began until now. What they have logged (ICDPO_LOG_TEXT=1), files of demos harvest, and backups are yours to clean.",
  );
}

/** The database that the settings name. Throws "configuration" where there is none. */
export async function withDatabase<Result>(
  world: World,
  work: (database: Database) => Promise<Result>,
): Promise<Result> {
  const { databaseUrl: url, ICDPO_DATABASE_TOKEN: authToken } = world.settings();
  if (url === null) throw new GatewayError("configuration", "This gateway keeps no records (ICDPO_DATABASE=off).");
  const database = await Database.open({ url, authToken });
  try {
    return await work(database);
  } finally {
    database.close();
  }
}

/** From the routes' file; policies by name, for their hashes need the model. */
async function describedExperiments(world: World): Promise<ExperimentDescription[]> {
  const settings = world.settings();
  const { policiesDirectory, demonstrationsDirectory } = settings;
  const folder = new PolicyFolder({ policies: policiesDirectory, demonstrations: demonstrationsDirectory });
  const engines = declaredBy(await readEngines(settings));
  const { routes } = await parsePolicyFiles(await folder.read(), engines, await readRewards(settings));
  return Object.entries(routes.routes).flatMap(([route, { experiment }]) => {
    if (experiment === undefined) return [];
    const arms = Object.entries(experiment.arms).map(([name, { policy, weight }]) => ({ name, policy, weight }));
    const wanted = experiment.control ?? "control";
    const control = arms.find(({ name }) => name === wanted) ?? arms.at(-1);
    const { unit, metrics } = experiment;
    const described = { name: experiment.name ?? route, route, unit, arms, control: control?.name ?? "" };
    return [{ ...described, metrics: verdictMetrics(metrics), ranges: feedbackRanges(metrics) }];
  });
}

export function renderReport(report: ExperimentReport): string {
  const { name, route, arms, metrics, verdict, sample_ratio: ratio, earlier_answers: earlier } = report;
  return [
    `# ${name} (route ${route}, unit ${report.unit})`,
    "",
    verdict,
    "",
    "| arm | weight | units | expected | answers | policies |",
    "|---|---|---|---|---|---|",
    ...arms.map((arm) =>
      row(
        arm.name,
        arm.weight,
        arm.units,
        (ratio.expected[arm.name] ?? 0).toFixed(0),
        arm.answers,
        arm.policies.join(" "),
      ),
    ),
    "",
    ...metrics.flatMap((metric) => renderMetric(metric)),
    ...(report.undeclared.length > 0
      ? [`Feedback was also taken of what is not declared now: ${report.undeclared.join(", ")}.`, ""]
      : []),
    ...(earlier > 0 ? [`${earlier} answers from before the weights were changed do not count.`, ""] : []),
  ].join("\n");
}

function renderMetric({
  name,
  in_verdict: isJudged,
  alpha,
  left_out: leftOut,
  means,
  differences,
}: MetricReport): string[] {
  const level = `${Number((100 * (1 - alpha)).toFixed(2))} %`;
  const note = isJudged
    ? `in the verdict, ${level}`
    : `${level} by itself: of several such, one may look like something by chance`;
  return [
    `## ${name} (${note})`,
    "",
    "| arm | units | mean | difference | interval |",
    "|---|---|---|---|---|",
    ...means.map(({ arm, units, mean }) => {
      const difference = differences.find((one) => one.arm === arm);
      const interval =
        difference?.low == null || difference.high == null
          ? ""
          : `${number(difference.low)} … ${number(difference.high)}`;
      return row(arm, units, number(mean), difference === undefined ? "" : number(difference.difference), interval);
    }),
    "",
    ...(leftOut > 0 ? [leftOutSentence(name, leftOut), ""] : []),
  ];
}

function row(...cells: readonly (string | number)[]): string {
  return `| ${cells.join(" | ")} |`;
}

function number(value: number): string {
  return Number(value.toPrecision(4)).toString();
}

/** Text that a spreadsheet would take for a formula gets an apostrophe. */
function csvLine(values: readonly unknown[]): string {
  const cells = values.map((value) => {
    const text =
      value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    const safe = typeof value === "string" && /^[=+\-@\t\r]/u.test(text) ? `'${text}` : text;
    return /[",\n\r]/u.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  });
  return `${cells.join(",")}\n`;
}
