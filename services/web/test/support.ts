/** Small helpers of the tests. */

import { watch } from "vue";

import { Client } from "../src/chat/client";
import type { Message } from "../src/chat/contract";
import { Keep, memoryShelf } from "../src/chat/keep";
import type { Person } from "../src/chat/people";

/** Resolves with the condition's first truthy value; it may use anything reactive. */
export async function until<T>(condition: () => T, what = "the condition"): Promise<NonNullable<T>> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      stop();
      reject(new Error(`${what} did not become true`));
    }, 10_000);
    const stop = watch(
      condition,
      (value) => {
        if (!value) return;
        clearTimeout(timer);
        queueMicrotask(() => stop());
        resolve(value);
      },
      { immediate: true, flush: "sync" },
    );
  });
}

export interface Tab {
  client: Client;
  keep: Keep;
  arrived: { message: Message; from: Person | undefined }[];
  /** Call what waits for a tab to be gone. */
  gone(tab: string): void;
}

/** A tab of a browser whose storage is `keep`. */
export function openTab(url: string, keep = new Keep(memoryShelf()), tab = `tab-${Math.random()}`): Tab {
  const arrived: Tab["arrived"] = [];
  const waiting = new Map<string, (() => void)[]>();
  const client = new Client({
    url,
    keep,
    tab,
    whenGone: (other, gone) => void waiting.set(other, [...(waiting.get(other) ?? []), gone]),
    arrived: (message, from) => void arrived.push({ message, from }),
    forgotten: () => undefined,
  });
  return { client, keep, arrived, gone: (other) => waiting.get(other)?.forEach((call) => call()) };
}

/** A message with what matters here. */
export function message(seq: number, from: string, to: string, content = `message ${seq}`): Message {
  return { id: `id-${from}-${seq}`, seq, at: 1_700_000_000_000 + seq * 1000, from, to, content };
}
