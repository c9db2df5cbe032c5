import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { longestBlock } from "../../../src/constraint/call-block.ts";
import { type CallPiece, CallReader } from "../../../src/constraint/call-reader.ts";
import { LooseCallReader } from "../../../src/constraint/loose-call-reader.ts";
import { callTrigger } from "../../../src/constraint/tool-calls.ts";
import { genericToolSyntax } from "../../../src/icdpo/tool-prompt.ts";
import type { ToolSyntax } from "../../../src/types/conversation.ts";

/** As Llama 3.1's template writes calls. */
const bareSyntax: ToolSyntax = { opening: "", closing: "", between: "; ", name: "name", arguments: "parameters" };
const names = new Set(["lookup", "write"]);

/** As a strict tool that takes no "forbidden". */
const accepts = (name: string, text: string): boolean => !(name === "write" && text.includes("forbidden"));

function reader(syntax: ToolSyntax = genericToolSyntax, parallel = true): LooseCallReader {
  return new LooseCallReader(new CallReader(syntax, false), { names, accepts, parallel, trigger: callTrigger(syntax) });
}

function read(pieces: readonly string[], one = reader()) {
  const events = [...pieces.flatMap((piece) => one.push(piece)), ...one.end()];
  const calls: [string, string][] = [];
  for (const event of events) {
    if (event.type === "call") calls.push([event.name, ""]);
    const last = calls.at(-1);
    if (event.type === "arguments" && last !== undefined) last[1] += event.text;
  }
  return { text: textOf(events), calls };
}

function textOf(events: readonly CallPiece[]): string {
  return events.map((event) => (event.type === "text" ? event.text : "")).join("");
}

const call = '{"name": "lookup", "arguments": {"q": "a\\"}b", "id": 12345678901234567890}}';
const args = '{"q": "a\\"}b", "id": 12345678901234567890}';
const other = '{"name":"write","parameters":{}}';

