/** The pages for people, held to the tree: what they name exists, links lead somewhere, lines can be read. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { endpoints } from "../../src/http/api.ts";

const root = path.resolve(import.meta.dirname, "../..");
const mostColumns = 120;
const mostReadmeLines = 120;
/** What is built, installed or fetched is no part of the tree. */
const notOurs = ["node_modules", "dist", ".git", ".wrangler", "eval"];
/** Commands of the program that have commands of their own. */
const groups = ["demos", "eval", "experiments", "keys", "models", "policies"];

const read = (file: string): string => readFileSync(path.join(root, file), "utf8");
const exists = (file: string): boolean => existsSync(path.join(root, file));
const isFolder = (file: string): boolean => statSync(path.join(root, file)).isDirectory();

/** All files and folders, relative to the root. */
const tree = readdirSync(root)
  .filter((name) => !notOurs.includes(name))
  .flatMap((name) => (isFolder(name) ? [name, ...filesBelow(name)] : [name]));
const rootNames = new Set(tree.map((file) => file.split("/")[0] ?? ""));
const baseNames = new Set(tree.map((file) => path.posix.basename(file)));
const code = tree.filter(
  (file) => !file.endsWith(".md") && /\.(?:[cm]?[jt]sx?|ya?ml|toml|example)$|file$|\/run$/u.test(file),
);

const pages = [
  "README.md",
  "ARCHITECTURE.md",
  "CONTRIBUTING.md",
  "SECURITY.md",
  ...tree.filter((file) => /^docs\/.*\.md$/u.test(file)),
];
const texts = new Map(pages.map((page) => [page, read(page)]));

function filesBelow(folder: string): string[] {
  const names = readdirSync(path.join(root, folder), { recursive: true, encoding: "utf8" });
  return names
    .filter((name) => !/(?:^|[\\/])(?:node_modules|dist)(?:[\\/]|$)/u.test(name))
    .map((name) => path.posix.join(folder, name.replaceAll("\\", "/")));
}

/** Without blocks of code. */
function prose(text: string): string {
  return text.replace(/^ *```[\s\S]*?^ *```$/gmu, "");
}

