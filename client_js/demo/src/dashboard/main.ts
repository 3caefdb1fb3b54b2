/** The dashboard: this host's load and Backchannel's own, from the live channel `metrics:host`. */

import { announce } from "../shared/announce.ts";
import { connectionText, watchOf } from "../shared/connection.ts";
import { byId, h, setAttribute, setText } from "../shared/dom.ts";
import { showHeader } from "../shared/header.ts";
import { clientFor, type DemoClient, demoUsers, rememberedUser } from "../shared/session.ts";
import { onTheme } from "../shared/theme.ts";
import { toast } from "../shared/toast.ts";
import { Chart } from "./chart.ts";
import { CHARTS, TILES } from "./panels.ts";
import { Samples, SPAN } from "./samples.ts";
import { Tile } from "./tile.ts";

const CHANNEL = "metrics:host";
/** Without a sample for this long, the numbers are told to be old. */
const STALE_MS = 3_500;

/** The user of this tab, or the first ready-made one: any user may watch. */
async function someUser(): Promise<string> {
  for (;;) {
    try {
      const users = await demoUsers();
      const user = rememberedUser() ?? users[0]?.user;
      if (user !== undefined) return user;
      throw new Error("The server has no demo users.");
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 3_000));
    }
  }
}

function listen(client: DemoClient, samples: Samples, changed: () => void): void {
  const subscription = client.subscribe(CHANNEL);
  /** The history fills what is missing, at the beginning and after an absence; samples come once only. */
  const fill = async (): Promise<void> => {
    try {
      const { events } = await client.history(CHANNEL, { limit: SPAN });
      for (const { name, data } of events) if (name === "metrics.sampled") samples.add(data);
      subscription.dismissGap();
      changed();
    } catch {
      // The connection went; the next subscription fills in.
    }
  };
  subscription.on("event", ({ name, data }) => {
    if (name !== "metrics.sampled") return;
    samples.add(data);
    changed();
  });
  subscription.on("subscribed", ({ verdict }) => {
    if (verdict !== "recovered") void fill();
  });
  subscription.on("gap", () => void fill());
  subscription.on("unsubscribed", ({ message }) =>
    toast({ kind: "error", title: `The measurements ended. ${message}`, cure: "Load the page again." }),
  );
}

async function start(): Promise<void> {
  const samples = new Samples();
  const tiles = TILES.map((panel) => new Tile(panel));
  const charts = CHARTS.map((panel) => new Chart(panel, samples));
  const status = h(
    "p",
    { class: "dashboard-status", "data-testid": "dashboard-status" },
    "Waiting for the first measurement…",
  );
  const main = byId("main");
  main.append(
    h("div", { class: "dashboard-head" }, h("h1", {}, "This host, live"), status),
    h("dl", { class: "tiles" }, ...tiles.map(({ element }) => element)),
    h("div", { class: "charts" }, ...charts.map(({ element }) => element)),
  );
  setAttribute(main, "data-state", "waiting");
  showHeader("dashboard");
  const user = await someUser();
  const client = clientFor(user);
  showHeader("dashboard", client, user);

  /** How far the server's clock is ahead of this one: the charts' right edge is the server's now. */
  let ahead = 0;
  let heardAt = Number.NEGATIVE_INFINITY;
  let newest = 0;
  const changed = (): void => {
    const last = samples.last;
    if (last === undefined || last.time <= newest) return;
    newest = last.time;
    ahead = last.time - Date.now();
    heardAt = performance.now();
    draw();
  };
  const draw = (): void => {
    const last = samples.last;
    const silent = performance.now() - heardAt;
    const state = last === undefined ? "waiting" : silent > STALE_MS ? "stale" : "live";
    if (state !== main.dataset["state"] && state === "stale")
      announce("No measurements come in. The numbers are old.");
    setAttribute(main, "data-state", state);
    if (state === "live") setText(status, "Measured once a second; the charts show the last five minutes.");
    else if (state === "stale")
      setText(
        status,
        `The last measurement is ${Math.round(silent / 1000)} s old. ${connectionText(watchOf(client))}.`,
      );
    if (document.hidden || last === undefined) return;
    for (const tile of tiles) tile.show(last);
    for (const chart of charts) chart.draw(Date.now() + ahead);
  };
  onTheme(() => {
    for (const chart of charts) chart.restyle();
  });
  document.addEventListener("visibilitychange", draw);
  // While nothing comes, time still passes: the gap grows in sight.
  setInterval(() => {
    if (performance.now() - heardAt > STALE_MS) draw();
  }, 1000);
  listen(client, samples, changed);
  client.connect();
}

void start();
