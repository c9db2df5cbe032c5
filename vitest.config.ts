import { defineConfig, type TestProjectConfiguration } from "vitest/config";
import { missingWorkerd } from "./test/needs.ts";

/** The app's tests that need nothing of Node: they run where Workers run as well. vitest itself needs nodejs_compat there; the built worker does without. */
const app = ["app", "blocks", "completions", "embeddings", "generation", "pipeline", "policy", "prompt", "responses", "retrieval", "tools"];

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
      plugins: [cloudflareTest({ miniflare: { compatibilityDate: "2026-04-01", compatibilityFlags: ["nodejs_compat"] } })],
      test: { name: "workerd", include: app.map((name) => `test/unit/${name}.test.ts`), testTimeout: 30_000 },
    },
    {
      test: {
        name: "worker",
        include: ["test/worker/**/*.test.ts"],
        globalSetup: "test/worker/setup.ts",
        testTimeout: 60_000,
        hookTimeout: 60_000,
      },
    },
  ];
}

export default defineConfig({
  test: {
    reporters: ["default", "./test/lacking.ts"],
    projects: [
      { test: { name: "unit", include: ["test/unit/**/*.test.ts"], testTimeout: 10_000 } },
      ...(await workerProjects()),
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          globalSetup: "test/integration/setup.ts",
          testTimeout: 120_000,
          hookTimeout: 120_000,
          // One engine at a time: two would halve each other's speed.
          fileParallelism: false,
        },
      },
    ],
  },
});
