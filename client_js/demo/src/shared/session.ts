/** Who sits at this tab, and the connection in that user's name. */

import { Client } from "@backchannel/client";
import type { DemoContract } from "../contract.gen.ts";
import { type DemoUser, knowNames } from "./people.ts";

/** A client that knows what the server understands. */
export type DemoClient = Client<DemoContract>;

const STORED = "backchannel.user";

/** The user of this tab: `?user=alice` in the address, else the one chosen before in this tab. */
export function rememberedUser(): string | null {
  const asked = new URLSearchParams(location.search).get("user");
  if (asked !== null && asked !== "") {
    rememberUser(asked);
    return asked;
  }
  try {
    return sessionStorage.getItem(STORED);
  } catch {
    return null;
  }
}

/** Keep the user for this tab alone, so that two tabs can be two people. */
export function rememberUser(user: string): void {
  try {
    sessionStorage.setItem(STORED, user);
  } catch {
    // Storage is switched off: the user has to be chosen again after a reload.
  }
}

/** Forget the user and go back to the choice. */
export function forgetUser(): void {
  try {
    sessionStorage.removeItem(STORED);
  } catch {
    // Nothing was stored.
  }
  location.assign("/");
}

async function json(response: Response): Promise<unknown> {
  if (!response.ok) throw new Error(`The server answered ${response.status} ${response.statusText}.`);
  return response.json();
}

/** The ready-made users. Throws where the server does not answer, or has no demo. */
export async function demoUsers(): Promise<readonly DemoUser[]> {
  const { users } = (await json(await fetch("/demo/users"))) as { users: readonly DemoUser[] };
  knowNames(users);
  return users;
}

async function freshToken(user: string): Promise<string> {
  const response = await fetch("/demo/token", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  const { token } = (await json(response)) as { token: string };
  return token;
}

/** A client for this user, not connected yet; it fetches a fresh token whenever it needs one. */
export function clientFor(user: string): DemoClient {
  const address = new URL("/ws", location.href);
  address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return new Client(address.href, { token: () => freshToken(user) });
}
