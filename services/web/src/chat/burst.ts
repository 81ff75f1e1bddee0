/**
 * Taking in what comes in bursts, such as a thousand missed messages after a return.
 *
 * The first is taken at once; those that follow closely are taken together, because each time the screen is
 * laid out anew.
 */
export class Burst<T> {
  private waiting: T[] = [];
  private takenAt = -Infinity;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly take: (item: T) => void,
    private readonly pauseMs: number,
  ) {}

  add(item: T): void {
    this.waiting.push(item);
    const wait = this.takenAt + this.pauseMs - performance.now();
    if (wait <= 0) this.flush();
    else this.timer ??= setTimeout(() => this.flush(), wait);
  }

  /** Take what waits now: something follows that must find it taken. */
  flush(): void {
    const items = this.waiting;
    this.clear();
    if (items.length === 0) return;
    items.forEach(this.take);
    this.takenAt = performance.now();
  }

  /** Drop what waits. */
  clear(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = [];
  }
}
