/** Numbers as an operator reads them. */

const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat(undefined, { maximumSignificantDigits: 3 });
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/** What stands where there is no value. */
export const NONE = "–";

export function countText(value: number | null): string {
  return value === null ? NONE : whole.format(value);
}

/** A rate, in events a second. */
export function rateText(value: number | null): string {
  return value === null ? NONE : `${value >= 100 ? whole.format(value) : short.format(value)}/s`;
}

/** A time span given in seconds. */
export function spanText(seconds: number | null): string {
  if (seconds === null) return NONE;
  if (seconds < 1) return `${short.format(seconds * 1000)} ms`;
  return `${short.format(seconds)} s`;
}

export function timeText(at: number): string {
  return clock.format(at);
}
