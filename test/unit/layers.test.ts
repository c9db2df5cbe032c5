/**
 * Imports point one way: a room may use those that stand before it in the list, never those after it. The laboratories
 * beside `src` use what one module lists.
 */
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";

const root = path.resolve(import.meta.dirname, "../..");
const source = path.join(root, "src");
const rooms = [
  ..."types text async system client models constraint engine retrieval reward policy demonstrations".split(" "),
  ..."experiment records icdpo access gateway telemetry http web app.ts node worker commands laboratory.ts".split(" "),
];

/** Each file of `src` with the files that it imports, relative to `src`, and the packages and built-in modules. */
const files = sourcesOf(source);
const imports = new Map(files.map((file) => [file, importsOf(source, file)]));
const laboratories = ["lab", "bench"].map((name) => {
  const folder = path.join(root, name);
  return { name, folder, own: sourcesOf(folder) };
});

function sourcesOf(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).filter((file) => /\.tsx?$/u.test(file));
}

function importsOf(folder: string, file: string): readonly string[] {
  const text = readFileSync(path.join(folder, file), "utf8");
  const named = [...text.matchAll(/^(?:import|export)\s(?:[^"]*?\sfrom\s)?"([^"]+)"|import\("([^"]+)"\)/gmu)];
  return named.map(([, first, second]) => resolved(file, first ?? second ?? ""));
}

function resolved(file: string, name: string): string {
  return name.startsWith(".") ? path.posix.join(path.posix.dirname(file), name).replace(/\.js$/u, ".ts") : name;
}

function roomOf(file: string): string {
  return file.split("/")[0] ?? "";
}

/** All files that a file needs, itself included. */
function reachedFrom(file: string, reached = new Set<string>()): Set<string> {
  if (reached.has(file)) return reached;
  reached.add(file);
  for (const imported of imports.get(file) ?? []) if (imports.has(imported)) reachedFrom(imported, reached);
  return reached;
}

describe("imports", () => {
  it("are of rooms that the list names", () => {
    expect(new Set(files.map(roomOf))).toEqual(new Set(rooms));
  });

  it("point one way", () => {
    const wrong = [...imports].flatMap(([file, names]) =>
      names
        .filter((name) => imports.has(name) && rooms.indexOf(roomOf(name)) > rooms.indexOf(roomOf(file)))
        .map((name) => `${file} imports ${name}`),
    );
    expect(wrong).toEqual([]);
  });

  it("are of files whose names occur once, but for those that open a room", () => {
    const all = [...files, ...laboratories.flatMap(({ own }) => own)];
    const names = all
      .map((file) => path.posix.basename(file).replace(/\.tsx?$/u, ""))
      .filter((name) => name !== "index");
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  });

  it.each(laboratories)("of $name are of its own files, and of one of the gateway", ({ folder, own }) => {
    const wrong = own.flatMap((file) =>
      importsOf(folder, file)
        .filter((name) => /^(?:\.|icdpo|@icdpo)/u.test(name) || name.endsWith(".ts"))
        .filter((name) => !own.includes(name) && name !== "icdpo-gateway/laboratory")
        .map((name) => `${file} imports ${name}`),
    );
    expect(own).toContain("index.ts");
    expect(wrong).toEqual([]);
  });

  it("of a worker need nothing of Node", () => {
    const needed = [...reachedFrom("worker/main.ts")];
    const wrong = needed.flatMap((file) =>
      (imports.get(file) ?? []).filter((name) => name.startsWith("node:")).map((name) => `${file} imports ${name}`),
    );
    expect(needed).toContain("app.ts");
    expect(wrong).toEqual([]);
  });
});
