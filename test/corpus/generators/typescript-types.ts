/** @module Types as people write them for tools and answers. */

/** What is to be looked for. */
export interface SearchArguments {
  /**
   * The words.
   * @minLength 1
   * @maxLength 200
   */
  query: string;
  /**
   * @minimum 1
   * @maximum 100
   * @default 10
   */
  limit?: number;
  order?: "newest" | "relevance";
  filters?: Record<string, string | number>;
}

export interface EditArguments {
  path: string;
  edits: { oldText: string; newText: string }[];
  dryRun?: boolean;
}

export type NoArguments = Record<string, never>;

export interface Address {
  street: string;
  /** @pattern ^[0-9]{5}$ */
  zip: string;
}

export interface Person {
  name: string;
  /** @asType integer */
  age?: number;
  home: Address;
  work: Address | null;
  tags: readonly string[];
  born: Date;
}

export enum Level {
  low = 1,
  high = 2,
}

export enum Colour {
  red = "red",
  blue = "blue",
}

export type Shape =
  | { type: "circle"; radius: number }
  | { type: "rectangle"; width: number; height: number }
  | { type: "none" };

export interface Drawing {
  shapes: Shape[];
  level: Level;
  colour?: Colour;
  at: [number, number];
  path: [string, ...number[]];
}

export interface Tree<Value> {
  value: Value;
  children?: Tree<Value>[];
}

export type NumberTree = Tree<number>;

export type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

export interface Loose {
  name: string;
  [extra: string]: unknown;
}

export type Partially = Partial<Person> & Pick<Address, "zip">;

export interface Answer {
  /** @format date-time */
  at: string;
  /** @format email */
  mail: string;
  result: { ok: true; value: string } | { ok: false; error: { code: 400 | 404 | 500; message: string } };
  version: `v${number}`;
  unknown: unknown;
  nothing: null;
  maybe: string | undefined;
  never?: never;
}

export type Mapping = { [Key in "left" | "right"]: number };

export interface Base {
  id: string;
}

export interface Derived extends Base {
  kind: "derived";
  parent?: Base;
}

export type Either = Base | Derived | string[];
