/** @module `icdpo eval table`: the answers of several runs of `systems` in one table, as the paper lays them out. */
import path from "node:path";
import { Command, Option } from "commander";
import { GatewayError, readLines, type World } from "icdpo-gateway/laboratory";
import { measuresOf } from "../answers-report.ts";
import { type PaperRow, paperRowSchema, paperTable } from "../paper-table.ts";

interface TableOptions {
  readonly measure?: string;
  readonly columns: "all" | "total";
}

export function tableCommand(_world: World): Command {
  return new Command("table")
    .description("results of several runs of `eval systems`, a model or a teacher each, in one table as the paper's")
    .argument("<folders...>", "what --out named")
    .option("--measure <text>", "the measure whose name holds this text (default: the first)")
    .addOption(
      new Option("--columns <which>", "each data set and their mean, or the mean alone")
        .choices(["all", "total"])
        .default("all"),
    )
    .action(async (folders: readonly string[], options: TableOptions) => {
      const rows: PaperRow[] = [];
      for (const folder of folders) rows.push(...(await readRows(path.join(folder, "answers.jsonl"))));
      const measures = measuresOf(rows);
      const measure = measures.find(({ name }) => name.includes(options.measure ?? ""));
      if (measure === undefined)
        throw new GatewayError(
          "invalid_request",
          `No measure is called so. Known: ${measures.map(({ name }) => name).join("; ")}.`,
        );
      process.stdout.write(paperTable(rows, measure, options.columns));
    });
}

async function readRows(file: string): Promise<PaperRow[]> {
  const rows: PaperRow[] = [];
  for await (const { number, value } of readLines(file)) {
    const parsed = paperRowSchema.safeParse(value);
    if (!parsed.success) throw new GatewayError("invalid_request", `${file}:${number} is no row of \`eval systems\`.`);
    rows.push(parsed.data);
  }
  return rows;
}
