import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ChatTemplate, renderedTokens, type Vocabulary } from "../../../../src/engine/template/chat-template.ts";
import { signedContext } from "../../../../src/icdpo/prompt.ts";
import type { Conversation } from "../../../../src/types/conversation.ts";
import { gateway, readStream } from "../../scripted-gateway.ts";

const control = ["<|im_start|>", "<|im_end|>", "<|im|>"];
/** Text that holds delimiters, pieces of them, and anything else. */
const text = fc
  .array(
    fc.oneof(
      fc.string({ unit: "binary", maxLength: 6 }),
      fc.constantFrom(
        ...control,
        "<|im_",
        "end|>",
        "\n",
        "\r\n",
        "\u2028",
        "##",
        "###",
        "Human:",
        "\n\nAssistant: ",
        "assistant",
        "<tool_call>",
        "</tool_response>",
        "\ue000",
      ),
    ),
    { maxLength: 8 },
  )
  .map((pieces) => pieces.join(""));
const conversation: fc.Arbitrary<Conversation> = fc
  .tuple(fc.option(text), fc.array(fc.tuple(text, text), { maxLength: 2 }), text)
  .map(([system, turns, last]) => [
    ...(system === null ? [] : [{ role: "system", content: system } as const]),
    ...turns.flatMap(([user, assistant]) => [
      { role: "user", content: user } as const,
      { role: "assistant", content: assistant } as const,
    ]),
    { role: "user", content: last },
  ]);

describe("whatever a client says", () => {
  const source =
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";
  const codes = new Map(control.map((spelling, i) => [spelling, -1 - i]));
  const tokenize = (text: string): number[] => Array.from(text, (character) => character.codePointAt(0) as number);
  const vocabulary: Vocabulary = {
    bos: "",
    eos: "<|im_end|>",
    endOfSequence: -2,
    control: codes,
    userDefined: [],
    tokenize,
    tokenizeSpecial: (text) =>
      text.split(/(<\|im(?:_start|_end)?\|>)/u).flatMap((run) => codes.get(run) ?? tokenize(run)),
  };

  it("a chat template's control tokens are its own, and contents stand in it unchanged", () => {
    const template = new ChatTemplate(source, vocabulary);
    fc.assert(
      fc.property(conversation, (messages) => {
        const tokens = renderedTokens(template.render(messages), vocabulary);
        const turns: string[] = [];
        for (const token of tokens) {
          if (token === -1) turns.push("");
          else if (token !== -2) turns[turns.length - 1] += String.fromCodePoint(token);
        }
        expect(tokens.filter((token) => token < 0)).toEqual([...messages.flatMap(() => [-1, -2]), -1]);
        expect(turns.slice(0, -1).map((turn) => turn.replace(/\n$/u, ""))).toEqual(
          messages.map(({ role, content }) => `${role}\n${content}`),
        );
      }),
      { numRuns: 500 },
    );
  });

  it("the paper's templates hold as many turns and blocks as were written", () => {
    const lines = (context: string, start: RegExp): number =>
      context.split(/[\n\r\u2028\u2029]/u).filter((line) => start.test(line)).length;
    fc.assert(
      fc.property(conversation, text, text, (messages, chosen, rejected) => {
        const demonstrations = [{ id: "d", messages: [{ role: "user", content: chosen } as const], chosen, rejected }];
        for (const sign of ["positive", "negative"] as const) {
          const context = signedContext("hh-rlhf", sign, {
            conversation: messages,
            demonstrations,
            instructions: null,
          });
          const written = context.type === "text" ? context.text : "";
          // The demonstration, and the conversation: each begins with ##, and ends with ###Generate.
          expect(lines(written, /^###Generate/u)).toBe(2);
          expect(lines(written, /^##(?!#)/u)).toBe(2);
          expect(lines(written, /^Human:/u)).toBe(messages.filter(({ role }) => role === "user").length + 1);
          expect(lines(written, /^Assistant:/u)).toBe(messages.filter(({ role }) => role === "assistant").length);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("whatever a model says", () => {
  it.each(["plain", "icdpo"])("a stream holds it whole, in events of JSON (%s)", async (model) => {
    await fc.assert(
      fc.asyncProperty(
        text.filter((one) => one !== ""),
        async (said) => {
          const { chat } = await gateway({ sample: () => ({ text: said }) });
          const { chunks } = await readStream(await chat({ model, stream: true }));
          expect(chunks.map(({ choices }) => choices[0].delta.content ?? "").join("")).toBe(said);
        },
      ),
      { numRuns: 60 },
    );
  });
});
