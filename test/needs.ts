/** @module What some tests need that does not come with the project: whether it is at hand, and what brings it. */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";

const { env } = process;

/** HH-RLHF pairs and reference sums. */
export const dataFolder = env["ICDPO_TEST_DATA"];
/** An F32 copy of the default model. */
export const f32Model = env["ICDPO_TEST_F32_MODEL"];
export const chromiumProgram =
  env["ICDPO_TEST_CHROMIUM"] ?? ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((file) => existsSync(file));

export interface Supply {
  readonly isAtHand: () => boolean;
  /** For people: the variable or the command. */
  readonly broughtBy: string;
}

const variable = (name: string, what: string): Supply => ({
  isAtHand: () => env[name] !== undefined,
  broughtBy: `${name}: ${what}`,
});

export const supplies = {
  data: variable("ICDPO_TEST_DATA", "a folder with HH-RLHF pairs and reference sums"),
  "f32-model": variable(
    "ICDPO_TEST_F32_MODEL",
    "an F32 copy of the default model, dequantised with the Python package gguf",
  ),
  "rank-bm25": variable("ICDPO_TEST_RANK_BM25_PYTHON", "a Python with the package rank_bm25"),
  "openai-spec": variable("ICDPO_TEST_OPENAI_SPEC", "the openapi.json that OpenAI publishes"),
  "llama-server": variable("ICDPO_TEST_LLAMA_SERVER", "the URL of a llama-server"),
  "llama-cpp-python": variable("ICDPO_TEST_LLAMA_CPP_PYTHON", "the URL of a server of llama-cpp-python"),
  vllm: variable("ICDPO_TEST_VLLM", "the URL of a vLLM; npm run check -- vllm"),
  "two-vllms": {
    isAtHand: () => env["ICDPO_TEST_VLLM_URLS"]?.split(",").length === 2 && env["ICDPO_TEST_VLLM_PID"] !== undefined,
    broughtBy:
      "ICDPO_TEST_VLLM_URLS, two with a comma between, and ICDPO_TEST_VLLM_PID, the first one's process; npm run check -- replicas",
  },
  "every-row": { isAtHand: () => env["ICDPO_TEST_ROWS"] === "all", broughtBy: "npm run check -- reference" },
  chromium: {
    isAtHand: () => chromiumProgram !== undefined,
    broughtBy: "apt-get install chromium, or ICDPO_TEST_CHROMIUM: the program",
  },
  python: {
    isAtHand: () => spawnSync("python3", ["-c", "import zipfile"]).status === 0,
    broughtBy: "apt-get install python3",
  },
  "python-gguf": {
    isAtHand: () => spawnSync("python3", ["-c", "import gguf, numpy"]).status === 0,
    broughtBy: "pip install gguf numpy, for the python3 in PATH",
  },
  workerd: {
    isAtHand: () => missingWorkerd() === null,
    broughtBy: "Linux with glibc, macOS or Windows on x64 or arm64",
  },
} satisfies Record<string, Supply>;

export type Need = keyof typeof supplies;

declare module "vitest" {
  interface TaskMeta {
    /** What a skipped test lacks. */
    lacks?: readonly Need[];
  }
}

/**
 * Options of a test, or of a group of them: skipped where something is not at hand. `test/lacking.ts` says so at the
 * end of the run. Of nested groups the innermost says all.
 */
export function needing(...needs: readonly Need[]): {
  readonly skip?: true;
  readonly meta?: { readonly lacks: readonly Need[] };
} {
  const lacks = needs.filter((need) => !supplies[need].isAtHand());
  return lacks.length === 0 ? {} : { skip: true, meta: { lacks } };
}

/** Why Cloudflare's runtime does not run on this machine; null where it does. */
export function missingWorkerd(): string | null {
  try {
    const { default: binary } = createRequire(createRequire(import.meta.url).resolve("miniflare"))("workerd") as {
      default: string;
    };
    execFileSync(binary, ["--version"], { stdio: "ignore" });
    return null;
  } catch (error) {
    return String(error);
  }
}
