/**
 * What the browser keeps for the page: JSON values in local storage, shared by all tabs.
 *
 * Storage can be full, blocked or edited by hand, so writing reports whether it worked and reading
 * returns null for whatever is not there or not JSON.
 */

/** The part of the browser's `Storage` that is used; tests pass a map. */
export type Shelf = Pick<Storage, "getItem" | "setItem" | "removeItem" | "key" | "length">;

const PREFIX = "parley.";

export class Keep {
  constructor(private readonly shelf: Shelf) {}

  get(key: string): unknown {
    const raw = this.shelf.getItem(PREFIX + key);
    if (raw === null) return null;
    try {
      return JSON.parse(raw) as unknown;
    } catch {
      return null; // Edited by hand or by another program: as good as absent.
    }
  }

  /** Returns false when the browser refuses (full, or storage is blocked). */
  set(key: string, value: unknown): boolean {
    try {
      this.shelf.setItem(PREFIX + key, JSON.stringify(value));
      return true;
    } catch {
      return false;
    }
  }

  remove(key: string): void {
    this.shelf.removeItem(PREFIX + key);
  }

  /** All keys that begin with `start`, without the page's own prefix. */
  keys(start: string): string[] {
    const found: string[] = [];
    for (let index = 0; index < this.shelf.length; index++) {
      const key = this.shelf.key(index);
      if (key?.startsWith(PREFIX + start)) found.push(key.slice(PREFIX.length));
    }
    return found;
  }

  /** Forget everything the page has kept. */
  clear(): void {
    for (const key of this.keys("")) this.remove(key);
  }

  /**
   * Call `changed` for each key that another tab writes (value) or removes (null).
   *
   * Returns the function that stops listening.
   */
  watch(window: Window, changed: (key: string, value: unknown) => void): () => void {
    const listener = (event: StorageEvent): void => {
      if (event.key?.startsWith(PREFIX)) {
        const key = event.key.slice(PREFIX.length);
        changed(key, event.newValue === null ? null : this.get(key));
      }
    };
    window.addEventListener("storage", listener);
    return () => window.removeEventListener("storage", listener);
  }
}

/** Storage for a browser that blocks it: everything works, until the tab is closed. */
export function memoryShelf(): Shelf {
  const map = new Map<string, string>();
  return {
    getItem: (key) => map.get(key) ?? null,
    setItem: (key, value) => void map.set(key, value),
    removeItem: (key) => void map.delete(key),
    key: (index) => [...map.keys()][index] ?? null,
    get length() {
      return map.size;
    },
  };
}

/** The browser's local storage, or memory where that is blocked. */
export function browserShelf(): Shelf {
  try {
    return window.localStorage;
  } catch {
    return memoryShelf();
  }
}
