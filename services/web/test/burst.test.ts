import { afterEach, beforeEach, expect, it, vi } from "vitest";

import { Burst } from "../src/chat/burst";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("takes the first at once, and what follows closely together and in order", () => {
  const taken: number[][] = [[]];
  const burst = new Burst<number>((item) => void taken.at(-1)!.push(item), 50);
  burst.add(1);
  expect(taken).toEqual([[1]]);
  taken.push([]);
  vi.advanceTimersByTime(10);
  burst.add(2);
  burst.add(3);
  expect(taken.at(-1)).toEqual([]);
  vi.advanceTimersByTime(40);
  expect(taken.at(-1)).toEqual([2, 3]);
  vi.advanceTimersByTime(50);
  burst.add(4);
  expect(taken.at(-1)).toEqual([2, 3, 4]);
});

it("gives what waits when it is asked to, once, or drops it", () => {
  const taken: number[] = [];
  const burst = new Burst<number>((item) => void taken.push(item), 50);
  [1, 2, 3].forEach((item) => burst.add(item));
  burst.flush();
  expect(taken).toEqual([1, 2, 3]);
  burst.add(4);
  burst.clear();
  vi.runAllTimers();
  burst.flush();
  expect(taken).toEqual([1, 2, 3]);
});
