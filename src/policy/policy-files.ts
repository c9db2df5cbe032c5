/** @module Reads policies, routes and demonstrations from their folders, and notices when they change. */
import { createHash } from "node:crypto";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { once } from "../async/once.ts";
import { pause } from "../async/pause.ts";
import { readText } from "../system/text-files.ts";
import { GatewayError } from "../types/error.ts";
import { parseDemonstrations } from "./parse.ts";
import type { DemonstrationSource, PolicyFiles } from "./parsed-policies.ts";

export interface PolicyFolders {
  readonly policies: string;
  readonly demonstrations: string;
}

export interface DemonstrationFile extends DemonstrationSource {
  text(): Promise<string>;
}

export interface FolderFiles extends PolicyFiles {
  readonly demonstrations: ReadonlyMap<string, DemonstrationFile>;
}

/** File → what changes when the file does. */
type Stamps = ReadonlyMap<string, string>;

/** Files may change while they are read; then they are read again. */
const mostAttempts = 10;

export class PolicyFolder {
  readonly #folders: PolicyFolders;
  /** Stamp of a demonstration file → its hash: large files are read when they have changed, not each time. */
  readonly #hashes = new Map<string, string>();
  #seen: Stamps = new Map();

  constructor(folders: PolicyFolders) {
    this.#folders = folders;
  }

  /** All files as they stood at one moment. Throws "configuration" where a folder or routes.yaml cannot be read. */
  async read(): Promise<FolderFiles> {
    for (let attempt = 1; attempt <= mostAttempts; attempt++) {
      const before = await this.#stamps();
      this.#seen = before;
      const files = await this.#readOnce(before);
      if (isSame(before, await this.#stamps())) return files;
    }
    throw new GatewayError(
      "configuration",
      `The files in ${this.#folders.policies} or ${this.#folders.demonstrations} do not stop changing.`,
    );
  }

  /** Whether the files are others than those read last, and nobody is writing them just now. */
  async hasChanged(settleMs: number): Promise<boolean> {
    const now = await this.#stamps();
    if (isSame(now, this.#seen)) return false;
    await pause(settleMs);
    return isSame(now, await this.#stamps());
  }

  async #readOnce(stamps: Stamps): Promise<FolderFiles> {
    const policies = new Map<string, string>();
    const demonstrations = new Map<string, DemonstrationFile>();
    for (const [file, stamp] of stamps)
      if (file.endsWith(".yaml")) policies.set(path.basename(file, ".yaml"), await readText(file));
      else demonstrations.set(path.basename(file, ".jsonl"), this.#demonstrationFile(file, stamp));
    const routes = policies.get("routes");
    if (routes === undefined)
      throw new GatewayError(
        "configuration",
        `${path.join(this.#folders.policies, "routes.yaml")} is missing: it says which policy serves which route.`,
      );
    policies.delete("routes");
    return { policies, routes, demonstrations };
  }

  #demonstrationFile(file: string, stamp: string): DemonstrationFile {
    const readWhole = async (): Promise<string> => {
      const text = await readText(file);
      if ((await stampOf(file)) !== stamp)
        throw new GatewayError("configuration", `${file} was changed while it was read.`);
      return text;
    };
    let read = once(readWhole);
    const text = async (): Promise<string> => {
      const whole = await read();
      // Read once for its hash and once for its lines; not kept any longer.
      read = once(readWhole);
      return whole;
    };
    return {
      text,
      read: async (name) => parseDemonstrations(name, await text()),
      hash: async () => {
        const known = this.#hashes.get(`${file}\0${stamp}`);
        if (known !== undefined) return known;
        const hash = createHash("sha256")
          .update(await read())
          .digest("hex");
        this.#hashes.set(`${file}\0${stamp}`, hash);
        return hash;
      },
    };
  }

  async #stamps(): Promise<Stamps> {
    const { policies, demonstrations } = this.#folders;
    const files = [...(await listFolder(policies, ".yaml")), ...(await listFolder(demonstrations, ".jsonl"))];
    const stamps = await Promise.all(files.map(stampOf));
    return new Map(files.map((file, i) => [file, stamps[i] as string]));
  }
}

function isSame(a: Stamps, b: Stamps): boolean {
  return a.size === b.size && [...a].every(([file, stamp]) => b.get(file) === stamp);
}

/** Changes when a file is written, moved here, or is gone. */
async function stampOf(file: string): Promise<string> {
  return stat(file, { bigint: true }).then(
    ({ size, ino, mtimeNs, ctimeNs }) => [size, ino, mtimeNs, ctimeNs].join("-"),
    () => "gone",
  );
}

async function listFolder(directory: string, extension: string): Promise<string[]> {
  const names = await readdir(directory).catch((error: Error) => {
    throw new GatewayError("configuration", `${directory} cannot be read: ${error.message}`, { cause: error });
  });
  return names
    .filter((name) => name.endsWith(extension))
    .toSorted()
    .map((name) => path.join(directory, name));
}
