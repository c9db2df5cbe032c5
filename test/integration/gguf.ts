/** @module Writes GGUF files: models so small that a test can make them, with weights in F32. */

export interface Tensor {
  readonly name: string;
  readonly dimensions: readonly number[];
  readonly values: Float32Array;
}

const alignment = 32;

export function gguf(metadata: readonly Buffer[], tensors: readonly Tensor[]): Buffer {
  let offset = 0;
  const placed = tensors.map((tensor) => {
    const at = offset;
    offset += padded(tensor.values.byteLength);
    return { ...tensor, at };
  });
  const infos = placed.map(({ name, dimensions, at }) =>
    Buffer.concat([string(name), u32(dimensions.length), ...dimensions.map(u64), u32(0), u64(at)]),
  );
  const head = Buffer.concat([
    Buffer.from("GGUF"),
    u32(3),
    u64(tensors.length),
    u64(metadata.length),
    ...metadata,
    ...infos,
  ]);
  const whole = Buffer.alloc(padded(head.length) + offset);
  head.copy(whole);
  for (const { values, at } of placed) Buffer.from(values.buffer).copy(whole, padded(head.length) + at);
  return whole;
}

export function tensorOf(name: string, dimensions: readonly number[], value: () => number): Tensor {
  return {
    name,
    dimensions,
    values: Float32Array.from({ length: dimensions.reduce((product, size) => product * size, 1) }, value),
  };
}

export function text(key: string, value: string): Buffer {
  return entry(key, 8, string(value));
}

export function number(key: string, value: number): Buffer {
  return entry(key, 4, u32(value));
}

export function float(key: string, value: number): Buffer {
  return entry(key, 6, f32(value));
}

export function flag(key: string, value: boolean): Buffer {
  return entry(key, 7, Buffer.from([Number(value)]));
}

export function texts(key: string, values: readonly string[]): Buffer {
  return list(key, 8, values.map(string));
}

export function integers(key: string, values: readonly number[]): Buffer {
  return list(key, 5, values.map(u32));
}

export function floats(key: string, values: readonly number[]): Buffer {
  return list(key, 6, values.map(f32));
}

function list(key: string, type: number, values: readonly Buffer[]): Buffer {
  return entry(key, 9, Buffer.concat([u32(type), u64(values.length), ...values]));
}

function padded(size: number): number {
  return Math.ceil(size / alignment) * alignment;
}

function entry(key: string, type: number, value: Buffer): Buffer {
  return Buffer.concat([string(key), u32(type), value]);
}

function string(value: string): Buffer {
  const bytes = Buffer.from(value);
  return Buffer.concat([u64(bytes.length), bytes]);
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function u64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
}

function f32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return bytes;
}
