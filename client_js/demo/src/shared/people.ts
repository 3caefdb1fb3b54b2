/** Users as the pages show them: a name, initials, and one of eight tones that stays with the user. */

import { h } from "./dom.ts";

/** One of the ready-made users, as `GET /demo/users` tells it. */
export interface DemoUser {
  readonly user: string;
  readonly name: string;
}

const names = new Map<string, string>();

/** Remember the names of the ready-made users. */
export function knowNames(users: readonly DemoUser[]): void {
  for (const { user, name } of users) names.set(user, name);
}

/** How to call a user: the known name, or the id with a capital first letter. */
export function displayName(user: string): string {
  return names.get(user) ?? user.charAt(0).toUpperCase() + user.slice(1);
}

function tone(user: string): number {
  let hash = 7;
  for (let index = 0; index < user.length; index += 1) hash = (hash * 31 + user.charCodeAt(index)) >>> 0;
  return hash % 8;
}

/** A round picture of initials; decoration, so hidden from screen readers. */
export function avatar(user: string, size: "small" | "medium" | "large" = "medium"): HTMLElement {
  const words = displayName(user)
    .split(/[\s._-]+/u)
    .filter((word) => word !== "");
  const initials = words
    .slice(0, 2)
    .map((word) => [...word][0] ?? "")
    .join("")
    .toUpperCase();
  return h(
    "span",
    { class: `avatar avatar-${size} tone-${tone(user)}`, "aria-hidden": "true" },
    initials || "?",
  );
}
