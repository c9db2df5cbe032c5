/**
 * A process that writes what others write as well: `embeddings FOLDER NAME COUNT`, or `journal FILE NAME COUNT`. Says
 * "begun" and "done".
 */
import { createHash } from "node:crypto";
import { openJournal } from "../../../dist/demonstrations/demonstration-files.js";
import { rememberEmbeddings } from "../../../dist/retrieval/embedding-file.js";

const [kind, place, name, count] = process.argv.slice(2);
const tell = (line) => process.stdout.write(`${line}\n`);
const model = { model: "vectors", name: "vectors", countTokens: () => 1, embed: async (texts) => texts.map(vectorOf) };

/** As shared-files.test.ts has it. */
function vectorOf(text) {
  const bytes = createHash("sha512").update(text).digest();
  return Float32Array.from({ length: 32 }, (_, i) => bytes.readInt16LE(i * 2) / 32768);
}

if (kind === "embeddings") {
  const kept = await rememberEmbeddings(model, place, tell);
  tell("begun");
  // Some that the others have as well.
  for (let i = 0; i < Number(count); i++) await kept.embedKept([`${name} ${i}`, `all ${i}`, `all ${i + 1}`]);
} else {
  const journal = await openJournal(place);
  tell("begun");
  for (let i = 0; i < Number(count); i++) await journal.add({ text: `${name} ${i} ${"é\u2028".repeat(i % 50)}` });
  await journal.close();
}
tell("done");
