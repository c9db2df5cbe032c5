import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig, type TestProjectConfiguration } from "vitest/config";
import { missingWorkerd } from "./test/needs.ts";

/**
 * The app's tests that need nothing of Node: they run where Workers run as well. vitest itself needs nodejs_compat
 * there; the built worker does without.
 */
const app = [
  "app",
  "icdpo/blocks",
  "icdpo/candidate-text",
  "icdpo/choose",
  "icdpo/contexts",
  "icdpo/measure",
  "http/completions/completions",
  "http/endpoints/embeddings",
  "gateway/generation",
  "http/messages/messages",
  "icdpo/pipeline",
  "policy/policy",
  "icdpo/prompt",
  "icdpo/sample",
  "icdpo/score",
  "icdpo/scorer",
  "icdpo/seed",
  "icdpo/strategy",
  "icdpo/token-usage",
  "icdpo/whole-answers",
  "http/responses/responses",
  "retrieval/retrieval",
  "gateway/schemas",
  "gateway/tools",
];

/** Limits are there for what hangs, not for what is slow: the machine may have other work. */
const minute = 60_000;
const patience = { testTimeout: 2 * minute, hookTimeout: 5 * minute, expect: { poll: { timeout: minute } } };

/**
 * The gateway's own limits, where a busy machine would reach those that it has by default; one thread, so that engines
 * can work side by side; and little memory, which is ready sooner.
 */
const patientGateway = {
  ICDPO_THREADS: "1",
  ICDPO_CONTEXT_SIZE: "1024",
  ICDPO_SEQUENCES: "8",
  ICDPO_TIMEOUT_MS: String(15 * minute),
  ICDPO_QUEUE_TIMEOUT_MS: String(15 * minute),
  ICDPO_RETRIEVE_TIMEOUT_MS: String(15 * minute),
  ICDPO_HANG_MS: String(5 * minute),
  ICDPO_DRAIN_MS: String(5 * minute),
};

/** The laboratories' one import of the gateway is of its source, as the tests' own imports are. */
const laboratories = { "icdpo-gateway/laboratory": fileURLToPath(new URL("src/laboratory.ts", import.meta.url)) };

/** None where workerd has no binary for the machine. */
async function workerProjects(): Promise<TestProjectConfiguration[]> {
  const reason = missingWorkerd();
  if (reason !== null) {
    console.warn(`workerd does not run here, and its tests are left out: ${reason}`);
    return [];
  }
  const { cloudflareTest } = await import("@cloudflare/vitest-pool-workers");
  return [
    {
      plugins: [
        cloudflareTest({ miniflare: { compatibilityDate: "2026-04-01", compatibilityFlags: ["nodejs_compat"] } }),
      ],
      test: { ...patience, name: "workerd", include: app.map((name) => `test/unit/${name}.test.ts`) },
    },
    {
      test: { ...patience, name: "worker", include: ["test/worker/**/*.test.ts"], globalSetup: "test/worker/setup.ts" },
    },
  ];
}

export default defineConfig({
  test: {
    reporters: ["default", "./test/lacking.ts"],
    // vitest leaves a core free: of two, that would be half.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    projects: [
      {
        resolve: { alias: laboratories },
        test: {
          ...patience,
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          // Each worker loads the program once, not once for each file: half of the time went into that.
          isolate: false,
        },
      },
      ...(await workerProjects()),
      {
        test: {
          ...patience,
          name: "abuse",
          include: ["test/abuse/**/*.test.ts"],
          // One file at a time, and nothing beside it: what delays the event loop is to be the file's own.
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          ...patience,
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: "test/integration/setup.ts",
          setupFiles: "test/integration/patience.ts",
          testTimeout: 10 * minute,
          env: patientGateway,
          // As many engines of one thread as the smallest machines have cores: two on two cores get more done than one
          // of two threads.
          maxWorkers: 2,
          // After the others, which take every core.
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
