/** The members of one channel, and which of them are here now. */

import type { MemberInfo } from "./types.ts";

interface Present {
  readonly user: string;
  readonly since: number;
}

export class Roster {
  #members = new Map<string, MemberInfo>();
  #here = new Map<string, number>();
  #revision = -1;

  /** Members, the owner first, then by name. */
  get members(): readonly MemberInfo[] {
    return [...this.#members.values()].sort(
      (a, b) => Number(b.role === "owner") - Number(a.role === "owner") || a.user.localeCompare(b.user),
    );
  }

  get size(): number {
    return this.#members.size;
  }

  /** The users who are here, by name. */
  get here(): readonly string[] {
    return [...this.#here.keys()].sort((a, b) => a.localeCompare(b));
  }

  isHere(user: string): boolean {
    return this.#here.has(user);
  }

  load(members: readonly MemberInfo[]): void {
    this.#members = new Map(members.map((member) => [member.user, member]));
  }

  joined(user: string, time: number): void {
    if (!this.#members.has(user)) this.#members.set(user, { user, role: "member", joined: time });
  }

  left(user: string): void {
    this.#members.delete(user);
    this.#here.delete(user);
  }

  /** Everybody who is here, as of a revision: it replaces what was known, whatever the revisions (PRES-2). */
  present(members: readonly Present[], revision: number): void {
    this.#revision = revision;
    this.#here = new Map(members.map(({ user, since }) => [user, since]));
  }

  /** Who came and who went, as of a revision. */
  presenceChanged(came: readonly Present[], went: readonly string[], revision: number): void {
    if (revision <= this.#revision) return;
    this.#revision = revision;
    for (const { user, since } of came) this.#here.set(user, since);
    for (const user of went) this.#here.delete(user);
  }

  /** The connection went: who is here has to be asked anew, and revisions may start again. */
  forgetPresence(): void {
    this.#revision = -1;
  }
}
