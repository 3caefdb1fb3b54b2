// The tutorial's page in a real browser: a click is a vote. Usage: node poll.mjs '{"url": …}' CHROMIUM

import { createRequire } from "node:module";

const require = createRequire(new URL("../../client_js/package.json", import.meta.url));
const { chromium } = require("playwright-core");

const [given, executablePath] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(JSON.parse(given).url);
  await page.locator("#state", { hasText: "connected" }).waitFor();
  await page.getByRole("button", { name: "Tea" }).click();
  await page.getByText("tea: 1").waitFor();
  await page.getByRole("button", { name: "Coffee" }).click();
  await page.getByText("coffee: 1").waitFor();
} finally {
  await browser.close();
}
