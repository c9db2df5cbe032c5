/**
 * What an encoder's GGUF makes of texts, by llama.cpp: a JSON string a line on stdin, the state of each as float32 on
 * stdout. A text is tokenised as the gateway tokenises what a chat template writes.
 *
 *     node states.mjs ENCODER.gguf < texts.jsonl > states.f32
 */
import { stdin, stdout } from "node:process";
import { getLlama, LlamaLogLevel } from "node-llama-cpp";

const [, , file] = process.argv;
const texts = (await stdin.setEncoding("utf8").toArray()).join("").trim().split("\n");
const llama = await getLlama({ build: "never", gpu: false, logLevel: LlamaLogLevel.error });
const model = await llama.loadModel({ modelPath: file });
const contextSize = model.trainContextSize;
// One thread: several wait for each other where the machine has other work.
const context = await model.createEmbeddingContext({ contextSize, batchSize: contextSize, threads: 1 });
for (const text of texts) {
  const tokens = model.tokenize(JSON.parse(text), true);
  // The context wants a place more than a text has tokens; what does not fit has no state.
  const fits = tokens.length < contextSize;
  const { vector } = await context.getEmbeddingFor(fits ? tokens : tokens.slice(0, 2));
  stdout.write(Buffer.from(Float32Array.from(fits ? vector : vector.map(() => Number.NaN)).buffer));
}
await llama.dispose();
