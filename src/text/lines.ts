/**
 * @module Lines of UTF-8 text. A line ends with LF or CRLF and with nothing else: JSON may hold U+2028, U+2029 or
 * U+0085 as they are.
 */
import { GatewayError } from "../types/error.ts";

/** Characters. More than this is no line of JSONL, and would fill the memory. */
const longestLine = 100_000_000;

/** Lines of text, a byte order mark left out; "" after a last line that is ended. */
export function splitLines(text: string): string[] {
  return text.replace(/^\uFEFF/u, "").split(/\r?\n/u);
}

/**
 * Lines of UTF-8 bytes as they come, a byte order mark left out; what is no UTF-8 becomes U+FFFD. A last line need not
 * be ended. Throws "configuration" where a line has more than `longest` characters; `name` is the text's, for people.
 */
export async function* linesOf(
  name: string,
  chunks: AsyncIterable<Uint8Array>,
  longest = longestLine,
): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let number = 1;
  let rest = "";
  for await (const chunk of chunks) {
    const [continued = "", ...begun] = decoder.decode(chunk, { stream: true }).split("\n");
    rest += continued;
    for (const next of begun) {
      yield rest.endsWith("\r") ? rest.slice(0, -1) : rest;
      number += 1;
      rest = next;
    }
    if (rest.length > longest)
      throw new GatewayError(
        "configuration",
        `${name}:${number}: longer than ${longest} characters. Each line must be one JSON object.`,
      );
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}
