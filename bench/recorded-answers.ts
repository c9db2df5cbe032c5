/**
 * @module A program that records answers in bulk, apart from the process that is measured: `node recorded-answers.js
 * URL COUNT`.
 */
import { createClient } from "@libsql/client";
import { Database } from "icdpo-gateway/laboratory";

/** Answers in one transaction. */
const portion = 50_000;
const announced = 500_000;

/** Of an experiment with two arms, each another user's, every fiftieth a failure and every tenth rated. */
async function record(url: string, answers: number): Promise<void> {
  (await Database.open({ url })).close();
  const client = createClient({ url });
  await client.execute("PRAGMA synchronous = OFF");
  await client.execute("PRAGMA cache_size = -500000");
  for (let from = 0; from < answers; from += portion) {
    const until = Math.min(from + portion, answers);
    await client.batch([answersSql(from, until), ratingsSql(from, until)], "write");
    if (until % announced === 0) process.stdout.write(`${until.toLocaleString("en")} answers recorded\n`);
  }
  client.close();
}

function numbers(from: number, until: number): string {
  return `WITH RECURSIVE numbers (n) AS (SELECT ${from} UNION ALL SELECT n + 1 FROM numbers WHERE n + 1 < ${until})`;
}

function answersSql(from: number, until: number): string {
  return `INSERT INTO answers (id, at, route, policy, experiment, arm, unit, shares, latency_ms, prompt_tokens, completion_tokens, work_tokens,
      candidates, score, margin, finish, error)
    ${numbers(from, until)}
    SELECT 'chatcmpl-' || n, 1700000000000 + 10 * n, 'ab', CASE n % 2 WHEN 0 THEN 'treatment@1' ELSE 'control@1' END, 'ab',
      CASE n % 2 WHEN 0 THEN 'treatment' ELSE 'control' END, lower(hex(randomblob(16))), '{"treatment":0.5,"control":0.5}',
      500 + abs(random() % 3000) / 7.0, 100, 1 + abs(random() % 64), 500 + abs(random() % 1000), 3, (random() % 1000) / 100.0, 0.5, 'stop',
      CASE abs(random() % 50) WHEN 0 THEN 'timeout' END
    FROM numbers`;
}

function ratingsSql(from: number, until: number): string {
  return `INSERT INTO feedback ${numbers(from, until)}
    SELECT 'chatcmpl-' || n, 'rating', abs(random() % 2), NULL, 1700000000000 + 10 * n FROM numbers WHERE n % 10 = 0`;
}

const [, , url = "", count = ""] = process.argv;
await record(url, Number(count));