describe("calls that a model writes in a way of its own", () => {
  it.each([
    ["bare JSON", call, "", [["lookup", args]]],
    [
      "JSON over several lines",
      '{\n  "name": "lookup",\n  "arguments": {\n    "q": 1\n  }\n}',
      "",
      [["lookup", '{\n    "q": 1\n  }']],
    ],
    ["JSON with its keys in another order", `{"arguments": ${args}, "name": "lookup"}`, "", [["lookup", args]]],
    [
      "JSON that says that it is a function",
      `{"type": "function", "name": "lookup", "parameters": ${args}}`,
      "",
      [["lookup", args]],
    ],
    ["JSON behind text", `I look it up.\n\n${call}`, "I look it up.", [["lookup", args]]],
    [
      "several lines of it",
      `${call}\n${other}\n`,
      "",
      [
        ["lookup", args],
        ["write", "{}"],
      ],
    ],
    [
      "several on one line",
      `${call}; ${other}`,
      "",
      [
        ["lookup", args],
        ["write", "{}"],
      ],
    ],
    [
      "a list",
      `[${call}, ${other}]`,
      "",
      [
        ["lookup", args],
        ["write", "{}"],
      ],
    ],
    ["a fence", `\`\`\`json\n${call}\n\`\`\``, "", [["lookup", args]]],
    [
      "a fence of no language, behind text",
      `So:\n\`\`\`\n${call}\n${other}\n\`\`\`\n`,
      "So:",
      [
        ["lookup", args],
        ["write", "{}"],
      ],
    ],
    ["a fence that is not closed", `\`\`\`json\n${call}`, "", [["lookup", args]]],
    ["tags without line breaks, behind text", `Well.\n<tool_call>${call}</tool_call>`, "Well.", [["lookup", args]]],
    ["tags of another name", `<tools>\n${call}\n</tools>`, "", [["lookup", args]]],
    ["tags in a fence", `\`\`\`xml\n<function_call> ${call} </function_call>\n\`\`\``, "", [["lookup", args]]],
    ["a tag that is not closed", `<tool_call>${call}`, "", [["lookup", args]]],
    ["a tag that is closed only", `${call}</tool_call>`, "", [["lookup", args]]],
    [
      "its own way in a fence",
      `\`\`\`json\n${genericToolSyntax.opening}${call}${genericToolSyntax.closing}`,
      "",
      [["lookup", args]],
    ],
    ["text behind a call", `${call}\n\nThat is all.`, "That is all.", [["lookup", args]]],
  ])("are read: %s", (_, text, rest, calls) => {
    expect(read([text])).toEqual({ text: rest, calls });
    expect(read([...text])).toEqual({ text: rest, calls });
  });

  it.each([
    ["a name that is not offered", '{"name": "Ada", "arguments": {}}'],
    ["a key more", '{"name": "lookup", "arguments": {}, "id": 1}'],
    ["a key less", '{"name": "lookup"}'],
    ["both keys", '{"name": "lookup", "arguments": {}, "parameters": {}}'],
    ["arguments that are no object", '{"name": "lookup", "arguments": [1]}'],
    ["null as arguments", '{"name": "lookup", "arguments": null}'],
    ["another type", '{"type": "object", "name": "lookup", "arguments": {}}'],
    ["a list with something else in it", `[${call}, 1]`],
    ["an empty list", "[]"],
    ["JSON in a sentence", `Write ${call} to look it up.`],
    ["JSON with words behind it", `${call} is how to look it up.`],
    ["broken JSON", '{"name": "lookup", "arguments": {"q": }}'],
    ["JSON that is cut off", '{"name": "lookup", "arguments": {"q": "a'],
    ["a fence with something else in it", `\`\`\`json\n${call}\nprint(1)\n\`\`\`\n`],
    ["a program that holds it", `\`\`\`python\nx = 1\n${call}\n\`\`\``],
    ["a fence of a strange name", `\`\`\`c++ title="a"\n${call}\n\`\`\`\nMore.`],
    ["a page", `<html>\n  <body>${call}</body>\n</html>`],
    ["other tags", `<b>${call}</b>`],
    ["a list in Markdown, and inline code", "[link](a)\n`lookup` and `{`\n- [ ] a\n"],
    ["white space", " \n\t\n "],
  ])("are text where they have another shape: %s", (_, text) => {
    expect(read([text])).toEqual({ text, calls: [] });
    expect(read([...text])).toEqual({ text, calls: [] });
  });

  it("are held back until they are known, and other JSON is not", () => {
    const one = reader();
    expect(one.push('Well.\n{"name": "look')).toEqual([{ type: "text", text: "Well." }]);
    expect(textOf(one.push('out", "age": 3'))).toBe('\n{"name": "lookout", "age": 3');
    expect(one.push("}\n")).toEqual([{ type: "text", text: "}" }]);
    expect(one.push('{"name": "lookup", "arguments": {')).toEqual([]);
    expect(one.push("}}")).toEqual([]);
    expect(one.push("\n")).toEqual([
      { type: "call", name: "lookup" },
      { type: "arguments", text: "{}" },
    ]);
  });

  it("are text where they are longer than anything that is held back", () => {
    const long = `{"name": "write", "arguments": {"text": "${"x".repeat(longestBlock)}"}}`;
    expect(read([long])).toEqual({ text: long, calls: [] });
    const allowed = long.replace("x".repeat(100), "");
    expect(read([allowed]).calls).toHaveLength(1);
  });

  it("are the first alone where the client takes one at a time", () => {
    expect(read([`[${call}, ${other}]\n${other}`], reader(genericToolSyntax, false)).calls).toEqual([["lookup", args]]);
  });

  it("stream as ever where the model writes them as its template does", () => {
    for (const [syntax, key] of [
      [genericToolSyntax, "arguments"],
      [bareSyntax, "parameters"],
    ] as const) {
      const one = reader(syntax);
      const begun = one.push(`${syntax.opening}{"name": "lookup", "${key}": {"q": "te`);
      expect(begun).toEqual([
        { type: "call", name: "lookup" },
        { type: "arguments", text: '{"q": "te' },
      ]);
      expect(one.push('a"}')).toEqual([{ type: "arguments", text: 'a"}' }]);
    }
  });

  it("lose what stands before them in vain where the template writes nothing around them", () => {
    const own = '{"name": "lookup", "parameters": {"q": 1}}';
    for (const before of ["```json\n", "[", "```\n[\n  "])
      expect(read([...`Well.\n${before}${own}`], reader(bareSyntax))).toEqual({
        text: "Well.",
        calls: [["lookup", '{"q": 1}']],
      });
  });

  it("tell where text goes on behind them", () => {
    const text = `${call}\n\n That is all.`;
    expect(reader().push(text).at(-1)).toEqual({ type: "text", text: "That is all.", at: text.indexOf("That") });
  });
});

describe("whatever a model says", () => {
  const piece = fc.oneof(
    fc.string({ maxLength: 5 }),
    fc.constantFrom(
      call,
      other,
      "\n",
      "```",
      "```json\n",
      "<tool_call>",
      "<tool_call>\n",
      "</tool_call>",
      "[",
      "]",
      "{",
      ", ",
      '{"name": "lookup"',
    ),
  );
  const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(""));

  it.each([
    ["generic", genericToolSyntax],
    ["bare", bareSyntax],
  ])("it does not matter how it is cut (%s)", (_, syntax) => {
    fc.assert(
      fc.property(text, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 4 }), (said, lengths) => {
        const pieces: string[] = [];
        for (let at = 0, i = 0; at < said.length; at += lengths[i++ % lengths.length] ?? 1)
          pieces.push(said.slice(at, at + (lengths[i % lengths.length] ?? 1)));
        const [cut, whole] = [read(pieces, reader(syntax)), read([said], reader(syntax))];
        expect(cut).toEqual(whole);
        if (whole.calls.length === 0 && !said.includes(callTrigger(syntax))) expect(whole.text).toBe(said);
      }),
      { numRuns: 1_000 },
    );
  });
});
