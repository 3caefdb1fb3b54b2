// A person at the chat page, in a window of a real browser.

import { createRequire } from "node:module";

const require = createRequire(new URL("../../client_js/package.json", import.meta.url));
const { chromium } = require("playwright-core");

/** Milliseconds that a page waits for what must come. */
export const PATIENCE = 30_000;

/** A Chromium that asks nobody anything by itself. */
export function openBrowser(executablePath) {
  return chromium.launch({
    executablePath,
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

/** One person's window. */
export class Person {
  constructor(page, errors) {
    this.page = page;
    this.errors = errors;
  }

  /** Open the page of the server at `url` as `user`, in the lobby. */
  static async open(browser, url, user, options = {}) {
    const context = await browser.newContext(options);
    const page = await context.newPage();
    page.setDefaultTimeout(PATIENCE);
    const errors = [];
    page.on("pageerror", (error) => errors.push(`${user}: ${error.message}`));
    await page.goto(`${url}/?user=${user}`);
    const person = new Person(page, errors);
    await person.connected();
    await person.room("chat:lobby");
    return person;
  }

  async connected() {
    await this.page.locator('[data-testid="connection-state"][data-state="connected"]').waitFor();
  }

  async room(channel) {
    const item = this.page.locator(`[data-testid="channel-item"][data-channel="${channel}"]`);
    await item.waitFor({ state: "attached" });
    // The room that was open last opens by itself; on a phone it covers the list.
    if ((await item.getAttribute("aria-current")) !== "page") await item.click();
    await this.page.getByTestId("composer").waitFor();
  }

  async say(text) {
    await this.page.getByTestId("composer").fill(text);
    await this.page.getByTestId("composer").press("Enter");
  }

  async sees(text) {
    await this.page.getByTestId("message-text").getByText(text, { exact: true }).first().waitFor();
  }

  async settled(text) {
    await this.page.locator('[data-testid="message"][data-state="sent"]').filter({ hasText: text }).first().waitFor();
  }

  /** Wait until the panel shows this user as here. */
  async seesHere(user) {
    await this.page.locator(`[data-testid="presence-list"] [data-user="${user}"]`).waitFor();
  }

  /** Wait until the panel shows this user as away. */
  async seesAway(user) {
    await this.page.locator(`[data-testid="away-list"] [data-user="${user}"]`).waitFor();
  }

  async texts() {
    return this.page.getByTestId("message-text").allInnerTexts();
  }

  async sequence() {
    return this.page.getByTestId("message").evaluateAll((nodes) => nodes.map((node) => Number(node.dataset.seq)));
  }

  /** From now on note every state of the connection that is shown, and everybody who is shown to have gone. */
  async watch() {
    await this.page.evaluate(() => {
      window.noted = [];
      const pill = document.querySelector('[data-testid="connection-state"]');
      new MutationObserver(() => window.noted.push(`connection: ${pill.dataset.state}`)).observe(pill, {
        attributeFilter: ["data-state"],
      });
      const away = document.querySelector('[data-testid="away-list"]');
      new MutationObserver((changes) => {
        for (const { addedNodes } of changes) {
          for (const { dataset } of addedNodes) if (dataset?.user) window.noted.push(`away: ${dataset.user}`);
        }
      }).observe(away, { childList: true });
    });
  }

  /** What was noted, without what only repeats "connected". */
  async noted() {
    const all = await this.page.evaluate(() => window.noted);
    return all.filter((note) => note !== "connection: connected");
  }
}
