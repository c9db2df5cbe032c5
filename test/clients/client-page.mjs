/** @module docs/clients.md as the check `clients` uses it: its blocks are run as they stand, its table is written. */
import { readFileSync, writeFileSync } from "node:fs";

const page = new URL("../../docs/clients.md", import.meta.url);
const marks = ["<!-- what the last run saw -->", "<!-- the end of it -->"];

/** The code blocks `{ language, code }` under the heading `name`, with this gateway's address and key. */
export function blocksOf(name, { url, key }) {
  const section = `\n${readFileSync(page, "utf8")}`.split(/\n## /u).find((text) => text.startsWith(`${name}\n`));
  if (section === undefined) throw new Error(`docs/clients.md has no heading "${name}"`);
  return [...section.matchAll(/^```(\w+)\n(.*?)^```$/gmsu)].map(([, language, code]) => ({
    language,
    code: code
      .replaceAll("http://127.0.0.1:8080", url)
      .replaceAll("127.0.0.1:8080", new URL(url).host)
      .replaceAll("any-key", key),
  }));
}

export function writeTable(rows) {
  const text = readFileSync(page, "utf8");
  const [before, , after] = text.split(new RegExp(`(${marks[0]}).*?(?=${marks[1]})`, "su"));
  writeFileSync(page, `${before}${marks[0]}\n${rows.join("\n")}\n${after}`);
}
