// The page that shows a contract, in a real browser, under its own policy.
// Usage: node page.mjs URL TOKEN CHROMIUM
// Exits with 0 if everything that must hold holds; says what does not, else.

import assert from "node:assert/strict";
import { createRequire } from "node:module";

const require = createRequire(new URL("../../../client_js/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [url, token, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath });
const complaints = [];

async function open(path, options = {}) {
  const page = await browser.newPage(options);
  page.setDefaultTimeout(30_000);
  page.on("console", (message) => complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(error.message));
  page.on("request", (request) => assert.ok(request.url().startsWith(url) || request.url() === "data:,", request.url()));
  await page.goto(`${url}${path}`);
  await page.waitForSelector("article");
  return page;
}

try {
  const page = await open("/docs");

  // It lists everything that there is to ask, hear and be refused with.
  for (const id of ["command-message.send", "query-message.list", "event-message.created", "channel-chat", "error-conflict"])
    assert.equal(await page.locator(`[id="${id}"]`).count(), 1, id);

  // A query is asked with the pasted token, by keyboard alone.
  await page.locator("#token").focus();
  await page.keyboard.type(token);
  const query = page.locator('[id="query-channel.list"]');
  await query.locator("summary").focus();
  await page.keyboard.press("Enter");
  await query.locator("textarea").focus();
  await page.keyboard.press("Tab");
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  await query.locator("pre").waitFor();
  assert.match(await query.locator("[role=status]").textContent(), /^200 OK.*"chat:lobby"/s);

  // A command's refusal is shown as it came.
  const command = page.locator('[id="command-message.send"]');
  await command.locator("summary").click();
  await command.locator("textarea").fill('{"channel": "chat:nowhere", "text": "x"}');
  await command.locator("button[type=submit]").click();
  await command.locator("pre").waitFor();
  assert.match(await command.locator("[role=status]").textContent(), /^404.*not_found/s);

  // What is no JSON is told, and not sent.
  await command.locator("textarea").fill("{");
  await command.locator("button[type=submit]").click();
  await command.locator(".status-bad", { hasText: "JSON" }).waitFor();

  // Finding hides what does not match.
  await page.locator("#filter").fill("typing.started");
  assert.equal(await page.locator("#found").textContent(), "1 found");
  assert.equal(await page.locator("article:visible").count(), 1);

  // Light and dark.
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const before = await ground();
  await page.locator("#theme").click();
  assert.notEqual(await ground(), before);

  // On a phone nothing is wider than the screen, and a link leads to its place.
  const phone = await open("/docs#event-typing.started", { viewport: { width: 360, height: 720 }, colorScheme: "dark" });
  assert.ok((await phone.evaluate(() => document.documentElement.scrollWidth)) <= 360);
  assert.ok(await phone.locator('[id="event-typing.started"]').evaluate((article) => {
    const { top } = article.getBoundingClientRect();
    return top >= 0 && top < innerHeight;
  }));

  assert.deepEqual(complaints.filter((text) => !/status of 404/.test(text)), []);
} finally {
  await browser.close();
}
