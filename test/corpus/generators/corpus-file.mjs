/** @module Writes one file of the corpus: one schema a line, so that a new version's changes can be read. */
import { readFileSync, writeFileSync } from "node:fs";

/** The version of a package that is installed beside these scripts. */
export function versionOf(name) {
  return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), "utf8")).version;
}

/** `schemas`: `{ name, kind: "tool" | "output", strict, schema }` */
export function writeCorpus(generator, version, schemas) {
  const lines = schemas.map(({ name, kind, strict = false, schema }) => JSON.stringify({ name, kind, strict, schema }));
  const head = `{\n"generator": ${JSON.stringify(generator)},\n"version": ${JSON.stringify(version)},\n"schemas": [\n`;
  // npm's names have what files cannot: @scope/name.
  const file = new URL(`../schemas/${generator.replace(/^@/u, "").replaceAll("/", "-")}.json`, import.meta.url);
  writeFileSync(file, `${head}${lines.join(",\n")}\n]\n}\n`);
  console.log(`${generator} ${version}: ${lines.length}`);
}
