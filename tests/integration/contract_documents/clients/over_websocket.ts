// What somebody writes with the contract that `backchannel schema typescript` made, and the client.

import { Client } from "@backchannel/client";
import type { Todo, TodoContract } from "./contract.gen.js";

const client = new Client<TodoContract>("wss://example.org/ws");

export async function right(): Promise<boolean> {
  const added: Todo = await client.call("todo.add", { list: "home", text: "Water the plants" });
  const finished = await client.call("todo.finish", { list: added.list, id: added.id });
  return finished.done ?? false;
}

export async function wrong(): Promise<void> {
  // @ts-expect-error there is no such command
  await client.call("todo.forget", { list: "home", id: "1" });
  // @ts-expect-error an id is missing
  await client.call("todo.remove", { list: "home" });
  // @ts-expect-error a list is a string
  await client.call("todo.add", { list: 1, text: "x" });
  // @ts-expect-error a reply has no such field
  (await client.call("todo.add", { list: "home", text: "x" })).title;
}

/** The own codes of a command. */
export const code: TodoContract["commands"]["todo.finish"]["errors"] = "already_done";
