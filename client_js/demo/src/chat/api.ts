/** Chat's commands and queries, as the pages use them. */

import type { ChannelList } from "../contract.gen.ts";
import type { DemoClient } from "../shared/session.ts";
import type { ChannelInfo, MemberInfo, Message, MessagePage } from "./types.ts";

/** An answer and, per channel, the offset that it includes. */
export interface Snapshot<T> {
  readonly data: T;
  readonly positions: Readonly<Record<string, number>>;
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

export function chatApi(client: DemoClient): Api {
  return {
    async channels() {
      const all: ChannelInfo[] = [];
      for (const [name, filter] of [
        ["channel.list", {}],
        ["channel.find", { joined: false }],
      ] as const) {
        let cursor: string | null = null;
        for (let page = 0; page < CHANNEL_PAGES; page += 1) {
          const answer: ChannelList = await client.call(name, { limit: CHANNEL_PAGE, cursor, ...filter });
          all.push(...answer.channels);
          cursor = answer.next ?? null;
          if (cursor === null) break;
        }
      }
      return all;
    },
    async members(channel) {
      const { data, positions } = await client.request("channel.members", { channel });
      return { data: data.members, positions };
    },
    async messages(channel, page) {
      const { data, positions } = await client.request("message.list", { channel, ...page });
      return { data, positions };
    },
    create: (channel) => client.call("channel.create", channel),
    join: (channel) => client.call("channel.join", { channel }),
    leave: async (channel) => void (await client.call("channel.leave", { channel })),
    send: (channel, text, key) => client.call("message.send", { channel, text }, { key }),
    typing: async (channel, going) =>
      void (await client.call(going ? "typing.start" : "typing.stop", { channel })),
  };
}
