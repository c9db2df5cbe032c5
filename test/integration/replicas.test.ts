/**
 * @module One vLLM of two is killed under load: `ICDPO_TEST_VLLM_URLS`, two base URLs with a comma between, and
 * `ICDPO_TEST_VLLM_PID`, the process group of the first one's server, which is ended by SIGKILL. `npm run check --
 * replicas`.
 */
import { mkdirSync, mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { needing } from "../needs.ts";
import { post, startGateway } from "./gateway.ts";

const urls = process.env["ICDPO_TEST_VLLM_URLS"]?.split(",") ?? [];
const pid = Number(process.env["ICDPO_TEST_VLLM_PID"]);
const requests = 20;
const minutes = 60_000;

const policies = {
  "scored.yaml": `candidates: 3
instructions: {}
score: { type: contrast, negative: rejected }
sampling: { max_tokens: 48 }
`,
  "routes.yaml": "routes: { icdpo: { policy: scored } }\n",
};

describe("two vLLMs", needing("two-vllms"), () => {
  it(
    "lose no request that had not begun to stream when one is killed under load",
    async () => {
      const folder = mkdtempSync(path.join(tmpdir(), "icdpo-replicas-"));
      const engines = path.join(folder, "engines.yaml");
      writeFileSync(engines, `engines: { default: { type: vllm, urls: ${JSON.stringify(urls)} } }\n`);
      const directory = path.join(folder, "policies");
      mkdirSync(directory);
      for (const [name, text] of Object.entries(policies)) writeFileSync(path.join(directory, name), text);
      const gateway = await startGateway({ ICDPO_ENGINES: engines, ICDPO_POLICIES: directory });
      try {
        const ask = (i: number) =>
          post(`${gateway.url}/v1/chat/completions`, {
            model: "icdpo",
            messages: [{ role: "user", content: `${i}: how do magnets work?` }],
          });
        await Promise.all([ask(-1), ask(-2)]);
        let done = 0;
        const all = Array.from({ length: requests }, async (_, i) => {
          const answer = await ask(i);
          done += 1;
          if (done === 3) process.kill(-pid, "SIGKILL");
          return answer;
        });
        const answers = await Promise.all(all);
        console.log(
          gateway
            .log()
            .split("\n")
            .filter((line) => line.includes("engine"))
            .join("\n"),
        );
        console.log(JSON.stringify(await (await fetch(`${gateway.url}/health`)).json()));
        expect(answers.map(({ status }) => status)).toEqual(Array.from({ length: requests }, () => 200));
      } finally {
        await gateway.stop();
      }
    },
    10 * minutes,
  );
});
