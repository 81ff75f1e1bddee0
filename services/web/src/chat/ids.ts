/** Ids the page makes itself. */

/**
 * Make an unguessable, unique id: 128 random bits as 32 hex digits.
 *
 * `crypto.randomUUID` would do, but exists on secure origins only, and a page may be tried over plain HTTP.
 */
export function randomId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
