/** The contract of an app that exists in tests only, as `backchannel schema typescript` writes one. */

export interface SendMessage {
  channel: string;
  text: string;
}

export interface Message {
  id: string;
  text: string;
}

export interface ListMessages {
  channel?: string;
  limit?: number;
}

export interface MessagePage {
  messages: Message[];
}

export interface TypingStarted {
  user: string;
}

export interface Sampled {
  cpu: number;
}

export interface Contract {
  commands: {
    "message.send": { data: SendMessage; reply: Message; errors: "frozen" | "too_late" };
  };
  queries: {
    "message.list": { data: ListMessages; reply: MessagePage; errors: never };
  };
  events: {
    "message.created": Message;
    "typing.started": TypingStarted;
    "metrics.sampled": Sampled;
  };
  namespaces: {
    chat: { kind: "durable"; presence: true; events: "message.created" | "typing.started" };
    metrics: { kind: "live"; presence: false; events: "metrics.sampled" };
    any: { kind: "ephemeral"; presence: boolean };
  };
}
