/** @module The door that the gateway's program loads. */

export { evalCommand as command } from "./commands/eval.ts";
