/** Chat's commands and queries, typed. */

import type { Client } from "@backchannel/client";
import type { ChannelInfo, MemberInfo, Message } from "./types.ts";

/** An answer and, per channel, the offset that it includes. */
export interface Snapshot<T> {
  readonly data: T;
  readonly positions: Readonly<Record<string, number>>;
}

export interface MessagePage {
  /** In rising `seq`. */
  readonly messages: readonly Message[];
  /** Whether there are more in the direction that was asked. */
  readonly more: boolean;
}

export interface Api {
  channels(): Promise<readonly ChannelInfo[]>;
  members(channel: string): Promise<Snapshot<readonly MemberInfo[]>>;
  messages(
    channel: string,
    page: { before?: number; after?: number; limit: number },
  ): Promise<Snapshot<MessagePage>>;
  create(channel: { name: string; members: readonly string[]; public: boolean }): Promise<ChannelInfo>;
  join(channel: string): Promise<ChannelInfo>;
  leave(channel: string): Promise<void>;
  send(channel: string, text: string, key: string): Promise<Message>;
  typing(channel: string, going: boolean): Promise<void>;
}

const CHANNEL_PAGE = 100;
/** Pages of the channel list that are read; past it the list says nothing new to a person. */
const CHANNEL_PAGES = 5;

export function chatApi(client: Client): Api {
  return {
    async channels() {
      const all: ChannelInfo[] = [];
      let cursor: string | undefined;
      for (let page = 0; page < CHANNEL_PAGES; page += 1) {
        const answer: { channels: ChannelInfo[]; next?: string } = await client.call(
          "channel.list",
          cursor === undefined ? { limit: CHANNEL_PAGE } : { limit: CHANNEL_PAGE, cursor },
        );
        all.push(...answer.channels);
        cursor = answer.next;
        if (cursor === undefined) break;
      }
      return all;
    },
    async members(channel) {
      const { data, positions } = await client.request<{ members: MemberInfo[] }>("channel.members", {
        channel,
      });
      return { data: data.members, positions };
    },
    async messages(channel, page) {
      const { data, positions } = await client.request<MessagePage>("message.list", { channel, ...page });
      return { data, positions };
    },
    create: (channel) => client.call<ChannelInfo>("channel.create", channel),
    join: (channel) => client.call<ChannelInfo>("channel.join", { channel }),
    leave: async (channel) => void (await client.call("channel.leave", { channel })),
    send: (channel, text, key) => client.call<Message>("message.send", { channel, text }, { key }),
    typing: async (channel, going) =>
      void (await client.call(going ? "typing.start" : "typing.stop", { channel })),
  };
}
