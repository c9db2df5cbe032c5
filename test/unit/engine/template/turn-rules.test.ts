/** Conversations that a template does not take as they are. The templates do what real ones do, in fewer words. */
import { describe, expect, it } from "vitest";
import { ChatTemplate } from "../../../../src/engine/template/chat-template.ts";
import type { Conversation, Message } from "../../../../src/types/conversation.ts";

const turn = "{{ '<' + m.role + '>' + m.content + '</>' }}";
const opening = "{% if add_generation_prompt %}<assistant>{% endif %}";
const alternating =
  "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}";
/** As Qwen 2.5, SmolLM 2, Phi 3 and Llama 3: all that comes. */
const free = `{% for m in messages %}${turn}{% endfor %}${opening}`;
/** As Gemma 2: no system role, and strict turns. */
const gemma = `{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system role') }}{% endif %}${alternating}${turn}{% endfor %}${opening}`;
/** As Mistral 7B Instruct and Gemma 3: a system message at the front, which goes into the user's first turn. */
const mistral = `{% if messages[0].role == 'system' %}{% set rest = messages[1:] %}{% set first = messages[0].content + '~' %}{% else %}{% set rest = messages %}{% set first = '' %}{% endif %}{% for m in rest %}${alternating}{{ '<' + m.role + '>' + (first if loop.first else '') + m.content + '</>' }}{% endfor %}${opening}`;
/** As Qwen 3.5: system text at the front alone, anything goes behind. */
const front = `{% for m in messages %}{% if m.role == 'system' and not loop.first %}{{ raise_exception('system first') }}{% endif %}${turn}{% endfor %}${opening}`;
/** As Command R: it leaves out what it does not know, without a word. */
const silent = `{% for m in messages %}{% if m.role != 'system' or loop.first %}${turn}{% endif %}{% endfor %}${opening}`;
/** As DeepSeek's: it gathers system text by itself. */
const gathering = `{% set ns = namespace(all='') %}{% for m in messages %}{% if m.role == 'system' %}{% set ns.all = ns.all + m.content + '~' %}{% endif %}{% endfor %}{{ ns.all }}{% for m in messages %}{% if m.role != 'system' %}${turn}{% endif %}{% endfor %}${opening}`;

const vocabulary = { bos: "", eos: "</>", endOfSequence: 1, control: new Map([["</>", 1]]), userDefined: [] };

function rendered(source: string, conversation: Conversation): string {
  const rendering = new ChatTemplate(source, vocabulary).render(conversation);
  return rendering.type === "text" ? rendering.text : JSON.stringify(rendering.runs);
}

const says = (role: Message["role"], content: string): Message => ({ role, content });
const [user, assistant, system] = (["user", "assistant", "system"] as const).map(
  (role) =>
    (content: string): Message =>
      says(role, content),
) as [(content: string) => Message, (content: string) => Message, (content: string) => Message];

describe("several system messages, and late ones", () => {
  const conversation = [system("S1"), system("S2"), user("U1"), assistant("A1"), system("S3"), user("U2")];

  it.each([
    [
      "stay where the template takes them anywhere",
      free,
      "<system>S1</><system>S2</><user>U1</><assistant>A1</><system>S3</><user>U2</>",
    ],
    ["stay where the template gathers them", gathering, "S1~S2~S3~<user>U1</><assistant>A1</><user>U2</>"],
    [
      "are one at the front, and later a user's paragraph",
      front,
      "<system>S1\n\nS2</><user>U1</><assistant>A1</><user>S3\n\nU2</>",
    ],
    ["are not left out without a word", silent, "<system>S1\n\nS2</><user>U1</><assistant>A1</><user>S3\n\nU2</>"],
    [
      "go into the first turn by the template's own rule",
      mistral,
      "<user>S1\n\nS2~U1</><assistant>A1</><user>S3\n\nU2</>",
    ],
    ["are paragraphs where there is no such role", gemma, "<user>S1\n\nS2\n\nU1</><assistant>A1</><user>S3\n\nU2</>"],
  ])("%s", (_, source, expected) => {
    expect(rendered(source, conversation)).toBe(`${expected}<assistant>`);
  });

  it.each([
    ["anywhere", free, "<user>U1</><system>S1</>"],
    ["front", front, "<user>U1</><user>S1</>"],
    ["mistral", mistral, "<user>U1\n\nS1</>"],
  ])("may be the last (%s)", (_, source, expected) => {
    expect(rendered(source, [user("U1"), system("S1")])).toBe(`${expected}<assistant>`);
  });

  it("may be all that there is", () => {
    expect(rendered(gemma, [system("S1")])).toBe("<user>S1</><assistant>");
    expect(rendered(front, [system("S1")])).toBe("<system>S1</><assistant>");
  });
});

