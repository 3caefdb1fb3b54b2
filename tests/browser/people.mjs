// Two people in a real browser, against a real server process that is really killed.
// Usage: node people.mjs SERVE_COMMAND_AS_JSON CHROMIUM SCREENSHOT_FOLDER
// Exits with 0 if everything that must hold holds; says what does not, else.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { join } from "node:path";

import { openBrowser, PATIENCE, Person } from "./person.mjs";

const [serveCommand, executablePath, shots] = process.argv.slice(2);

/** A server process that can be killed and started again on the same port. */
class Server {
  port = 0;
  process;

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  async start() {
    const [command, ...args] = JSON.parse(serveCommand);
    this.process = spawn(command, [...args, "--port", String(this.port)], { stdio: ["ignore", "pipe", "inherit"] });
    this.port = await new Promise((resolve, reject) => {
      let output = "";
      this.process.stdout.on("data", (data) => {
        output += data;
        const found = /http:\/\/127\.0\.0\.1:(\d+)/.exec(output);
        if (found) resolve(Number(found[1]));
      });
      this.process.on("exit", () => reject(new Error(`the server did not start:\n${output}`)));
    });
  }

  async kill() {
    const ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.process.kill("SIGKILL");
    await ended;
  }
}

const server = new Server();
await server.start();
const browser = await openBrowser(executablePath);
try {
  const alice = await Person.open(browser, server.url, "alice");
  const bob = await Person.open(browser, server.url, "bob", { viewport: { width: 390, height: 844 }, colorScheme: "dark" });
  const said = [];
  const says = async (person, text) => {
    said.push(text);
    await person.say(text);
  };

  // They chat, and both see it all.
  await says(alice, "Hello Bob, this is Alice.");
  await bob.sees(said[0]);
  await says(bob, "Hello Alice!");
  await alice.sees(said[1]);

  // Typing shows on the other screen, and who is here.
  await alice.page.getByTestId("composer").pressSequentially("some wor", { delay: 30 });
  await bob.page.getByTestId("typing").filter({ hasText: /Alice/ }).waitFor();
  await alice.page.getByTestId("composer").fill("");

  // One reloads: the history is there, once.
  await bob.page.reload();
  await bob.connected();
  await bob.room("chat:lobby");
  await bob.sees(said[1]);
  assert.deepEqual(await bob.texts(), said, "after the reload Bob sees everything once");

  // The server is killed in the middle of a conversation; both go on typing; it comes back.
  await server.kill();
  await alice.page.locator('[data-testid="connection-state"]:not([data-state="connected"])').waitFor();
  await says(alice, "Are you still there?");
  await says(alice, "It seems the server is gone.");
  await says(bob, "I am here.");
  await alice.page.screenshot({ path: join(shots, "while-the-server-is-down.png") });
  await server.start();
  await alice.connected();
  await bob.connected();
  for (const text of said) {
    await alice.sees(text);
    await bob.sees(text);
    await alice.settled(text);
    await bob.settled(text);
  }
  await says(alice, "And it goes on.");
  await bob.sees(said.at(-1));
  await alice.settled(said.at(-1));

  // Nothing is missing or doubled, and both see the same order.
  const [hers, his] = [await alice.texts(), await bob.texts()];
  assert.deepEqual([...hers].sort(), [...said].sort(), "Alice sees everything once");
  assert.deepEqual(his, hers, "Bob sees what Alice sees, in the same order");
  assert.deepEqual(await alice.sequence(), said.map((_, index) => index + 1));
  await alice.page.screenshot({ path: join(shots, "chat-desktop.png") });
  await bob.page.screenshot({ path: join(shots, "chat-phone-dark.png") });

  // The dashboard moves.
  const dashboard = await (await browser.newContext({ viewport: { width: 1280, height: 900 } })).newPage();
  dashboard.setDefaultTimeout(PATIENCE);
  await dashboard.goto(`http://127.0.0.1:${server.port}/dashboard?user=carol`);
  const tile = dashboard.getByTestId("tile-connections");
  await tile.filter({ hasText: /[1-9]/ }).waitFor();
  await dashboard.locator('[data-testid="chart-cpu"] canvas').waitFor();
  await dashboard.waitForFunction(() => document.querySelectorAll("canvas").length >= 4);
  await dashboard.screenshot({ path: join(shots, "dashboard.png") });

  assert.deepEqual([...alice.errors, ...bob.errors], [], "no script failed");
  console.log(`${said.length} messages, both screens alike`);
} finally {
  await browser.close();
  await server.kill();
}
