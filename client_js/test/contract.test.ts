import { describe, expect, expectTypeOf, it } from "vitest";
import type { ChannelEvent, Client, CodeOf, ErrorCode, HistoryPage, Subscription } from "../src/index.js";
import { connected } from "./fake_server.js";
import type { Contract, Message, MessagePage, Sampled, TypingStarted } from "./shop_contract.js";
import { settle, useFakeTime } from "./time.js";

useFakeTime();

type Shop = Client<Contract>;
type ChatEvent = ChannelEvent<"message.created", Message> | ChannelEvent<"typing.started", TypingStarted>;
type AnyEvent = ChatEvent | ChannelEvent<"metrics.sampled", Sampled>;

/** A client with a contract, and its server's end. */
function shop(): { client: Shop; peer: ReturnType<typeof connected>["peer"] } {
  const { client, peer } = connected();
  return { client: client as Shop, peer };
}

/** Never run: what is in it is judged by the type checker alone. */
function typed(_check: () => unknown): void {
  expect(_check).toBeTypeOf("function");
}

describe("with a contract", () => {
  it("a call takes a known name and its data, and gives its reply", () => {
    const { client } = shop();
    typed(() => [
      expectTypeOf(
        client.call("message.send", { channel: "chat:a", text: "Hi" }),
      ).resolves.toEqualTypeOf<Message>(),
      expectTypeOf(client.call("message.list")).resolves.toEqualTypeOf<MessagePage>(),
      expectTypeOf(
        client.call("message.list", { limit: 3 }, { timeout: 1 }),
      ).resolves.toEqualTypeOf<MessagePage>(),
      expectTypeOf(client.request("message.list", {}))
        .resolves.toHaveProperty("data")
        .toEqualTypeOf<MessagePage>(),
      // @ts-expect-error: no such name
      client.call("message.sent", {}),
      // @ts-expect-error: data is needed
      client.call("message.send"),
      // @ts-expect-error: a field is missing
      client.call("message.send", { channel: "chat:a" }),
      // @ts-expect-error: a field has another type
      client.call("message.list", { limit: "3" }),
      // @ts-expect-error: no such field
      client.call("message.list", { limits: 3 }),
    ]);
    expectTypeOf<CodeOf<Contract, "message.send">>().toEqualTypeOf<ErrorCode | "frozen" | "too_late">();
    expectTypeOf<CodeOf<Contract, "message.list">>().toEqualTypeOf<ErrorCode>();
  });

  it("a subscription has its namespace's events, told apart by their names", async () => {
    const { client, peer } = shop();
    const chat = client.subscribe("chat:a");
    expectTypeOf(chat).toEqualTypeOf<Subscription<ChatEvent>>();
    const heard: string[] = [];
    chat.on("event", (event) => {
      switch (event.name) {
        case "message.created":
          heard.push(event.data.text);
          break;
        case "typing.started":
          heard.push(event.data.user);
          break;
        default:
          expectTypeOf(event).toBeNever();
      }
    });
    peer.admit("chat:a");
    const at = { type: "event", channel: "chat:a", time: 1 } as const;
    peer.say({ ...at, name: "message.created", data: { id: "m", text: "Hi" }, offset: 1 });
    peer.say({ ...at, name: "typing.started", data: { user: "bob" } });
    await settle();
    expect(heard).toEqual(["Hi", "bob"]);
    typed(async () => {
      for await (const event of client.subscribe("metrics:host"))
        expectTypeOf(event.data).toEqualTypeOf<Sampled>();
    });
  });

  it("a channel is one of a known namespace, or a user's own, or a string that came from elsewhere", () => {
    const { client } = shop();
    const channel: string = "chat:from-some-data";
    typed(() => [
      expectTypeOf(client.subscribe(channel)).toEqualTypeOf<Subscription<AnyEvent>>(),
      expectTypeOf(client.subscribe("user:alice")).toEqualTypeOf<Subscription<AnyEvent>>(),
      expectTypeOf(client.subscribe("any:thing")).toEqualTypeOf<Subscription<AnyEvent>>(),
      // @ts-expect-error: no such namespace
      client.subscribe("chta:a"),
      // @ts-expect-error: no channel at all
      client.subscribe("chat"),
    ]);
  });

  it("history, presence and publish know their channels, too", () => {
    const { client } = shop();
    typed(() => [
      expectTypeOf(client.history("chat:a")).resolves.toEqualTypeOf<HistoryPage<ChatEvent>>(),
      client
        .history("metrics:host")
        .then(({ events }) => expectTypeOf(events[0]?.data).toEqualTypeOf<Sampled | undefined>()),
      client.presence("chat:a"),
      client.presence("any:thing"),
      client.presence("chat:a" as string),
      // @ts-expect-error: this namespace keeps no presence
      client.presence("metrics:host"),
      client.publish("metrics:host", "metrics.sampled", { cpu: 1 }),
      client.publish("any:thing", "typing.started", { user: "a" }),
      // @ts-expect-error: an event of another namespace
      client.publish("metrics:host", "message.created", { id: "", text: "" }),
      // @ts-expect-error: data of another event
      client.publish("metrics:host", "metrics.sampled", { user: "a" }),
    ]);
  });

  it("a client and a subscription go where nothing is known of the contract", () => {
    expectTypeOf<Shop>().toExtend<Client>();
    expectTypeOf<Subscription<ChatEvent>>().toExtend<Subscription>();
  });
});

describe("without a contract", () => {
  it("every name is taken, and the caller says what comes back", () => {
    const { client } = connected();
    typed(() => [
      expectTypeOf(client.call<Message>("what.ever", { a: 1 })).resolves.toEqualTypeOf<Message>(),
      expectTypeOf(client.call("what.ever")).resolves.toBeUnknown(),
      client.publish("a:b", "what.happened", 1),
      client.presence("a:b"),
      expectTypeOf(client.subscribe("a:b")).toEqualTypeOf<Subscription>(),
    ]);
  });
});