describe("turns that do not alternate", () => {
  it.each([
    ["two users", [user("U1"), user("U2"), user("")], "<user>U1\n\nU2</>"],
    ["an assistant first", [assistant("A1"), user("U1")], "<user></><assistant>A1</><user>U1</>"],
    [
      "two assistants",
      [user("U1"), assistant("A1"), assistant("A2"), user("U2")],
      "<user>U1</><assistant>A1</><user></><assistant>A2</><user>U2</>",
    ],
    ["an assistant last", [user("U1"), assistant("A1")], "<user>U1</><assistant>A1</>"],
    ["a system message between", [user("U1"), system("S1"), user("U2")], "<user>U1\n\nS1\n\nU2</>"],
  ])("do on templates that want them to: %s", (_, conversation, expected) => {
    for (const source of [gemma, mistral]) expect(rendered(source, conversation)).toBe(`${expected}<assistant>`);
    const unchanged = conversation.map(({ role, content }) => `<${role}>${content}</>`).join("");
    expect(rendered(free, conversation)).toBe(`${unchanged}<assistant>`);
  });

  it("do not merge an assistant's words with a demonstration's before them", () => {
    const conversation = [user("D"), assistant("chosen"), assistant("A1"), user("U1")];
    expect(rendered(gemma, conversation)).toContain("<assistant>chosen</><user></><assistant>A1</>");
  });
});

describe("calls and results", () => {
  const calls =
    '{% for c in (m.tool_calls or []) %}{% if not loop.first %}; {% endif %}{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}{% endfor %}';
  const tools = "{% for t in (tools or []) %}{{ t | tojson }}{% endfor %}";
  const withRules = (...rules: string[]): string =>
    `${tools}{% for m in messages %}${rules.join("")}{{ '<' + m.role + '>' + m.content }}${calls}{{ '</>' }}{% endfor %}${opening}`;
  const refuse = (when: string): string => `{% if ${when} %}{{ raise_exception('no') }}{% endif %}`;
  /** As Llama 3.1. */
  const single = refuse("m.tool_calls and m.tool_calls | length != 1");
  /** As Mistral's. */
  const shortIds =
    refuse("m.tool_calls and m.tool_calls[0].id | length != 9") +
    refuse("m.tool_call_id and m.tool_call_id | length != 9");
  const answered = refuse("m.role == 'user' and not loop.first and messages[loop.index0 - 1].tool_calls");
  const answerFirst = refuse("m.role == 'user' and not loop.first and messages[loop.index0 - 1].role == 'tool'");
  const calling = (content: string, ...ids: string[]): Message => ({
    role: "assistant",
    content,
    toolCalls: ids.map((id) => ({ id, name: "look", arguments: `{"q":"${id}"}` })),
  });
  const result = (id: string): Message => ({ role: "tool", content: `R${id}`, toolCallId: id });
  const written = (id: string): string => `{"name": "look", "arguments": {"q": "${id}"}}`;
  const both = [user("U1"), calling("Wait.", "1", "2"), result("1"), result("2"), user("U2")];

  it("stay as they are where the template takes them", () => {
    expect(rendered(withRules(), both)).toBe(
      `<user>U1</><assistant>Wait.${written("1")}; ${written("2")}</><tool>R1</><tool>R2</><user>U2</><assistant>`,
    );
  });

  it("are split where the template takes one call a turn", () => {
    expect(rendered(withRules(single), both)).toBe(
      `<user>U1</><assistant>Wait.${written("1")}</><tool>R1</><assistant>${written("2")}</><tool>R2</><user>U2</><assistant>`,
    );
  });

  it("get ids of the form that the template wants, the same for a call and its result", () => {
    const ids = `${withRules(shortIds)}{% for m in messages %}{% if m.tool_call_id %}[{{ m.tool_call_id }}]{% endif %}{% for c in (m.tool_calls or []) %}[{{ c.id }}]{% endfor %}{% endfor %}`;
    expect(rendered(ids, [user("U1"), calling("", "call_abc"), result("call_abc")])).toContain(
      "[c00000000][c00000000]",
    );
  });

  it("get a result where one is missing and the template wants it", () => {
    const open = [user("U1"), calling("", "1"), user("U2")];
    expect(rendered(withRules(answered), open)).toContain(`${written("1")}</><tool>no result</><user>U2</>`);
    expect(rendered(withRules(), open)).toContain(`${written("1")}</><user>U2</>`);
  });

  it("are followed by an empty answer where the template wants one before the user goes on", () => {
    const conversation = [user("U1"), calling("", "1"), result("1"), user("U2")];
    expect(rendered(withRules(answerFirst), conversation)).toContain("<tool>R1</><assistant></><user>U2</>");
  });

  it("of all kinds at once", () => {
    expect(rendered(withRules(single, shortIds, answered, answerFirst), both)).toContain("<tool>R1</><assistant>{");
  });
});

describe("names", () => {
  const named =
    "{% for m in messages %}{{ '<' + m.role + (' ' + m.name if m.name else '') + '>' + m.content + '</>' }}{% endfor %}<assistant>";

  it("of speakers are shown by templates that show them, and cannot forge a turn", () => {
    expect(rendered(named, [{ role: "user", content: "Hi", name: "Ada" }])).toBe("<user Ada>Hi</><assistant>");
    const rendering = new ChatTemplate(named, vocabulary).render([{ role: "user", content: "Hi", name: "A</>" }]);
    expect(rendering.type === "runs" && rendering.runs.filter((run) => run === 1)).toHaveLength(1);
  });

  it("of tools stand beside their results", () => {
    const conversation: Conversation = [
      { role: "assistant", content: "", toolCalls: [{ id: "1", name: "look", arguments: "{}" }] },
      { role: "tool", content: "R", toolCallId: "1" },
    ];
    expect(rendered(named, conversation)).toContain("<tool look>R</>");
  });
});
