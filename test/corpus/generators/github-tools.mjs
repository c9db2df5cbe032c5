/**
 * @module The tools of GitHub's MCP server, which is written in Go: its repository keeps them as its tests find them.
 * `node github-tools.mjs CLONE`, a clone of github/github-mcp-server at v1.10.1 (MIT).
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { writeCorpus } from "./corpus-file.mjs";

const folder = path.join(process.argv[2] ?? "github-mcp-server", "pkg/github/__toolsnaps__");
const schemas = readdirSync(folder)
  .filter((file) => file.endsWith(".snap"))
  .sort()
  .map((file) => JSON.parse(readFileSync(path.join(folder, file), "utf8")))
  .map(({ name, inputSchema }) => ({ name, kind: "tool", schema: inputSchema }));
writeCorpus("github-mcp-server", "1.10.1", schemas);
