/** @module The door of `icdpo tune`, which the gateway's program loads. */

export { tuneCommand as command } from "./commands/tune-command.ts";
