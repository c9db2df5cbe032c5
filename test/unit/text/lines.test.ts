import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { openJournal, readLines } from "../../../src/demonstrations/demonstration-files.ts";
import { parseDemonstrations } from "../../../src/policy/parse.ts";
import { linesOfFile, linesOfStream, readText } from "../../../src/system/text-files.ts";
import { linesOf, splitLines } from "../../../src/text/lines.ts";

const folder = mkdtempSync(path.join(tmpdir(), "icdpo-lines-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function fileOf(name: string, content: string | Uint8Array): string {
  const file = path.join(folder, name);
  writeFileSync(file, content);
  return file;
}

async function all<Item>(items: AsyncIterable<Item>): Promise<Item[]> {
  const found: Item[] = [];
  for await (const item of items) found.push(item);
  return found;
}

async function* inPieces(bytes: Uint8Array, borders: readonly number[]): AsyncGenerator<Uint8Array> {
  let from = 0;
  for (const to of [...borders.toSorted((a, b) => a - b), bytes.length]) {
    yield bytes.subarray(from, to);
    from = to;
  }
}

/** What other readers split at as well, or lose. */
const separators = "\u2028 \u2029 \u0085 \u000b \u000c \r \u001c";

describe("linesOf", () => {
  const lines = (text: string, longest?: number) => all(linesOf("text", inPieces(Buffer.from(text), []), longest));

  it("ends a line with LF or CRLF and with nothing else", async () => {
    expect(await lines(`a\nb\r\n\n${separators}\r\n`)).toEqual(["a", "b", "", separators]);
    expect(await lines("a\r\nb\r")).toEqual(["a", "b\r"]);
    expect(await lines("a\r\r\nb")).toEqual(["a\r", "b"]);
    expect(await lines("")).toEqual([]);
  });

  it("leaves a byte order mark out, at the beginning only", async () => {
    expect(await lines("\uFEFFa\n\uFEFFb")).toEqual(["a", "\uFEFFb"]);
  });

  it("is the same wherever the bytes are cut: inside CRLF, inside a character, inside the byte order mark", async () => {
    const character = fc.constantFrom("a", "\r", "\n", "\r\n", "é", "\u2028", "\u2029", "𝄞", "\uFEFF");
    const text = fc.array(character, { maxLength: 30 }).map((characters) => characters.join(""));
    await fc.assert(
      fc.asyncProperty(text, fc.array(fc.nat(100), { maxLength: 12 }), async (written, cuts) => {
        const bytes = Buffer.from(written);
        const borders = cuts.map((cut) => Math.min(cut, bytes.length));
        // A last line that is ended has nothing after it.
        const expected = splitLines(written.replace(/\r?\n$/u, ""));
        const found = await all(linesOf("text", inPieces(bytes, borders)));
        expect(found).toEqual(written.replace(/^\uFEFF/u, "") === "" ? [] : expected);
      }),
    );
  });

  it("reads no line without end", async () => {
    await expect(lines(`ab\n${"c".repeat(20)}`, 10)).rejects.toThrow("text:2: longer than 10 characters");
    expect(await lines("abcdefgh\nijklmnop\n", 10)).toEqual(["abcdefgh", "ijklmnop"]);
  });
});

describe("JSONL", () => {
  const value = { content: separators };
  // Every separator but the control characters, which JSON escapes, stands in the line as it is.
  const jsonl = `{"first": 1}\r\n\n${JSON.stringify(value)}\r{"second": 2`;

  it("keeps U+2028 and its like within a line, packed or not", async () => {
    const text = `{"first":1}\r\n\r\n${JSON.stringify(value)}\n{"last":2}`;
    const expected = [
      { number: 1, value: { first: 1 } },
      { number: 3, value },
      { number: 4, value: { last: 2 } },
    ];
    expect(text).toContain("\u2028");
    expect(await all(readLines(fileOf("separators.jsonl", text)))).toEqual(expected);
    expect(await all(readLines(fileOf("separators.jsonl.gz", gzipSync(text))))).toEqual(expected);
  });

  it("has no other end of line than LF: what stands after a CR is not another object", async () => {
    expect((await all(readLines(fileOf("cr.jsonl", jsonl)))).map(({ value: found }) => found)).toEqual([
      { first: 1 },
      undefined,
    ]);
  });

  it("keeps them in demonstrations", async () => {
    const one = { id: "a", messages: [{ role: "user", content: "a\u2028b" }], chosen: "c\u2029d" };
    const text = `\uFEFF${JSON.stringify(one)}\r\n`;
    expect(await parseDemonstrations("demos/d.jsonl", text)).toMatchObject([one]);
  });

  it("keeps them in journals, whose last line may have been cut short anywhere", async () => {
    const file = path.join(folder, "journal.jsonl");
    const first = await openJournal<{ text: string }>(file);
    await first.add({ text: separators });
    await first.close();
    // A kill in the middle of "é".
    writeFileSync(file, Buffer.concat([readFileSync(file), Buffer.from('{"text":"é').subarray(0, -1)]));
    const second = await openJournal<{ text: string }>(file);
    expect(second.entries).toEqual([{ text: separators }]);
    await second.add({ text: "added" });
    await second.close();
    const third = await openJournal<{ text: string }>(file);
    expect(third.entries).toEqual([{ text: separators }, { text: "added" }]);
    await third.remove();
  });
});

describe("a file that is no UTF-8 text", () => {
  const text = '{"a": 1}\n';
  const utf16 = (endian: "le" | "be", mark: boolean): Buffer => {
    const bytes = Buffer.from(`${mark ? "\uFEFF" : ""}${text}`, "utf16le");
    return endian === "le" ? bytes : bytes.swap16();
  };

  it.each([
    ["UTF-16, little-endian", utf16("le", true), "save it as UTF-8"],
    ["UTF-16, big-endian", utf16("be", true), "save it as UTF-8"],
    ["UTF-16 without a byte order mark", utf16("le", false), "save it as UTF-8"],
    ["UTF-16, big-endian, without one", utf16("be", false), "save it as UTF-8"],
    ["UTF-16 of Chinese", Buffer.from("\uFEFF你好", "utf16le"), "save it as UTF-8"],
    ["gzip under another name", gzipSync(text), "unpack it (gzip -d)"],
  ])("is refused with a hint: %s", async (_, bytes, hint) => {
    const file = fileOf("other.jsonl", bytes);
    const packed = fileOf("packed.jsonl.gz", gzipSync(bytes));
    for (const read of [() => all(linesOfFile(file)), () => readText(file), () => all(readLines(packed))]) {
      const error: unknown = await read().catch((reason: unknown) => reason);
      expect(error).toMatchObject({ code: "configuration", message: expect.stringContaining(hint) });
      expect((error as Error).message).toMatch(/(?:other\.jsonl|packed\.jsonl\.gz) is /u);
    }
    // However small the pieces in which it comes.
    const stream = Readable.from([...bytes].map((byte) => Buffer.from([byte])));
    await expect(all(linesOfStream("standard input", stream))).rejects.toThrow(`standard input is `);
  });

  it("is not one that is short, empty, or has a byte order mark of UTF-8", async () => {
    expect(await all(linesOfFile(fileOf("short", "1")))).toEqual(["1"]);
    expect(await all(linesOfFile(fileOf("empty", "")))).toEqual([]);
    expect(await readText(fileOf("marked", "\uFEFFé"))).toBe("\uFEFFé");
    expect(await all(linesOfFile(fileOf("marked", "\uFEFFé")))).toEqual(["é"]);
  });

  it("or one that is not there, or not packed as its name says, is named", async () => {
    await expect(all(linesOfFile(path.join(folder, "none.jsonl")))).rejects.toThrow(
      "none.jsonl cannot be read: ENOENT",
    );
    await expect(all(linesOfFile(path.join(folder, "none.jsonl.gz")))).rejects.toThrow(
      "none.jsonl.gz cannot be read: ENOENT",
    );
    await expect(all(linesOfFile(fileOf("plain.jsonl.gz", text)))).rejects.toThrow(
      "plain.jsonl.gz cannot be read: incorrect header",
    );
    await expect(readText(path.join(folder, "none.yaml"), "The file")).rejects.toThrow(
      "The file cannot be read: ENOENT",
    );
  });

  it("is waited for until the signal fires", async () => {
    const controller = new AbortController();
    const silent = new Readable({ read: () => {} });
    const reading = all(linesOfStream("standard input", silent, controller.signal));
    controller.abort();
    await expect(reading).rejects.toMatchObject({ code: "cancelled" });
    expect(silent.destroyed).toBe(true);
  });
});
