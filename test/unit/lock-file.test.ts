/** The lock file says what every package must hash to. */
import { readFileSync } from "node:fs";
import { expect, it } from "vitest";

interface Entry {
  readonly version?: string;
  readonly integrity?: string;
  readonly resolved?: string;
  readonly link?: boolean;
  readonly optional?: boolean;
  readonly os?: readonly string[];
  readonly cpu?: readonly string[];
}

const { packages } = JSON.parse(readFileSync(new URL("../../package-lock.json", import.meta.url), "utf8")) as {
  readonly packages: Readonly<Record<string, Entry>>;
};

/**
 * Binaries for other platforms than Linux on x86-64 or arm64, which no registry at hand had. What has a hash by now
 * must leave this list.
 */
const unknown = [
  "linux-riscv64",
  "mac-arm64-metal",
  "mac-x64",
  "win-arm64",
  "win-x64",
  "win-x64-cuda",
  "win-x64-cuda-ext",
  "win-x64-vulkan",
].map((name) => `node_modules/@node-llama-cpp/${name}`);

const installed = Object.entries(packages).filter(
  ([place, { link }]) => place.startsWith("node_modules/") && link !== true,
);

it("every package has a SHA-512, but for those that are named", () => {
  const without = installed.filter(([, { integrity }]) => !integrity?.startsWith("sha512-")).map(([place]) => place);
  expect(without.toSorted()).toEqual(unknown.toSorted());
});

it("no package that is installed on the platforms of CI and the images is without", () => {
  for (const place of unknown) {
    const { optional, os = [], cpu = [] } = packages[place] as Entry;
    expect(optional).toBe(true);
    expect(os.includes("linux") && (cpu.includes("x64") || cpu.includes("arm64"))).toBe(false);
  }
});

it("none is fetched from an address of its own", () => {
  expect(installed.filter(([, { resolved }]) => resolved !== undefined)).toEqual([]);
});
