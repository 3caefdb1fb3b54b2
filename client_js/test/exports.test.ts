import { expect, it } from "vitest";
import * as api from "../src/index.js";

it("has exactly these public values", () => {
  expect(Object.keys(api).sort()).toEqual([
    "BackchannelError",
    "Client",
    "ConnectionClosed",
    "QueueOverflow",
    "Refused",
  ]);
});
