/**
 * An embeddings' thread without a model, which reads two tokens. An embedding is the text's length and how many texts
 * came before; it takes a while.
 */
import { parentPort } from "node:worker_threads";

let count = 0;
parentPort.on("message", ({ id, text }) => {
  if (text === "die") process.exit(1);
  const until = performance.now() + 20;
  while (performance.now() < until);
  if (text === "unreadable") parentPort.postMessage({ type: "failed", id, reason: "no such letters" });
  else parentPort.postMessage({ type: "embedding", id, embedding: Float32Array.of(text.length, count++), tokens: 2 });
});
parentPort.postMessage({ type: "ready", window: 2 });
