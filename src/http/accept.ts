/**
 * Chooses between the forms that a route can answer in. The first offered form is the default:
 * a client that accepts none of them gets it rather than a refusal.
 */

/** The offered media type that the Accept header prefers; the first one where it has no say. */
export function preferredType<T extends string>(
  accept: string | undefined,
  offered: readonly [T, ...T[]],
): T {
  if (accept === undefined || accept === "*/*" || accept === offered[0]) return offered[0];
  const ranges = accept.split(",", 32).map(parseRange);
  let best: T = offered[0];
  let bestScore = 0;
  for (const type of offered) {
    const score = scoreOf(type, ranges);
    if (score > bestScore) {
      best = type;
      bestScore = score;
    }
  }
  return best;
}

interface MediaRange {
  readonly type: string;
  readonly quality: number;
}

function parseRange(text: string): MediaRange {
  const [type = "", ...parameters] = text.split(";").map((part) => part.trim().toLowerCase());
  const weight = parameters.find((parameter) => parameter.startsWith("q="));
  const quality = weight === undefined ? 1 : Number(weight.slice(2));
  return { type, quality: quality >= 0 && quality <= 1 ? quality : 0 };
}

/** The weight first; between equal weights, the type that was named beats one a wildcard covers. */
function scoreOf(type: string, ranges: readonly MediaRange[]): number {
  const family = `${type.slice(0, type.indexOf("/"))}/*`;
  for (const [specificity, name] of [type, family, "*/*"].entries()) {
    const range = ranges.find((candidate) => candidate.type === name);
    if (range !== undefined) return range.quality === 0 ? 0 : range.quality * 10 + 2 - specificity;
  }
  return 0;
}
