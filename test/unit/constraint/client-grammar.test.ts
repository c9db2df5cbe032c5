import { describe, expect, it } from "vitest";
import { clientGrammar } from "../../../src/constraint/client-grammar.ts";

const refusal = (source: string): string => {
  try {
    clientGrammar(source, "grammar");
    return "";
  } catch (error) {
    return (error as Error).message;
  }
};

describe("a client's grammar", () => {
  it("is written a rule a line, without comments", () => {
    const source = [
      "# llama.cpp's own example",
      'root  ::= (expr "=" term "\\n")+',
      "expr  ::=",
      "  term ([-+*/] term)* # operators",
      'term  ::= ident | num | "(" ws expr ")" ws',
      "ident ::= [a-z] [a-z0-9_]{0,9} ws",
      "num   ::= [0-9]+ ws",
      "ws    ::= [ \\t\\n]*",
      'any ::= . "#no comment" [#\\]]',
    ].join("\n");
    expect(clientGrammar(source, "grammar")).toBe(
      [
        'root ::= ( expr "=" term "\\n" )+',
        "expr ::= term ( [-+*/] term )*",
        'term ::= ident | num | "(" ws expr ")" ws',
        "ident ::= [a-z] [a-z0-9_]{0,9} ws",
        "num ::= [0-9]+ ws",
        "ws ::= [ \\t\\n]*",
        'any ::= . "#no comment" [#\\]]',
      ].join("\n"),
    );
  });

  it.each([
    ["", "root"],
    ["hello", "begins with a rule"],
    ["a ::= b", "root"],
    ["root ::= b", 'names "b"'],
    ['root ::= "a"\nroot ::= "b"', "twice"],
    ['root ::= "a', "no GBNF"],
    ["root ::= [a", "no GBNF"],
    ["root ::= []", "without characters"],
    ["root ::= a_b", "no GBNF"],
    ['root ::= ("a"', "open"],
    ['root ::= "a")', "do not match"],
    [`root ::= ${"(".repeat(70)}"a"${")".repeat(70)}`, "too deep"],
    ['root ::= "\\q"', "escape"],
    ['root ::= * "a"', "repeats nothing"],
    ['root ::= "a"{3,2}', "wrong way round"],
    ['root ::= root "a"', "holds itself with nothing before it"],
    ['root ::= ("a"?)*', "may be empty"],
    ['root ::= "a"{9999}{9999}', "repeats nothing"],
    ['root ::= ("a"{0,9999}){0,9999}', "too many ways"],
    [`root ::= "a" ${'"a"{9999} '.repeat(20)}`, "too long"],
    [`root ::= ${Array.from({ length: 700 }, (_, i) => `"${i}"`).join(" | ")}`, "too many ways"],
    ["x".repeat(70_000), "characters"],
  ])("is refused where it is wrong or too much: %s", (source, expected) => {
    expect(refusal(source)).toContain(expected);
  });
});