function namedInCode(text: string): string[] {
  return [...prose(text).matchAll(/`([^`]+)`/gu)].map(([, name]) => name ?? "");
}

/** What `find` finds on a page and `isKnown` does not know, by page. */
function unknown(
  find: (text: string) => readonly string[],
  isKnown: (found: string, page: string) => boolean,
): string[] {
  return [...texts].flatMap(([page, text]) =>
    find(text)
      .filter((found) => !isKnown(found, page))
      .map((found) => `${page}: ${found}`),
  );
}

/** `<name>` and `*` stand for anything within one part of a path. */
function isInTree(file: string): boolean {
  const escaped = file.replace(/\/$/u, "").replace(/[.+()[\]{}$^|\\]/gu, "\\$&");
  const pattern = new RegExp(`^${escaped.replace(/<[^>]+>|\*/gu, "[^/]+")}$`, "u");
  return tree.some((one) => pattern.test(one));
}

/** GitHub's. */
function anchorsOf(text: string): string[] {
  const headings = [...prose(text).matchAll(/^#+ (.+)$/gmu)].map(([, heading]) => heading ?? "");
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replace(/[^\p{L}\p{N} _-]/gu, "")
      .replaceAll(" ", "-"),
  );
}

function found(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match.slice(1).filter(Boolean).join(" "));
}

describe("the pages", () => {
  it("name files and folders that exist", () => {
    const isKnown = (name: string): boolean => {
      if (/^(?:unit|abuse|integration)\//u.test(name)) return isInTree(`test/${name}.test.ts`);
      return name.includes("/") ? isInTree(name) : baseNames.has(name);
    };
    const isPath = (name: string): boolean =>
      /^[\w.<>*-]+\.(?:[cm]?[jt]s|tsx)$/u.test(name) ||
      (/^[\w.<>*-]+(?:\/[\w.<>*-]*)+$/u.test(name) &&
        (rootNames.has(name.split("/")[0] ?? "") || /^(?:unit|abuse|integration)\/|\.tsx?$/u.test(name)));
    expect(unknown((text) => namedInCode(text).filter(isPath), isKnown)).toEqual([]);
  });

  it("link to files and headings that exist", () => {
    const links = (text: string): string[] =>
      found(prose(text), /\]\(([^)\s]+)\)/gu).filter((link) => !/^https?:/u.test(link));
    const leads = (link: string, page: string): boolean => {
      const [file = "", anchor] = link.split("#");
      const target = file === "" ? page : path.posix.join(path.posix.dirname(page), file);
      return exists(target) && (anchor === undefined || anchorsOf(read(target)).includes(anchor));
    };
    expect(unknown(links, leads)).toEqual([]);
  });

  it("of docs are all in its list", () => {
    const listed = new Set(found(read("docs/README.md"), /\]\(([\w-]+\.md)\)/gu));
    expect(
      readdirSync(path.join(root, "docs")).filter(
        (name) => name !== "README.md" && name.endsWith(".md") && !listed.has(name),
      ),
    ).toEqual([]);
  });

  it("name npm scripts and checks that exist", () => {
    const { scripts } = JSON.parse(read("package.json")) as { scripts: Record<string, string> };
    const checks = found(
      execFileSync(process.execPath, [path.join(root, "test/check.mjs")], { encoding: "utf8" }),
      /^ {2}(\S+)/gmu,
    );
    expect(checks).not.toEqual([]);
    expect(
      unknown(
        (text) => found(text, /npm run (?:--silent )?([\w:-]+)/gu),
        (name) => Object.hasOwn(scripts, name),
      ),
    ).toEqual([]);
    expect(
      unknown(
        (text) => found(text, /npm run check -- ([a-z][\w-]*)/gu),
        (name) => checks.includes(name),
      ),
    ).toEqual([]);
  });

  it("name commands of the program that exist", () => {
    const program = code.filter((file) => /^(?:src|lab|bench)\//u.test(file)).map(read);
    const commands = new Set(program.flatMap((text) => found(text, /(?:new Command|\.command)\("([\w-]+)/gu)));
    for (const group of groups) expect(commands).toContain(group);
    expect(
      unknown(
        (text) => found(text, /(?:`|-- )icdpo ([a-z][\w-]*)/gu),
        (name) => commands.has(name),
      ),
    ).toEqual([]);
    expect(
      unknown(
        (text) => found(text, /npm run (?:--silent )?icdpo -- ([a-z][\w-]*)/gu),
        (name) => commands.has(name),
      ),
    ).toEqual([]);
    const inGroup = new RegExp(`(?:\`|icdpo |icdpo -- )(?:${groups.join("|")}) ([a-z][\\w-]*)`, "gu");
    expect(
      unknown(
        (text) => found(text, inGroup),
        (name) => commands.has(name),
      ),
    ).toEqual([]);
  });

  it("of the API name every endpoint", () => {
    const named = namedInCode(read("docs/api.md")).map((name) =>
      name.replace(/^[A-Z]+ /u, "").replace(/\{\w+\}/gu, "{}"),
    );
    expect(endpoints.map(({ path }) => path.replace(/:\w+/gu, "{}")).filter((path) => !named.includes(path))).toEqual(
      [],
    );
  });

  it("name settings that something reads", () => {
    const known = new Set(code.flatMap((file) => found(read(file), /\b(ICDPO_[A-Z0-9_]+)/gu)));
    expect(
      unknown(
        (text) => found(text, /\b(ICDPO_[A-Z0-9_]+)/gu),
        (name) => known.has(name),
      ),
    ).toEqual([]);
  });

  it("show YAML that can be read: no key stands twice", () => {
    const blocksOf = (text: string) => [...text.matchAll(/^( *)```yaml\n([\s\S]*?)^ *```$/gmu)];
    const wrong = unknown(
      (text) => blocksOf(text).map(([, , block = ""]) => block),
      (block) => parseAllDocuments(block).every(({ errors }) => errors.length === 0),
    );
    expect(wrong).toEqual([]);
  });

  it("have lines that can be read, and a README of two screens", () => {
    const lines = (text: string): string[] =>
      prose(text)
        .split("\n")
        .filter((line) => !line.trimStart().startsWith("|"));
    expect(unknown(lines, (line) => [...line].length <= mostColumns)).toEqual([]);
    expect(read("README.md").trimEnd().split("\n").length).toBeLessThanOrEqual(mostReadmeLines);
  });
});

describe("the map in ARCHITECTURE", () => {
  it("has every room of src", () => {
    const named = new Set(namedInCode(read("ARCHITECTURE.md")));
    const rooms = readdirSync(path.join(root, "src")).map((name) => `src/${name}`);
    const folders = tree.filter((file) => /^src\/(?:engine|http)\/[^/]+$/u.test(file) && isFolder(file));
    expect([...rooms, ...folders].filter((room) => !named.has(room))).toEqual([]);
  });
});

describe("the page of clients", () => {
  const page = read("docs/clients.md");
  const table = read("test/clients/programs.mjs");
  const clients = found(table, /\bname: "([^"]+)"/gu);

  it("says of every client that the check runs what it is told, and of no other", () => {
    const headings = found(page, /^## (.+)$/gmu).filter((heading) => heading !== "What works");
    expect(headings).toEqual(clients);
    const sections = page.split(/^## /mu).slice(2);
    expect(sections.filter((section) => !/^```\w+$/mu.test(section))).toEqual([]);
  });

  it("tells them of an address and a key that the check replaces by its own", () => {
    const addresses = new Set(found(page, /(?:https?:\/\/)?((?:127\.0\.0\.1|localhost):\d+)/gu));
    expect([...addresses]).toEqual(["127.0.0.1:8080"]);
    expect(page).toContain("any-key");
  });

  it("has rows of the versions that the check installs", () => {
    const installed = ["programs.mjs", "requirements.txt", "package.json"].map((file) => read(`test/clients/${file}`));
    const [rows = ""] = /<!-- what the last run saw -->[\s\S]*?<!-- the end of it -->/u.exec(page) ?? [];
    const versions = found(rows, /^\| [^|]+? (\d[^ |]*) \|/gmu);
    const isOurs = (version: string): boolean => installed.some((text) => text.includes(version));
    // curl is the machine's own.
    expect(versions.filter((version) => !isOurs(version)).length).toBeLessThanOrEqual(1);
  });
});
