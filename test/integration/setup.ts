/**
 * @module Before the integration tests: the program is built, and its models are in the cache (as `npm start` would
 * fetch them).
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { program } from "./gateway.ts";

export function setup(): void {
  if (!existsSync(program)) throw new Error("The program is not built: run `npm run build` (`npm test` does).");
  execFileSync(process.execPath, [program, "models", "fetch"], { stdio: ["ignore", "ignore", "inherit"] });
}
