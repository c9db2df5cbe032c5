/** @module What `icdpo models inspect` prints of a model. */
import type { ModelCard } from "../engine/llama-cpp/model-card.ts";
import type { TemplateAbilities } from "../engine/template/template-abilities.ts";

const widest = 14;

export function modelReport(card: ModelCard): string {
  const { template, memory, bos, fim } = card;
  const rows: [title: string, text: string][] = [
    ["file", `${card.file} (${megabytes(card.fileSize)})`],
    ["name", card.name ?? "none"],
    [
      "model",
      `${card.architecture}, ${millions(card.parameters)} parameters, ${card.quantisation ?? "quantisation not told"}`,
    ],
    ["trained with", card.trainContext === null ? "not told" : `${grouped(card.trainContext)} tokens`],
    ["weights", gib(memory.weights)],
    ["each token", `${(memory.perToken / 1024).toFixed(1)} KiB of each sequence`],
    ...memory.contexts.map(({ tokens, sequences, bytes }): [string, string] => [
      sequences === memory.contexts[0]?.sequences ? `${grouped(tokens)} tokens` : "",
      `${gib(memory.weights + bytes)} with ${sequences} ${sequences === 1 ? "sequence" : "sequences"}`,
    ]),
    ["BOS", bos === null ? "none" : `${bos.text}, ${bos.prepended ? "put before prompts" : "not put before prompts"}`],
    ["EOS", card.eos ?? "none"],
    ["fills in", fim === null ? "no tokens for the middle of a text" : `by ${fim.join(" ")}`],
    ...templateRows(template),
  ];
  return rows.map(([title, text]) => `${title.padEnd(widest)}  ${text}\n`).join("");
}

function templateRows(template: ModelCard["template"]): [string, string][] {
  if (template === null) return [["template", "none: only policies with a paper's prompt format, and /v1/completions"]];
  if (typeof template === "string") return [["template", `cannot be read: ${template}`]];
  return [
    ["template", systemText[template.system]],
    ["", template.alternates ? "user and assistant must take turns" : "turns in any order"],
    ["", toolText(template)],
    ["", template.toolResults ? "results of tools" : "no turn for results of tools"],
    ["", thoughtText(template)],
  ];
}

const systemText: Readonly<Record<TemplateAbilities["system"], string>> = {
  anywhere: "system messages anywhere",
  front: "one system message, at the front",
  nowhere: "no system message: it becomes a paragraph of the user's turn",
};

const thinkingText: Readonly<Record<TemplateAbilities["thinking"], string>> = {
  switched: "thoughts, switched on and off",
  always: "thoughts before each answer",
  kept: "thoughts of earlier turns are known",
  none: "no thoughts",
};

/** `thoughts, switched on and off by enable_thinking: <think>\n … \n</think>; of effort low, medium, high`. */
function thoughtText({ thinking, thoughts }: TemplateAbilities): string {
  if (thoughts === null) return thinkingText[thinking];
  const { off, opening, space, marker, efforts } = thoughts;
  const [name] = Object.keys(off ?? {});
  const written = `${opening || "(opened by the prompt)"} … ${space}${marker}`.replaceAll("\n", "\\n");
  const levels = efforts.length > 0 ? `; of effort ${efforts.join(", ")}` : "";
  return `${thinkingText[thinking]}${name === undefined ? "" : ` by ${name}`}: ${written}${levels}`;
}

function toolText({ tools, syntax }: TemplateAbilities): string {
  if (syntax !== null) {
    const call = `${syntax.opening}{"${syntax.name}": …, "${syntax.arguments}": {…}}${syntax.closing}`;
    const written = call.replaceAll("\n", "\\n");
    return `tools, called by ${written}, ${syntax.between === null ? "one at a time" : "several at once"}`;
  }
  return tools === "told" ? "tools, whose calls are written in a way that is not read" : "no tools of its own";
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(2)} GiB`;
}

function megabytes(bytes: number): string {
  return `${grouped(Math.round(bytes / 1e6))} MB`;
}

function millions(count: number): string {
  return count < 1e9 ? `${(count / 1e6).toFixed(0)} million` : `${(count / 1e9).toFixed(2)} billion`;
}

function grouped(count: number): string {
  return count.toLocaleString("en");
}
