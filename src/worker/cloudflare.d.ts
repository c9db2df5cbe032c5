/** What the runtime provides: of it, what is used. */
declare module "cloudflare:workers" {
  export abstract class DurableObject {
    constructor(state: import("@cloudflare/workers-types").DurableObjectState, environment: unknown);
  }
  /** Lets work go on after the answer has gone out, for half a minute at most. Throws where no request is under way. */
  export function waitUntil(promise: Promise<unknown>): void;
}

/** The files that were bundled when the worker was built (`icdpo bundle`). */
declare module "#bundle" {
  const bundle: unknown;
  export default bundle;
}
