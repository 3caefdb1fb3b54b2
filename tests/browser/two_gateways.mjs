// Two people in a real browser, each on another gateway; one of the gateways is told to stop.
// Usage: node two_gateways.mjs '{"alice": URL, "bob": URL, "gateways": [URL, URL], "pid": PID}' CHROMIUM SCREENSHOT_FOLDER
// Alice's page comes from the first gateway, whose process PID is. Exits with 0 if everything that must hold holds.

import assert from "node:assert/strict";
import { join } from "node:path";
import { openBrowser, Person } from "./person.mjs";

const [setupText, executablePath, shots] = process.argv.slice(2);
const setup = JSON.parse(setupText);
const PATIENCE = 30_000;

/** How many connections each gateway has; undefined where it is gone. */
async function connections() {
  return Promise.all(
    setup.gateways.map(async (url) => {
      const text = await fetch(`${url}/metrics`).then(
        (response) => response.text(),
        () => "",
      );
      const found = /^backchannel_connections (\S+)$/m.exec(text);
      return found ? Number(found[1]) : undefined;
    }),
  );
}

/** Wait until the gateways have so many, doing something again and again meanwhile. */
async function untilConnections(wanted, meanwhile = async () => undefined) {
  const end = Date.now() + PATIENCE;
  let found;
  do {
    found = await connections();
    if (JSON.stringify(found) === JSON.stringify(wanted)) return;
    await meanwhile();
    await new Promise((resolve) => setTimeout(resolve, 50));
  } while (Date.now() < end);
  assert.deepEqual(found, wanted, "connections of the gateways");
}

const browser = await openBrowser(executablePath);
try {
  const wide = { viewport: { width: 1280, height: 800 } };
  const alice = await Person.open(browser, setup.alice, "alice", wide);
  const bob = await Person.open(browser, setup.bob, "bob", { ...wide, colorScheme: "dark" });
  await untilConnections([1, 1]);
  const said = [];
  const says = async (person, text) => {
    said.push(text);
    await person.say(text);
  };

  // Each sees the other, what the other writes, and that the other is writing.
  await alice.seesHere("bob");
  await bob.seesHere("alice");
  await says(alice, "Hello Bob, from the first gateway.");
  await bob.sees(said[0]);
  await says(bob, "Hello Alice, from the second.");
  await alice.sees(said[1]);
  await alice.page.getByTestId("composer").pressSequentially("some wor", { delay: 30 });
  await bob.page.getByTestId("typing").filter({ hasText: /Alice/ }).waitFor();
  await alice.page.getByTestId("composer").fill("");
  await alice.page.screenshot({ path: join(shots, "two-gateways-alice.png") });

  // The first gateway is told to stop in the middle of a conversation. Nobody notices.
  await alice.watch();
  await bob.watch();
  process.kill(setup.pid, "SIGTERM");
  await untilConnections([undefined, 2], async () => {
    await says(alice, `Alice's line ${said.length + 1}.`);
    await says(bob, `Bob's line ${said.length + 1}.`);
  });
  await says(alice, "I have moved.");
  await bob.sees(said.at(-1));
  await says(bob, "I did not notice.");
  await alice.sees(said.at(-1));
  for (const text of said) {
    await alice.sees(text);
    await bob.sees(text);
    await alice.settled(text);
  }
  const [hers, his] = [await alice.texts(), await bob.texts()];
  assert.deepEqual([...hers].sort(), [...said].sort(), "Alice sees everything once");
  assert.deepEqual(his, hers, "Bob sees what Alice sees, in the same order");
  assert.deepEqual(await alice.sequence(), said.map((_, index) => index + 1));
  assert.deepEqual(await alice.noted(), [], "Alice's page stayed connected, and nobody seemed to go");
  assert.deepEqual(await bob.noted(), [], "Bob's page stayed connected, and nobody seemed to go");

  // Presence is shared: she leaves, and he sees it.
  await alice.page.screenshot({ path: join(shots, "two-gateways-alice-moved.png") });
  await bob.page.screenshot({ path: join(shots, "two-gateways-bob.png") });
  await alice.page.close();
  await bob.seesAway("alice");
  assert.deepEqual([...alice.errors, ...bob.errors], [], "no script failed");
  console.log(`${said.length} messages, both screens alike`);
} finally {
  await browser.close();
}
