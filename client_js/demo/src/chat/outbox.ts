/** Messages that are on their way, kept for this tab so that a reload sends them again with the same key. */

import type { Pending } from "./types.ts";

interface Kept extends Pending {
  readonly channel: string;
}

export class Outbox {
  readonly #stored: string;
  #kept: Kept[];

  constructor(user: string) {
    this.#stored = `backchannel.outbox.${user}`;
    this.#kept = this.#read();
  }

  /** What a channel still waits for, oldest first. */
  of(channel: string): readonly Pending[] {
    return this.#kept.filter((kept) => kept.channel === channel);
  }

  add(channel: string, { key, text, time }: Pending): void {
    this.#kept.push({ channel, key, text, time });
    this.#write();
  }

  remove(key: string): void {
    this.#kept = this.#kept.filter((kept) => kept.key !== key);
    this.#write();
  }

  #read(): Kept[] {
    try {
      return JSON.parse(sessionStorage.getItem(this.#stored) ?? "[]") as Kept[];
    } catch {
      return [];
    }
  }

  #write(): void {
    try {
      sessionStorage.setItem(this.#stored, JSON.stringify(this.#kept));
    } catch {
      // Storage is full or switched off: a reload then loses what was not sent yet.
    }
  }
}

/** A new idempotency key: 128 random bits. (`crypto.randomUUID` is missing on plain-HTTP pages.) */
export function newKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))]
    .map((byte) => byte.toString(16).padStart(2, "0"))
    .join("");
}
