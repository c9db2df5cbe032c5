/**
 * @module The clients of the check `clients`, and how they come to be here: each program in a folder of its own,
 * at a version that stands below, kept from run to run (`ICDPO_CHECK_FOLDER`, by default in the user's cache folder).
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";

export const folder = process.env.ICDPO_CHECK_FOLDER || path.join(homedir(), ".cache", "icdpo-gateway-clients");
const here = import.meta.dirname;
const libraries = readFileSync(path.join(here, "requirements.txt"), "utf8").trim().split("\n");

/**
 * `name` is its heading in docs/clients.md. `python`: packages of an environment; `npm`: packages of a folder; neither:
 * a library of package.json, or a program that is there. `serves`: its page starts a server, which the script does.
 * `wantsLarger`: its first message is more than the default model can hold.
 */
export const clients = [
  { name: "Open WebUI", script: "open-webui.mjs", serves: true, python: openWebUi("0.12.4") },
  { name: "OpenAI Codex", script: "codex.mjs", npm: ["@openai/codex@0.171.0"] },
  { name: "Claude Code", script: "claude-code.mjs", npm: ["@anthropic-ai/claude-code@2.1.197"] },
  { name: "Qwen Code", script: "qwen-code.mjs", wantsLarger: true, npm: ["@qwen-code/qwen-code@0.24.4"] },
  { name: "aider", script: "aider.mjs", python: ["aider-chat==0.86.2"] },
  { name: "llm", script: "llm.mjs", python: ["llm==0.36"] },
  // The newest one whose proxy can be installed whole: later ones need a package that not every registry has.
  { name: "LiteLLM", script: "litellm.mjs", serves: true, python: ["litellm[proxy]==1.108.7"] },
  {
    name: "lm-evaluation-harness",
    script: "lm-eval.mjs",
    python: ["lm-eval[api]==0.4.13", "transformers==5.5.4", "gguf==0.17.1"],
  },
  { name: "promptfoo", script: "promptfoo.mjs", npm: ["promptfoo@0.121.20"] },
  { name: "Inspect", script: "inspect_python.py", python: ["inspect-ai==0.3.285", "openai==3.57.0"] },
  { name: "Instructor", script: "instructor_python.py", python: ["instructor==1.17.0"] },
  { name: "Pydantic AI", script: "pydantic_ai_python.py", python: ["pydantic-ai-slim[openai]==2.66.0"] },
  { name: "OpenAI Agents SDK", script: "openai_agents_python.py", python: ["openai-agents==0.24.0"] },
  { name: "DSPy", script: "dspy_python.py", python: ["dspy==3.4.1"] },
  { name: "smolagents", script: "smolagents_python.py", python: ["smolagents[openai]==1.26.0"] },
  { name: "LangChain for Python", script: "langchain_python.py", python: libraries },
  { name: "LangChain for JavaScript", script: "langchain.mjs" },
  { name: "Vercel's AI SDK", script: "ai-sdk.mjs" },
  { name: "OpenAI's client for Python", script: "openai_python.py", python: libraries },
  { name: "OpenAI's client for Node", script: "openai.mjs" },
  { name: "Anthropic's client for Python", script: "anthropic_python.py", python: libraries },
  { name: "Anthropic's client for Node", script: "anthropic.mjs" },
  { name: "curl", script: "curl.mjs" },
];

/** All that it asks for but PyTorch and what needs it: embeddings come from the gateway. */
function openWebUi(version) {
  return [`open-webui==${version}`, "!accelerate", "!sentence-transformers"];
}

/** The folders of its programs, first to be looked in. Throws, with the installer's reason, where it cannot be had. */
export function install({ script, python, npm }) {
  if (python === undefined && npm === undefined) return [];
  const home = path.join(folder, python === libraries ? "libraries" : path.parse(script).name);
  const stamp = path.join(home, "installed.json");
  const wanted = JSON.stringify(python ?? npm);
  if (!existsSync(stamp) || readFileSync(stamp, "utf8") !== wanted) {
    rmSync(home, { recursive: true, force: true });
    mkdirSync(home, { recursive: true });
    if (python !== undefined) installPython(home, python);
    else installNpm(home, npm);
    writeFileSync(stamp, wanted);
  }
  return [path.join(home, python === undefined ? "node_modules/.bin" : "venv/bin")];
}

export function installLibraries() {
  run("npm", ["ci", "--silent", "--no-audit", "--no-fund"], here);
}

function installNpm(home, packages) {
  writeFileSync(path.join(home, "package.json"), '{ "private": true }');
  run("npm", ["install", "--silent", "--no-audit", "--no-fund", ...packages], home);
}

/** `!name`: a package that the first one asks for, and goes without. */
function installPython(home, packages) {
  const pip = [path.join(home, "venv", "bin", "python"), "-m", "pip", "--quiet", "--disable-pip-version-check"];
  const without = packages.filter((name) => name.startsWith("!")).map((name) => name.slice(1));
  const wanted = packages.filter((name) => !name.startsWith("!"));
  run("python3", ["-m", "venv", path.join(home, "venv")], home);
  if (without.length === 0) return run(pip[0], [...pip.slice(1), "install", ...wanted], home);
  run(pip[0], [...pip.slice(1), "install", "--no-deps", ...wanted], home);
  const asked = run(pip[0], ["-c", requirementsOf, wanted[0].split("==")[0], ...without], home);
  return run(pip[0], [...pip.slice(1), "install", ...asked.trim().split("\n")], home);
}

const requirementsOf = `
import re, sys
from importlib.metadata import requires
names = [line for line in requires(sys.argv[1]) if "extra ==" not in line]
print("\\n".join(line for line in names if re.split("[^\\\\w.-]", line)[0] not in sys.argv[2:]))
`;

function run(command, args, cwd) {
  const { status, error, stdout, stderr } = spawnSync(command, args, { cwd, encoding: "utf8", maxBuffer: 1 << 26 });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(stderr.trim().split("\n").slice(-3).join(" ").slice(0, 400));
  return stdout;
}
