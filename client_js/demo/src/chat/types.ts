/** What the chat shows, as the server's contract has it. Instants are Unix milliseconds. */

export type { ChannelInfo, MemberInfo, Message, MessagePage } from "../contract.gen.ts";

/** The longest text of a message, in characters (code points). */
export const LONGEST_TEXT = 4000;

/** A message that is on its way. Its key makes a repeat harmless, so it is kept until it is settled. */
export interface Pending {
  readonly key: string;
  readonly text: string;
  readonly time: number;
}
