/** @module A loaded model: its tokenizer, its chat template, and what ends a completion. */
import type { Conversation, Tool } from "../../types/conversation.ts";
import { GatewayError } from "../../types/error.ts";
import { charactersOf, checkCharacters } from "../characters.ts";
import type { EngineInfo, Prompt, TemplateVariables, Token } from "../engine.ts";
import { ChatTemplate, renderedTokens } from "../template/chat-template.ts";
import { thinkingOf } from "../template/thinking.ts";
import type { Backend } from "./backend.ts";
import type { Detokenize } from "./completion-text.ts";
import { type EngineSize, loadNative, type Native, type NativeOptions } from "./native.ts";
import { readVocabulary } from "./native-model.ts";
import type { Describe } from "./task-sequences.ts";
import type { ThreadControl } from "./threads.ts";

export interface LoadedModel {
  readonly info: EngineInfo;
  readonly size: EngineSize;
  readonly backend: Backend;
  readonly longer: Native["longer"];
  readonly openLonger: Native["openLonger"];
  readonly threads: ThreadControl;
  readonly detokenize: Detokenize;
  readonly endsGeneration: (token: Token) => boolean;
  readonly vocabularySize: number;
  readonly describe: Describe;
  tokenize(text: string): Token[];
  textPrompt(text: string, special: boolean): Prompt;
  chatPrompt(messages: Conversation, tools: readonly Tool[], variables?: TemplateVariables): Prompt;
}

/** Loads the model file into a context. Throws llama.cpp's error where it cannot. */
export async function loadModel(options: NativeOptions & { readonly model: string }): Promise<LoadedModel> {
  const { model, backend, longer, openLonger, size, threads } = await loadNative(options);
  const vocabulary = readVocabulary(model);
  const template = model.chatTemplate === undefined ? undefined : new ChatTemplate(model.chatTemplate, vocabulary);
  const withBos = (tokens: Token[]): Token[] =>
    model.bos !== undefined && model.prependsBos && tokens[0] !== model.bos ? [model.bos, ...tokens] : tokens;

  const thinking = await thinkingOf(template?.thoughts ?? null, (text) => vocabulary.tokenizeSpecial(text));
  const info: EngineInfo = {
    model: options.model,
    contextSize: size.contextSize,
    longerContext: size.longerContext,
    mostCharacters: size.contextSize * model.longestToken,
    vocabularySize: model.vocabularySize,
    capabilities: {
      chat: template !== undefined,
      text: true,
      score: true,
      grammar: true,
      contrast: true,
      tools: template?.tools ?? null,
      lacks: { penaltiesTogether: "llama.cpp counts the prompt's tokens for the one and not for the others" },
      ...(thinking && { thinking }),
      ...(model.infill && { infill: model.infill }),
    },
    sharesPrefixes: true,
  };
  return {
    info,
    size,
    backend,
    longer,
    openLonger,
    threads,
    detokenize: model.detokenize,
    endsGeneration: (token) => model.endsGeneration(token),
    vocabularySize: model.vocabularySize,
    describe(token) {
      const bytes = model.bytes(token);
      return { text: new TextDecoder().decode(bytes), bytes: [...bytes] };
    },
    // A text that cannot fit is not even tokenised: that takes long, and everybody waits.
    tokenize(text) {
      checkCharacters(info, text.length, "text");
      return model.tokenizeContinuation(text);
    },
    textPrompt(text, special) {
      checkCharacters(info, text.length, "prompt");
      const own = special ? vocabulary.tokenizeSpecial(text) : vocabulary.tokenize(text);
      const tokens = withBos(own);
      return { tokens, end: vocabulary.endOfSequence, opening: tokens.length - own.length };
    },
    chatPrompt(messages, tools, variables) {
      if (template === undefined)
        throw new GatewayError(
          "invalid_request",
          "This model has no chat template: use the prompt format hh-rlhf or synthetic-gpt.",
          {
            param: "prompt",
          },
        );
      checkCharacters(info, charactersOf(messages, tools), "messages");
      return {
        tokens: withBos(renderedTokens(template.render(messages, tools, variables), vocabulary)),
        end: template.end,
        leaves: template.leaves,
      };
    },
  };
}
