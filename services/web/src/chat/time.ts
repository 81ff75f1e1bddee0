/** Times as people read them, in their language and zone. */

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: "long" });
const shortDate = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short" });
const date = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const fullDate = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long", year: "numeric" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });

/** A number that is the same for all moments of one day here, and one more for the next day. */
export function dayOf(at: number): number {
  const moment = new Date(at);
  return Math.round(Date.UTC(moment.getFullYear(), moment.getMonth(), moment.getDate()) / 86_400_000);
}

/** `14:05` */
export function clockTime(at: number): string {
  return clock.format(at);
}

/** The exact moment, for a tooltip. */
export function exactTime(at: number): string {
  return exact.format(at);
}

/** The heading of a day: Today, Yesterday, Monday, or the date. */
export function dayName(at: number, now: number): string {
  const ago = dayOf(now) - dayOf(at);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  if (ago > 1 && ago < 7) return weekday.format(at);
  return new Date(at).getFullYear() === new Date(now).getFullYear() ? date.format(at) : fullDate.format(at);
}

/** For a list: the time if today, else the day. */
export function shortTime(at: number, now: number): string {
  const ago = dayOf(now) - dayOf(at);
  if (ago === 0) return clock.format(at);
  if (ago === 1) return "Yesterday";
  return shortDate.format(at);
}
