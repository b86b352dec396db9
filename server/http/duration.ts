const units: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** Longest duration that the API takes: ten years. */
export const durationMaxMs = 3650 * 86_400_000;

/** How durations are written, for messages and docs. A unit is required: a plain 30 has cost too many people a factor of 1000. */
export const durationForm = "a whole number and a unit: 500ms, 30s, 5m, 1h, 7d";

/** Milliseconds of a written duration; null when it is not one, or longer than ten years. */
export function parseDuration(text: string): number | null {
  const match = /^(\d{1,12})(ms|s|m|h|d)$/.exec(text);
  const factor = units[match?.[2] ?? ""];
  if (match === null || factor === undefined) {
    return null;
  }
  const value = Number(match[1]) * factor;
  return value <= durationMaxMs ? value : null;
}
