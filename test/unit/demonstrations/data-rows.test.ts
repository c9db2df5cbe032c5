/** The files in `rows` are as Hugging Face's datasets 5.2 and pyarrow write them. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { afterAll, describe, expect, it } from "vitest";
import { dataName, readRows } from "../../../src/demonstrations/data-rows.ts";
import { type DatasetFormat, detectFormat, readExample } from "../../../src/demonstrations/datasets.ts";
import type { Line } from "../../../src/demonstrations/demonstration-files.ts";

const own = fileURLToPath(new URL("rows/", import.meta.url));
const folder = mkdtempSync(path.join(tmpdir(), "icdpo-rows-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function written(name: string, content: string | Uint8Array): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

async function rowsOf(file: string): Promise<Line[]> {
  const rows: Line[] = [];
  for await (const row of readRows(file)) rows.push(row);
  return rows;
}

const examplesOf = async (file: string) =>
  (await rowsOf(file)).map(({ number, value }) => {
    const format = detectFormat(value);
    return { number, format, ...readExample(format as DatasetFormat, value) };
  });

const hi = [
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello." },
  { role: "user", content: "Why?" },
];
const why = [{ role: "user", content: "Why?" }];

describe("Parquet", () => {
  it.each(["", "-zstd", "-gzip", "-brotli", "-lz4"])(
    "is read whatever it is packed with: synthetic%s",
    async (codec) => {
      const rows = await examplesOf(path.join(own, `synthetic${codec}.parquet`));
      expect(rows).toHaveLength(5);
      expect(rows[4]).toEqual({
        number: 5,
        format: "synthetic-gpt",
        messages: [{ role: "user", content: "How do I water plant 4? Ä" }],
        chosen: "Slowly, 4.",
        rejected: "No 4.",
      });
    },
  );

  it.each([
    ["trl-explicit.parquet", { format: "trl", messages: hi, chosen: "Because.", rejected: "So." }],
    ["trl-explicit.jsonl", { format: "trl", messages: hi, chosen: "Because.", rejected: "So." }],
    [
      "trl-implicit.parquet",
      {
        format: "trl",
        messages: [{ role: "system", content: "Be kind." }, ...why],
        chosen: "Because.",
        rejected: "So.",
      },
    ],
    ["trl-completion.parquet", { format: "trl-completion", messages: why, chosen: "Because." }],
    ["sharegpt.parquet", { format: "sharegpt", messages: why, chosen: "Because." }],
    ["ranked.parquet", { format: "ranked-list", messages: hi, chosen: "Because.", rejected: "So." }],
  ])("holds messages and lists: %s", async (file, expected) => {
    expect((await examplesOf(path.join(own, file)))[0]).toMatchObject(expected);
  });

  it("that is cut short, damaged or none says so, naming the file", async () => {
    const whole = readFileSync(path.join(own, "synthetic.parquet"));

    const cut = rowsOf(written("cut.parquet", whole.subarray(0, 900)));
    await expect(cut).rejects.toThrow(/cut\.parquet cannot be read as Parquet: .*It may be cut short/u);
    const damaged = Buffer.from(whole).fill(0xff, 10, 200);
    await expect(rowsOf(written("damaged.parquet", damaged))).rejects.toMatchObject({ code: "configuration" });
    await expect(rowsOf(written("text.parquet", "{}\n"))).rejects.toThrow("text.parquet is no Parquet file");
    await expect(rowsOf(written("empty.parquet", ""))).rejects.toThrow("empty.parquet is no Parquet file");
    await expect(rowsOf(path.join(folder, "absent.parquet"))).rejects.toThrow("absent.parquet cannot be read");
    await expect(rowsOf(folder)).rejects.toThrow("cannot be read");
    // What a file is decides, not its name.
    expect(await rowsOf(written("renamed.data", whole))).toHaveLength(5);
  });
});

describe("JSON", () => {
  const rows = [{ a: 1 }, { a: 2 }];

  it("is an array, pretty or not, packed or not, or a row a line", async () => {
    const expected = [
      { number: 1, value: { a: 1 } },
      { number: 2, value: { a: 2 } },
    ];
    const lines = rows.map((row) => JSON.stringify(row)).join("\n");
    for (const file of [
      written("array.json", JSON.stringify(rows)),
      written("pretty.json", `\n${JSON.stringify(rows, null, 2)}\n`),
      written("array.json.gz", gzipSync(JSON.stringify(rows))),
      written("lines.json", lines),
      written("lines.jsonl", lines),
      written("lines.jsonl.gz", gzipSync(lines)),
    ])
      expect(await rowsOf(file), file).toEqual(expected);
    expect(await rowsOf(written("blank.json", "\n\n"))).toEqual([]);
  });

  it("that is cut short says so", async () => {
    const file = written("cut.json", '[{"a": 1},');
    await expect(rowsOf(file)).rejects.toThrow("cut.json begins like a JSON array, and is none");
  });
});

it("A data file is called by its name without the ending", () => {
  expect(["a/b.jsonl", "b.jsonl.gz", "b.json", "b.json.gz", "b.parquet", "b.txt"].map(dataName)).toEqual([
    "b",
    "b",
    "b",
    "b",
    "b",
    "b.txt",
  ]);
});
