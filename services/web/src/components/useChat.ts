import { inject, type InjectionKey } from "vue";

import type { Chat } from "../browser";

export const chatKey: InjectionKey<Chat> = Symbol("chat");

/** The page's state, for any component below `App`. */
export function useChat(): Chat {
  const chat = inject(chatKey);
  if (chat === undefined) throw new Error("useChat is for components inside App");
  return chat;
}
