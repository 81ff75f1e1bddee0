/** How the page draws attention to a new message: the title, the icon, a quiet sound, a spoken line. */

import { shallowRef } from "vue";

import icon from "../assets/icon.svg";
import iconUnread from "../assets/icon-unread.svg";
import type { Message } from "./contract";
import type { Keep } from "./keep";
import type { Person } from "./people";

const KEY = "sound";
/** How much of a message a screen reader is given. */
const SPOKEN = 200;

export class Attention {
  readonly sound = shallowRef(true);
  /** What a live region says; replaced by each new message. */
  readonly spoken = shallowRef("");
  private audio: AudioContext | null = null;

  constructor(private readonly keep: Keep) {
    this.changedElsewhere(KEY, keep.get(KEY));
  }

  setSound(on: boolean): void {
    this.sound.value = on;
    this.keep.set(KEY, on);
    if (on) void this.chime();
  }

  changedElsewhere(key: string, value: unknown): void {
    if (key === KEY) this.sound.value = value !== false;
  }

  arrived(message: Message, from: Person | undefined): void {
    this.spoken.value = `${from?.username ?? "Somebody"}: ${message.content.slice(0, SPOKEN)}`;
    if (!this.sound.value || document.hasFocus()) return;
    // A tab that the person has not touched yet is kept silent by the browser: it must not take the lock.
    if (navigator.userActivation?.hasBeenActive === false) return;
    // All tabs hear of the message; the first to take its lock plays, and holds it until the others have asked.
    if (navigator.locks === undefined) void this.chime();
    else {
      void navigator.locks.request(`parley.sound.${message.id}`, { ifAvailable: true }, async (lock) => {
        if (lock !== null) await this.chime();
      });
    }
  }

  /** Show the number of unread messages where other windows can see it. */
  badge(unread: number): void {
    document.title = unread === 0 ? "Parley" : `(${unread > 99 ? "99+" : unread}) Parley`;
    const link = document.querySelector<HTMLLinkElement>("link[rel=icon]");
    if (link !== null) link.href = unread === 0 ? icon : iconUnread;
  }

  /** Two soft falling tones, half a second; made here, so there is no file to load. Resolves at their end. */
  private async chime(): Promise<void> {
    this.audio ??= new AudioContext();
    // Before the person has touched the page a browser keeps it silent, and that is as it should be.
    if (this.audio.state !== "running") await Promise.race([this.audio.resume(), pause(100)]);
    if (this.audio.state !== "running") return;
    const now = this.audio.currentTime;
    const volume = this.audio.createGain();
    volume.connect(this.audio.destination);
    volume.gain.setValueAtTime(0.05, now);
    volume.gain.exponentialRampToValueAtTime(0.001, now + 0.5);
    for (const [hertz, start] of [
      [880, 0],
      [659, 0.12],
    ] as const) {
      const tone = this.audio.createOscillator();
      tone.frequency.value = hertz;
      tone.connect(volume);
      tone.start(now + start);
      tone.stop(now + 0.5);
    }
    await pause(600);
  }
}

function pause(milliseconds: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, milliseconds));
}
