/** @module The bytes that the entries of a vocabulary stand for. */

const utf8 = new TextEncoder();

/** `vocabulary` is its kind, as GGUF names it; undefined where that kind is not known here. */
export function tokenBytes(vocabulary: string, entry: string): Uint8Array | undefined {
  if (vocabulary === "gpt2") {
    const bytes = Array.from(entry, (character) => byteOf.get(character));
    return bytes.every((byte) => byte !== undefined) ? Uint8Array.from(bytes) : undefined;
  }
  if (vocabulary === "llama") {
    const [, byte] = /^<0x([0-9A-F]{2})>$/u.exec(entry) ?? [];
    return byte === undefined ? utf8.encode(entry.replaceAll("\u2581", " ")) : Uint8Array.of(Number.parseInt(byte, 16));
  }
  return undefined;
}

/**
 * GPT-2 writes each byte as one printable character: those that are printable stand for themselves, the others follow
 * from U+0100 on.
 */
const byteOf: ReadonlyMap<string, number> = (() => {
  const isPrintable = (byte: number): boolean => (byte > 0x20 && byte < 0x7f) || (byte > 0xa0 && byte !== 0xad);
  let shifted = 0x100;
  return new Map(
    Array.from({ length: 256 }, (_, byte) => [String.fromCharCode(isPrintable(byte) ? byte : shifted++), byte]),
  );
})();
