/** @module Values that are read only, with all that they hold: what came in and was checked. */

export type DeepReadonly<T> = T extends object ? { readonly [K in keyof T]: DeepReadonly<T[K]> } : T;
