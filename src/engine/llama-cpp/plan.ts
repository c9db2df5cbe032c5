/**
 * @module Which of the waiting prompts and completions get a step's chunk. Nothing starves: the oldest always gets a
 * quarter of it.
 */

export interface Portion<Item> {
  readonly item: Item;
  /** Tokens left to feed. */
  readonly tokens: number;
  /** Somebody waits for it; if not, it only rides along. */
  readonly urgent: boolean;
}

const shortShare = 3 / 4;

/**
 * Shares out `budget` tokens: what has least left first, up to three quarters, so that a short request does not wait
 * for long ones; then in the given order (of arrival); then what only rides along. Portions of 0 tokens are left out.
 */
export function allot<Item>(portions: readonly Portion<Item>[], budget: number): Portion<Item>[] {
  const urgent = portions.filter((portion) => portion.urgent && portion.tokens > 0);
  const riding = portions.filter((portion) => !portion.urgent && portion.tokens > 0);
  const [oldest] = urgent;
  const shortest = urgent.reduce<Portion<Item> | undefined>(
    (best, portion) => (best && best.tokens <= portion.tokens ? best : portion),
    undefined,
  );
  const granted = new Map<Portion<Item>, number>();
  let left = budget;
  const grant = (portion: Portion<Item>, most: number): void => {
    const had = granted.get(portion) ?? 0;
    const tokens = Math.min(portion.tokens - had, most, left);
    if (tokens <= 0) return;
    granted.set(portion, had + tokens);
    left -= tokens;
  };
  if (shortest !== undefined && shortest !== oldest) grant(shortest, Math.floor(budget * shortShare));
  for (const portion of [...urgent, ...riding]) grant(portion, left);
  return [...granted].map(([portion, tokens]) => ({ ...portion, tokens }));
}
