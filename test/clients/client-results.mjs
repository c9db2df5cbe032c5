/** @module What the check `clients` saw, client by client: kept from run to run, and the table of it. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { writeTable } from "./client-page.mjs";
import { clients, folder } from "./programs.mjs";

const file = path.join(folder, "results.json");
const { ICDPO_CHECK_LARGER_MODEL: largerModel } = process.env;

/** Keeps it beside the last ones of other clients; with `--write`, all of them stand on the page. */
export function keep(column) {
  const all = existsSync(file) ? JSON.parse(readFileSync(file, "utf8")) : {};
  all[column.name] = { ...column, largerModel };
  writeFileSync(file, JSON.stringify(all));
  if (!process.argv.includes("--write")) return;
  const seen = clients.flatMap(({ name }) => (all[name] === undefined ? [] : [all[name]]));
  const models = new Set(seen.flatMap((column) => (usesLarger(column) ? [path.parse(column.largerModel).name] : [])));
  const note = models.size > 0 ? [`¹ With ${[...models].join(", ")}; the rest with the default model.`, ""] : [];
  writeTable(["", "| client | seen | works | does not |", "|---|---|---|---|", ...seen.map(rowOf), "", ...note]);
}

function usesLarger({ results, largerModel: model }) {
  return model !== undefined && Object.values(results).some(({ larger }) => larger);
}

/** A line of the table. */
export function rowOf({ client, results, missing, at }) {
  if (missing !== undefined) return `| ${client} | ${at} | | not installed: ${missing.replace(/\s+/gu, " ")} |`;
  const named = (test) => Object.entries(results).filter(([, result]) => test(result));
  const works = named(({ ok }) => ok).map(([feature, { larger }]) => (larger ? `${feature}¹` : feature));
  const fails = named(({ ok }) => ok === false).map(([feature]) => `**${feature}**`);
  const skips = named(({ skipped }) => skipped).map(([feature, { skipped }]) => `${feature} (not run: ${skipped})`);
  return `| ${client} | ${at} | ${works.join("; ")} | ${[...fails, ...skips].join("; ")} |`;
}
