/** @module Experiments by user whose requests are all of one: nobody is compared with anybody then. */

/** So many requests of one unit are no chance. */
export const manyRequests = 50;

/** What a gateway has seen of each experiment since it began. */
export class LoneUnits {
  /** Null: of several units. */
  readonly #seen = new Map<string, { readonly unit: string; count: number } | null>();

  /** True once for each experiment: when so many requests have been of one unit alone. */
  see(experiment: string, unit: string): boolean {
    const seen = this.#seen.get(experiment);
    if (seen === null) return false;
    if (seen === undefined || seen.unit !== unit) {
      this.#seen.set(experiment, seen === undefined ? { unit, count: 1 } : null);
      return false;
    }
    seen.count += 1;
    return seen.count === manyRequests;
  }
}

/** For people. */
export const loneUnitRemedy =
  "Have the front end name its users: `user` in requests, or a header (ICDPO_USER_HEADERS) that is trusted by ICDPO_TRUST_PROXY=1 or a key's user_headers; or assign by conversation (unit: conversation).";
