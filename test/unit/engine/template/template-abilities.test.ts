import { describe, expect, it } from "vitest";
import { templateAbilities } from "../../../../src/engine/template/template-abilities.ts";

const chatMl =
  "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}" +
  "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** As Qwen 2.5's. */
const withTools =
  "{% if tools %}<|im_start|>system\nTools:{% for tool in tools %}\n{{ tool | tojson }}{% endfor %}<|im_end|>\n{% endif %}" +
  "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}" +
  "{% for call in (message.tool_calls or []) %}\n<tool_call>\n" +
  '{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}\n</tool_call>{% endfor %}' +
  "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/** As Llama 2's and Gemma's: turns alternate, the system's is part of the first. */
const alternating =
  "{% if messages[0].role == 'system' %}{% set told = messages[0].content %}{% set rest = messages[1:] %}" +
  "{% else %}{% set told = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}" +
  "{% if (message.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}" +
  "[INST] {% if loop.first %}{{ told }}{% endif %}{{ message.content }} [/INST]{% endfor %}";

const ends = { bos: "<s>", eos: "</s>", control: ["<|im_start|>", "<|im_end|>"] };
const abilities = (source: string) => templateAbilities(source, ends);

describe("a template's abilities", () => {
  it("are those of plain turns", () => {
    expect(abilities(chatMl)).toEqual({
      system: "anywhere",
      tools: "none",
      syntax: null,
      toolResults: true,
      alternates: false,
      thinking: "none",
      thoughts: null,
    });
  });

  it("tell how tools are called, and whether several at once", () => {
    const { tools, syntax, toolResults } = abilities(withTools);
    expect({ tools, toolResults }).toEqual({ tools: "read", toolResults: true });
    expect(syntax).toMatchObject({ name: "name", arguments: "arguments" });
    expect(syntax?.opening).toContain("<tool_call>");
    expect(syntax?.between).toContain("<tool_call>");
  });

  it("tell of tools whose calls are not read", () => {
    const xml = withTools.replace(/\{"name".*?\n<\/tool_call>/su, "<function={{ call.function.name }}></tool_call>");
    expect(abilities(xml)).toMatchObject({ tools: "told", syntax: null });
  });

  it("tell where the system may speak, and who after whom", () => {
    expect(abilities(alternating)).toMatchObject({ system: "front", alternates: true, toolResults: false });
    const none =
      "{% for message in messages %}{% if message.role == 'system' %}{{ raise_exception('none') }}{% endif %}";
    expect(abilities(`${none}{{ message.content }}{% endfor %}`)).toMatchObject({
      system: "nowhere",
      alternates: false,
    });
    expect(
      abilities(
        "{% for message in messages %}{% if message.role != 'system' %}{{ message.content }}{% endif %}{% endfor %}",
      ),
    ).toMatchObject({ system: "nowhere" });
  });

  it("tell of thoughts: switched, always, or kept of earlier turns", () => {
    const switched = `${chatMl}{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>{% endif %}`;
    expect(abilities(switched).thinking).toBe("switched");
    expect(abilities(`${chatMl}<think>\n`).thinking).toBe("always");
    const kept = chatMl.replace("{{ message.content }}", "{{ message.content.split('</think>')[-1] }}");
    expect(abilities(kept).thinking).toBe("kept");
  });

  it("are none where jinja cannot read it", () => {
    expect(() => abilities("{% for message in %}")).toThrow();
  });
});
