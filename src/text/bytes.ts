/** @module Bytes as text. */
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** SHA-256 of the text's UTF-8, 64 hex digits. */
export function sha256Hex(text: string): string {
  return bytesToHex(sha256(utf8ToBytes(text)));
}

/** Base64 without padding, as URLs and cookies take it. */
export function base64Url(bytes: Uint8Array): string {
  return toBase64(bytes).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** The bytes of base64 as `base64Url` writes it. Throws where it is none. */
export function fromBase64Url(text: string): Uint8Array<ArrayBuffer> {
  return fromBase64(text.replaceAll("-", "+").replaceAll("_", "/"));
}

/** Base64 of 32-bit floats, little-endian, as OpenAI's clients read embeddings. */
export function floatsToBase64(floats: Float32Array): string {
  const view = new DataView(new ArrayBuffer(floats.length * floatBytes));
  for (const [i, value] of floats.entries()) view.setFloat32(i * floatBytes, value, true);
  return toBase64(new Uint8Array(view.buffer));
}

/** The floats of base64 as `floatsToBase64` writes it. Throws where it is none. */
export function floatsFromBase64(text: string): Float32Array<ArrayBuffer> {
  const view = new DataView(fromBase64(text).buffer);
  return Float32Array.from({ length: view.byteLength / floatBytes }, (_, i) => view.getFloat32(i * floatBytes, true));
}

const floatBytes = 4;

function toBase64(bytes: Uint8Array): string {
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}

/** The same as `sha256Hex`, off the event loop: for texts that may be long. */
export async function sha256HexAsync(text: string): Promise<string> {
  return bytesToHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));
}
