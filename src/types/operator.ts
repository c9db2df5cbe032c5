/** @module What the operator is told. */

/** Lines for the person at the terminal; results go elsewhere. */
export type Report = (line: string) => void;
