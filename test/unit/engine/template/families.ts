/**
 * @module Chat templates as families of models have them, written down by their rules: what a turn is written as, and
 * what becomes of thoughts. Each with the spellings of its control tokens, and of other whole tokens.
 */
export interface Family {
  readonly source: string;
  readonly bos: string;
  readonly eos: string;
  readonly control: readonly string[];
  readonly userDefined: readonly string[];
}

const chatml = { bos: "", eos: "<|im_end|>", control: ["<|im_start|>", "<|im_end|>"] };

export const families = {
  // Thoughts of the turns after the last question are shown; enable_thinking: false writes an empty one.
  qwen3: {
    ...chatml,
    userDefined: ["<think>", "</think>", "<tool_call>", "</tool_call>"],
    source: `{%- set ns = namespace(last=0) %}{%- for m in messages %}{%- if m.role == 'user' %}{%- set ns.last = loop.index0 %}{%- endif %}{%- endfor %}{%- for m in messages %}{%- if m.role == 'assistant' %}{%- set content = m.content.split('</think>')[-1].lstrip('\\n') %}{{- '<|im_start|>assistant\\n' }}{%- if loop.index0 > ns.last and (loop.last or m.reasoning_content) %}{{- '<think>\\n' + (m.reasoning_content or '').strip('\\n') + '\\n</think>\\n\\n' }}{%- endif %}{{- content + '<|im_end|>\\n' }}{%- else %}{{- '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- if enable_thinking is defined and enable_thinking is false %}{{- '<think>\\n\\n</think>\\n\\n' }}{%- endif %}{%- endif %}`,
  },
  // Each prompt opens a thought; thoughts of the history are cut off.
  r1: {
    bos: "<｜begin▁of▁sentence｜>",
    eos: "<｜end▁of▁sentence｜>",
    control: ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
    userDefined: ["<think>", "</think>"],
    source: `{{ bos_token }}{%- for m in messages %}{%- if m.role == 'system' %}{{ m.content }}{%- elif m.role == 'user' %}{{ '<｜User｜>' + m.content }}{%- else %}{%- set content = m.content %}{%- if '</think>' in content %}{%- set content = content.split('</think>')[-1] %}{%- endif %}{{ '<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{ '<｜Assistant｜><think>\\n' }}{%- endif %}`,
  },
  // DeepSeek-V3.1: the prompt opens a thought, or closes it at once.
  deepseek31: {
    bos: "<｜begin▁of▁sentence｜>",
    eos: "<｜end▁of▁sentence｜>",
    control: ["<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>", "<｜User｜>", "<｜Assistant｜>"],
    userDefined: ["<think>", "</think>"],
    source: `{%- if thinking is not defined %}{%- set thinking = false %}{%- endif %}{{ bos_token }}{%- for m in messages %}{%- if m.role == 'system' %}{{ m.content }}{%- elif m.role == 'user' %}{{ '<｜User｜>' + m.content }}{%- else %}{{ '<｜Assistant｜></think>' + m.content + '<｜end▁of▁sentence｜>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{ '<｜Assistant｜>' }}{%- if thinking %}{{ '<think>' }}{%- else %}{{ '</think>' }}{%- endif %}{%- endif %}`,
  },
  // gpt-oss: messages on channels; the effort stands in the system message.
  harmony: {
    bos: "<|startoftext|>",
    eos: "<|return|>",
    control: [
      "<|startoftext|>",
      "<|return|>",
      "<|start|>",
      "<|end|>",
      "<|message|>",
      "<|channel|>",
      "<|call|>",
      "<|constrain|>",
    ],
    userDefined: [],
    source: `{{- '<|start|>system<|message|>You are a model.\\nReasoning: ' + (reasoning_effort if reasoning_effort is defined else 'medium') + '\\n# Valid channels: analysis, commentary, final.<|end|>' }}{%- for m in messages %}{%- if m.role == 'system' %}{{- '<|start|>developer<|message|># Instructions\\n\\n' + m.content + '<|end|>' }}{%- elif m.role == 'user' %}{{- '<|start|>user<|message|>' + m.content + '<|end|>' }}{%- else %}{%- if '<|channel|>analysis<|message|>' in m.content %}{{- raise_exception('channels in content') }}{%- endif %}{%- if m.thinking and loop.last %}{{- '<|start|>assistant<|channel|>analysis<|message|>' + m.thinking + '<|end|>' }}{%- endif %}{{- '<|start|>assistant<|channel|>final<|message|>' + m.content + '<|end|>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start|>assistant' }}{%- endif %}`,
  },
  // Magistral: markers of its own, asked for in a system message that stands where the conversation has none.
  magistral: {
    bos: "<s>",
    eos: "</s>",
    control: ["<s>", "</s>", "[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[THINK]", "[/THINK]"],
    userDefined: [],
    source: `{{- bos_token }}{%- if messages[0].role == 'system' %}{{- '[SYSTEM_PROMPT]' + messages[0].content + '[/SYSTEM_PROMPT]' }}{%- else %}{{- '[SYSTEM_PROMPT]First draft your thinking: [THINK]your thoughts[/THINK]Here is your answer.[/SYSTEM_PROMPT]' }}{%- endif %}{%- for m in messages %}{%- if m.role == 'user' %}{{- '[INST]' + m.content + '[/INST]' }}{%- elif m.role == 'assistant' %}{{- m.content + eos_token }}{%- endif %}{%- endfor %}`,
  },
  // Phi-4-reasoning: a fixed system message asks for the thought.
  phi: {
    bos: "",
    eos: "<|im_end|>",
    control: ["<|im_start|>", "<|im_sep|>", "<|im_end|>"],
    userDefined: [],
    source: `<|im_start|>system<|im_sep|>You are Phi. Structure your response as: <think> {Thought section} </think> {Solution section}.<|im_end|>{%- for m in messages %}{%- if m.role == 'user' %}{{- '<|im_start|>user<|im_sep|>' + m.content + '<|im_end|>' }}{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant<|im_sep|>' + m.content + '<|im_end|>' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant<|im_sep|>' }}{%- endif %}`,
  },
  // SmolLM3: the mode stands in the system message; off writes an empty thought.
  smollm3: {
    ...chatml,
    userDefined: ["<think>", "</think>"],
    source: `{%- if enable_thinking is not defined %}{%- set enable_thinking = true %}{%- endif %}{{- '<|im_start|>system\\nReasoning Mode: ' + ('/think' if enable_thinking else '/no_think') }}{%- if enable_thinking %}{{- ' Structure: <think> Thought section </think> Solution section.' }}{%- endif %}{{- '<|im_end|>\\n' }}{%- for m in messages %}{%- if m.role == 'user' %}{{- '<|im_start|>user\\n' + m.content + '<|im_end|>\\n' }}{%- elif m.role == 'assistant' %}{{- '<|im_start|>assistant\\n' + ('' if enable_thinking else '<think>\\n\\n</think>\\n') + m.content.lstrip('\\n') + '<|im_end|>\\n' }}{%- elif m.role == 'system' %}{{- '<|im_start|>system\\n' + m.content + '<|im_end|>\\n' }}{%- endif %}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' + ('' if enable_thinking else '<think>\\n\\n</think>\\n') }}{%- endif %}`,
  },
  // Granite: thinking: true asks for it in the system message.
  granite: {
    bos: "<|end_of_text|>",
    eos: "<|end_of_text|>",
    control: ["<|start_of_role|>", "<|end_of_role|>", "<|end_of_text|>"],
    userDefined: [],
    source: `{%- if thinking is defined and thinking %}{{- '<|start_of_role|>system<|end_of_role|>Write your thoughts between <think></think> and then your response.<|end_of_text|>\\n' }}{%- endif %}{%- for m in messages %}{{- '<|start_of_role|>' + m.role + '<|end_of_role|>' + m.content + '<|end_of_text|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_of_role|>assistant<|end_of_role|>' }}{%- endif %}`,
  },
  // Those that do not think.
  llama3: {
    bos: "<|begin_of_text|>",
    eos: "<|eot_id|>",
    control: ["<|begin_of_text|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"],
    userDefined: [],
    source: `{{- bos_token }}{%- for m in messages %}{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content + '<|eot_id|>' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{%- endif %}`,
  },
  gemma3: {
    bos: "<bos>",
    eos: "<end_of_turn>",
    control: ["<bos>", "<end_of_turn>", "<start_of_turn>"],
    userDefined: [],
    source: `{{ bos_token }}{%- for m in messages %}{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content + '<end_of_turn>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{%- endif %}`,
  },
  // Qwen3-Instruct: cuts thoughts of others' turns off, and has none itself.
  qwen3Instruct: {
    ...chatml,
    userDefined: ["<think>", "</think>"],
    source: `{%- for m in messages %}{{- '<|im_start|>' + m.role + '\\n' + m.content.split('</think>')[-1] + '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}`,
  },
} satisfies Record<string, Family>;
