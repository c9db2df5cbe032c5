/** @module llama.cpp's own parser of grammars. It needs no model. */
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

interface Bindings {
  readonly AddonGrammar: new (
    gbnf: string,
    options: { readonly addonExports: unknown },
  ) => { isTextCompatible(text: string): boolean };
}

/** Resolves to a function that parses a grammar (throws where llama.cpp refuses it) and says which texts are in it. */
export async function grammarParser(): Promise<(gbnf: string) => (text: string) => boolean> {
  const llama = await getLlama({ gpu: false, logLevel: LlamaLogLevel.disabled, build: "never" });
  const { _bindings } = llama as unknown as { readonly _bindings: Bindings };
  return (gbnf) => {
    const grammar = new _bindings.AddonGrammar(gbnf, { addonExports: _bindings });
    return (text) => grammar.isTextCompatible(text);
  };
}
