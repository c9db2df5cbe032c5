/** @module The chat template that llama-server tells, where messages can be seen in what it renders. */
import { quoted } from "../../text/quoted.ts";
import type { Conversation } from "../../types/conversation.ts";
import type { RemoteWorld } from "../engines.ts";
import { ChatTemplate } from "../template/chat-template.ts";
import type { ServedVocabulary } from "./llama-server-tokenizer.ts";

/** Null where there is none, or none that can be used; the log says why. */
export function readTemplate(source: string, vocabulary: ServedVocabulary, world: RemoteWorld): ChatTemplate | null {
  const probe: Conversation = [{ role: "user", content: "PROBE-TEXT" }];
  if (source === "") return null;
  try {
    const template = new ChatTemplate(source, vocabulary);
    const rendering = template.render(probe);
    if (rendering.type === "text" && rendering.text.includes("PROBE-TEXT")) return template;
    world.log("engine: llama-server's chat template does not show messages; chat formats cannot be used.");
  } catch (error) {
    world.log(
      `engine: llama-server's chat template cannot be used: ${quoted(error instanceof Error ? error.message : String(error))}`,
    );
  }
  return null;
}
