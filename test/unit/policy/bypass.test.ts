/**
 * What front ends ask for beside the conversation, by the beginnings of their prompts (of 2026-11), and what people ask
 * that looks like it.
 */
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { bypasses } from "../../../src/policy/bypass.ts";
import { parseYaml } from "../../../src/policy/parse.ts";
import type { Policy } from "../../../src/policy/policy.ts";
import { policySchema } from "../../../src/policy/schema.ts";
import type { Conversation } from "../../../src/types/conversation.ts";

const file = "policies/everyday.yaml";
const settings = parseYaml(file, readFileSync(file, "utf8"), policySchema);
const isHousekeeping = (conversation: Conversation): boolean =>
  bypasses({ settings } as unknown as Policy, { conversation, maxTokens: 512, usesTools: false, wantsJson: false });
const said = (content: string): Conversation => [
  { role: "system", content: "You are a helpful assistant." },
  { role: "user", content: "Hi" },
  { role: "assistant", content: "Hello!" },
  { role: "user", content },
];
const told = (content: string): Conversation => [
  { role: "system", content },
  { role: "user", content: "How do I keep basil alive indoors?" },
];

describe("the default policy's method", () => {
  const facts = { conversation: said("How do magnets work?"), maxTokens: 512, usesTools: false, wantsJson: false };
  const isBypassed = (more: Partial<typeof facts>) =>
    bypasses({ settings } as unknown as Policy, { ...facts, ...more });

  it("answers questions, and lets requests with tools or for JSON past", () => {
    expect(isBypassed({})).toBe(false);
    expect(isBypassed({ usesTools: true })).toBe(true);
    expect(isBypassed({ wantsJson: true })).toBe(true);
  });
});

describe("housekeeping of front ends is recognised", () => {
  it.each([
    ["Open WebUI, title", "### Task:\nGenerate a concise, 3-5 word title with an emoji summarizing the chat history."],
    ["Open WebUI, tags", "### Task:\nGenerate 1-3 broad tags categorizing the main themes of the chat history"],
    ["Open WebUI, image", "### Task:\nGenerate a detailed prompt for am image generation task based on"],
    ["Open WebUI, follow-ups", "### Task:\nSuggest 3-5 relevant follow-up questions or prompts that the user"],
    [
      "Open WebUI, queries",
      "### Task:\nAnalyze the chat history to determine the necessity of generating search queries",
    ],
    ["Open WebUI, autocompletion", "### Task:\nYou are an autocompletion system. Continue the text in `<text>`"],
    ["Open WebUI, emoji", "Your task is to reflect the speaker's likely facial expression through a fitting emoji."],
    [
      "Open WebUI, mixture of agents",
      'You have been provided with a set of responses from various models to the latest user query: "Hi"',
    ],
    [
      "LibreChat, completion",
      "Provide a concise, 5-word-or-less title for the conversation, using title case conventions.",
    ],
    ["LibreChat, structured", "Analyze this conversation and provide:\n1. The detected language of the conversation"],
    [
      "LibreChat, older",
      "Detect user language and write in the same language an extremely concise title for this conversation",
    ],
    ["Continue", "Given the following... please reply with a title for the chat that is 3-4 words in length"],
    [
      "Codex, compaction",
      "You are performing a CONTEXT CHECKPOINT COMPACTION. Create a handoff summary for another LLM",
    ],
    [
      "Codex, title",
      "You are a helpful assistant. You will be presented with a user prompt, and your job is to provide a short title for a task",
    ],
    [
      "Claude Code, compaction",
      "Your task is to create a detailed summary of the conversation so far, paying close attention",
    ],
    [
      "Claude Code, compaction of late",
      "CRITICAL: Respond with TEXT ONLY. Do NOT call any tools.\n\nYour task is to create",
    ],
    ["Claude Code, next", "[SUGGESTION MODE: Suggest what the user might naturally type next into Claude Code.]"],
    ["opencode, compaction", "Provide a detailed but concise summary of our conversation above. Focus on information"],
    ["opencode, newer compaction", "Provide a detailed prompt for continuing our conversation above."],
    ["Gemini CLI and Qwen Code", "First, reason in your scratchpad. Then, generate the <state_snapshot>."],
    [
      "who speaks next",
      "Analyze *only* the content and structure of your immediately preceding response (your last turn",
    ],
  ])("by the last message: %s", (_, prompt) => {
    expect(isHousekeeping(said(prompt))).toBe(true);
  });

  it.each([
    [
      "Open WebUI, tools",
      'Available Tools: [{"name": "search"}]\n\nYour task is to choose and return the correct tool(s)',
    ],
    ["opencode, title", "You are a title generator. You output ONLY a thread title. Nothing else."],
    ["opencode, compaction", "You are summarizing a conversation for continuation by another agent."],
    ["opencode, summary", "Summarize what was done in this conversation. Write like a pull request description."],
    [
      "Claude Code, title",
      "You are Claude Code, Anthropic's official CLI for Claude.\nGenerate a concise, sentence-case title (3-7 words) that captures",
    ],
    [
      "Claude Code, topic",
      "Analyze if this message indicates a new conversation topic. If it does, extract a 2-3 word title",
    ],
    ["Claude Code, summaries", "You are a helpful AI assistant tasked with summarizing conversations."],
    [
      "Gemini CLI and Qwen Code",
      "\nYou are the component that summarizes internal chat history into a given structure.",
    ],
    ["aider, summary", "*Briefly* summarize this partial conversation about programming."],
    ["aider, commit", "You are an expert software engineer that generates concise, one-line Git commit messages"],
  ])("by the system message: %s", (_, system) => {
    expect(isHousekeeping(told(system))).toBe(true);
  });

  it.each([
    "### Task:\nRespond to the user query using the provided context, incorporating inline citations",
    "### Task:\nWrite a function that sorts a list.",
    "Generate a concise summary of this article.",
    "Provide a concise explanation of entropy.",
    "Write a short title for my essay on rain.",
    "Your task is to write a poem.",
    "What does a title generator do?",
    'What is "CONTEXT CHECKPOINT COMPACTION"?',
  ])("and questions are not: %s", (prompt) => {
    expect(isHousekeeping(said(prompt))).toBe(false);
  });

  it.each([
    "You are Claude Code, Anthropic's official CLI for Claude.\nYou are an interactive CLI tool that helps users",
    "You are Codex, based on GPT-5. You are running as a coding agent in the Codex CLI on a user's computer.",
    "You are an expert software engineer. Answer briefly.",
    "You are opencode, an interactive CLI tool that helps users with software engineering tasks.",
  ])("nor is what agents' own turns begin with: %s", (system) => {
    expect(isHousekeeping(told(system))).toBe(false);
  });
});
