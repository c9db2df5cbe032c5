/** @module HH-RLHF's transcripts, for tests that are given the data by `ICDPO_TEST_DATA`. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { gunzipSync } from "node:zlib";
import type { Message } from "../../src/types/conversation.ts";
import { dataFolder } from "../needs.ts";

export interface Pair {
  readonly messages: Message[];
  readonly chosen: string;
  readonly rejected: string;
}

const assistantTurn = "\n\nAssistant:";

export function readPairs(): Pair[] {
  const file = path.join(dataFolder ?? "", "hh-rlhf-harmless-base-dev.jsonl.gz");
  const lines = gunzipSync(readFileSync(file)).toString("utf8").trim().split("\n");
  return lines.map((line) => {
    const { chosen, rejected } = JSON.parse(line) as { chosen: string; rejected: string };
    const end = chosen.lastIndexOf(assistantTurn);
    const response = (text: string): string =>
      text.slice(text.lastIndexOf(assistantTurn) + assistantTurn.length).trim();
    return { messages: parseTranscript(chosen.slice(0, end)), chosen: response(chosen), rejected: response(rejected) };
  });
}

/** Turns of "\n\nHuman: …\n\nAssistant: …", contents unchanged. */
function parseTranscript(text: string): Message[] {
  return text
    .split(/\n\n(?=(?:Human|Assistant): )/u)
    .filter((turn) => turn !== "")
    .map((turn) => {
      const colon = turn.indexOf(": ");
      return { role: turn.startsWith("Human") ? "user" : "assistant", content: turn.slice(colon + 2) };
    });
}
