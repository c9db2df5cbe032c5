/**
 * @module `npm run check -- schemathesis`: schemathesis makes up requests from /openapi.json, and holds what comes to
 * it. No 5xx, nothing undescribed.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { python, startGateway, temporaryFolder } from "./gateway.mjs";

const leastCases = 2_000;
const examples = process.env.ICDPO_TEST_EXAMPLES ?? "300";
const checks = [
  "not_a_server_error",
  "status_code_conformance",
  "content_type_conformance",
  "response_schema_conformance",
];

const folder = temporaryFolder("schemathesis");
const programs = python(folder, ["schemathesis==4.32.5"]);
const policies = path.join(folder, "policies");
mkdirSync(policies);
const sampling = "sampling: { max_tokens: 4 }\n";
writeFileSync(path.join(policies, "plain.yaml"), `candidates: 1\nscore: { type: none }\n${sampling}`);
writeFileSync(
  path.join(policies, "scored.yaml"),
  `candidates: 2\ninstructions: {}\nscore: { type: contrast, negative: rejected }\n${sampling}`,
);
// Model names are made up too: they are served by the default route.
writeFileSync(
  path.join(policies, "routes.yaml"),
  "routes: { plain: { policy: plain }, icdpo: { policy: scored } }\ndefault: plain\n",
);

const gateway = await startGateway({ ICDPO_POLICIES: policies, ICDPO_CONTEXT_SIZE: "128", ICDPO_LOG_LEVEL: "error" });
const report = path.join(folder, "report.ndjson");
const { status } = spawnSync(
  path.join(programs, "schemathesis"),
  [
    ...["run", `${gateway.url}/openapi.json`, "--checks", checks.join(","), "--phases", "examples,coverage,fuzzing"],
    ...[
      "--max-examples",
      examples,
      "--seed",
      "1",
      "--workers",
      "1",
      "--request-timeout",
      "60",
      "--suppress-health-check",
      "all",
    ],
    ...["--warnings", "off", "--generation-database", "none", "--report-ndjson-path", report],
  ],
  { stdio: "inherit", cwd: folder },
);
gateway.stop();
const cases = readFileSync(report, "utf8")
  .split("\n")
  .reduce((count, line) => count + (line.match(/"status_code":/gu)?.length ?? 0), 0);
const isEnough = cases >= leastCases || process.env.ICDPO_TEST_EXAMPLES !== undefined;
console.log(`${cases} requests answered`);
console.log(status === 0 && isEnough ? "1 passed, 0 failed" : "0 passed, 1 failed");
process.exitCode = status === 0 && isEnough ? 0 : 1;
