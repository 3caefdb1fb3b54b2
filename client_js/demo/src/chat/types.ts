/** What chat's commands, queries and events carry (see the server's contract). Instants are Unix milliseconds. */

export interface Message {
  readonly id: string;
  readonly channel: string;
  /** Counts the messages of a channel from 1; not the event's offset. */
  readonly seq: number;
  readonly user: string;
  readonly text: string;
  readonly time: number;
}

export interface ChannelInfo {
  readonly channel: string;
  readonly name: string;
  readonly public: boolean;
  readonly creator: string;
  readonly created: number;
  readonly joined: boolean;
  readonly members: number;
  readonly last_seq: number;
}

export interface MemberInfo {
  readonly user: string;
  readonly role: "owner" | "member";
  readonly joined: number;
}

/** The longest text of a message, in characters (code points). */
export const LONGEST_TEXT = 4000;

/** A message that is on its way. Its key makes a repeat harmless, so it is kept until it is settled. */
export interface Pending {
  readonly key: string;
  readonly text: string;
  readonly time: number;
}
