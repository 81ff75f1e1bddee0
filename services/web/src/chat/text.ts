/** Reading a message's text: where its links are, whether it is nothing but emoji, whether it is long. */

/** A piece of a message: plain text, or a link with the address it leads to. */
export interface Piece {
  readonly text: string;
  readonly href: string | null;
}

const LINK = /\b(?:https?:\/\/|www\.)[^\s<>"'`\u0000-\u001f\u200e\u200f\u202a-\u202e\u2066-\u2069]+/giu;
const CLOSERS: Record<string, string> = { ")": "(", "]": "[", "}": "{" };

/** Split text into plain pieces and links. Only http and https become links, so no script can hide in one. */
export function pieces(text: string): Piece[] {
  const found: Piece[] = [];
  let end = 0;
  for (const match of text.matchAll(LINK)) {
    const shown = trimmed(match[0]);
    const href = address(shown);
    if (href === null) continue;
    if (match.index > end) found.push({ text: text.slice(end, match.index), href: null });
    found.push({ text: shown, href });
    end = match.index + shown.length;
  }
  if (end < text.length) found.push({ text: text.slice(end), href: null });
  return found;
}

/** Leave out what ends the sentence rather than the address, such as a full stop or an unopened bracket. */
function trimmed(link: string): string {
  let end = link.length;
  while (end > 0) {
    const last = link[end - 1]!;
    const opener = CLOSERS[last];
    const inside = link.slice(0, end);
    const unopened = opener !== undefined && inside.split(last).length > inside.split(opener).length;
    if (!unopened && !/[.,:;!?*_~'"»”’…]/u.test(last)) break;
    end -= 1;
  }
  return link.slice(0, end);
}

function address(shown: string): string | null {
  const full = /^www\./iu.test(shown) ? `https://${shown}` : shown;
  try {
    const url = new URL(full);
    return (url.protocol === "http:" || url.protocol === "https:") && url.hostname.includes(".") || url.hostname === "localhost"
      ? url.href
      : null;
  } catch {
    return null;
  }
}

const EMOJI = /^(?:(?:\p{Extended_Pictographic}|\p{Regional_Indicator}{2})[\p{Emoji_Modifier}\u200d\ufe0f\p{Extended_Pictographic}]*\s*)+$/u;
/** So many emoji are shown large; more of them read as text. */
const LARGE = 3;

/** Whether the text is one to three emoji and nothing else. */
export function isLargeEmoji(text: string): boolean {
  if (text.length > 50 || !EMOJI.test(text)) return false;
  const symbols = [...new Intl.Segmenter().segment(text)].filter(({ segment }) => segment.trim() !== "");
  return symbols.length <= LARGE;
}

const FOLD_LINES = 24;
const FOLD_CHARACTERS = 1_600;

/** The beginning of a long message, to be shown until more is asked for; null when all of it may be shown. */
export function folded(text: string): string | null {
  const lines = text.split("\n", FOLD_LINES + 1);
  const short = (lines.length > FOLD_LINES ? lines.slice(0, FOLD_LINES).join("\n") : text).slice(0, FOLD_CHARACTERS);
  // Folding away a few words would only be in the way.
  if (text.length - short.length < 200 && lines.length <= FOLD_LINES) return null;
  // Not in the middle of a surrogate pair.
  return /[\ud800-\udbff]$/u.test(short) ? short.slice(0, -1) : short;
}

/** How many characters the server counts: Unicode code points, not the units of a JavaScript string. */
export function characters(text: string): number {
  let count = 0;
  for (const _ of text) count += 1;
  return count;
}
