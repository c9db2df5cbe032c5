/** @module Do scorers rank candidates as a judge does? The mean reciprocal rank of § 4.2. */
import { type Conversation, judgePair, type Teacher } from "icdpo-gateway/laboratory";

/**
 * 1 / (the rank that `scores` give to the candidate that `truth` finds best): 1 where both agree on the best. Equal
 * scores share their places: the mean over their orders; where several are best, the mean over them. So a scorer that
 * knows nothing gets what chance does, 0.61 of three.
 */
export function reciprocalRank(scores: readonly number[], truth: readonly number[]): number {
  const most = Math.max(...truth);
  const ranks = truth.flatMap((value, candidate) => (value === most ? [expectedReciprocal(scores, candidate)] : []));
  return ranks.reduce((sum, rank) => sum + rank, 0) / ranks.length;
}

function expectedReciprocal(scores: readonly number[], candidate: number): number {
  const own = scores[candidate] as number;
  const before = scores.filter((score) => score > own).length;
  const equal = scores.filter((score) => score === own).length;
  let sum = 0;
  for (let place = before + 1; place <= before + equal; place++) sum += 1 / place;
  return sum / equal;
}

/** What a ranking without knowledge gets: (1 + 1/2 + … + 1/n) / n. */
export function chanceReciprocalRank(candidates: number): number {
  return expectedReciprocal(new Array<number>(candidates).fill(0), 0);
}

/**
 * `[candidates]`: points of each against each other, a tie half a point. Null where the verdict on a pair cannot be
 * read. Equal texts tie unasked.
 */
export async function judgedPoints(
  judge: Teacher,
  conversation: Conversation,
  candidates: readonly string[],
  key: string,
  signal: AbortSignal,
): Promise<number[] | null> {
  const points = candidates.map(() => 0);
  for (const [a, first] of candidates.entries())
    for (const [b, second] of candidates.entries()) {
      if (b <= a) continue;
      const value =
        first === second ? 0.5 : await judgePair(judge, conversation, first, second, `${key}-${a}-${b}`, signal);
      if (value === null) return null;
      points[a] = (points[a] as number) + value;
      points[b] = (points[b] as number) + 1 - value;
    }
  return points;
}
