// A visit to the page in a real browser. Owns the browser's life, what every visit must hold, and the pictures that are kept; must
// never know what a scene is about.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** What the test harness told: `page`, `modules`, `screenshots`, `photographs` and more by scene. */
export const told = JSON.parse(process.argv[3] ?? "{}");

const require = createRequire(join(told.modules, "modules.cjs"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

/** How long anything may take on a busy machine, milliseconds. */
export const PATIENCE = 60_000;

export const WIDE = { width: 1280, height: 900 };
export const NARROW = { width: 390, height: 844 };

const answers = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Asks the harness for something that only it can do, and waits until it is done. */
export async function order(what) {
  console.log(`order ${what}`);
  const { value, done } = await answers.next();
  if (done || value !== "done") throw new Error(`the harness answered ${value} to ${what}`);
}

/** Fails with these words unless something holds. */
export function holds(it, words) {
  if (!it) throw new Error(words);
}

/** Runs a scene in a browser of its own. */
export async function browse(scene, flags = []) {
  const browser = await chromium.launch({ executablePath: told.browser, args: flags, timeout: PATIENCE });
  try {
    await scene(browser);
  } finally {
    await browser.close();
  }
}

/**
 * Opens a page and hands it to `during`. Afterwards nothing must have been asked of others than the host, and nothing have gone wrong in
 * the page's scripts.
 */
export async function visit(browser, { viewport = WIDE, scheme = "light", path = "/", ...more }, during) {
  const context = await browser.newContext({ viewport, colorScheme: scheme, reducedMotion: "reduce", ...more });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  const wrong = [];
  page.on("pageerror", (error) => wrong.push(`script: ${error.message}`));
  page.on("console", (message) => {
    // The browser tells each refusal and each connection that broke; whether they were meant, the scene knows.
    if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) wrong.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const here = [`${told.page}/`, "blob:"].some((start) => request.url().startsWith(start));
    if (!here) wrong.push(`asked elsewhere: ${request.url()}`);
  });
  await page.goto(`${told.page}${path}`);
  await during(page, context);
  holds(wrong.length === 0, wrong.join("\n"));
  await context.close();
}

/** Keeps a picture of the whole page, on which nothing stands that only a script understands. */
export async function picture(page, name) {
  // The reference quotes JSON, where such words belong.
  if (!new URL(page.url()).pathname.startsWith("/docs")) {
    const [word] = /\b(undefined|null|NaN|true|false)\b|\[object/.exec(await page.locator("body").innerText()) ?? [];
    holds(!word, `"${word}" stands on the page`);
  }
  const { width } = page.viewportSize();
  const scheme = await page.evaluate(() => (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  await page.screenshot({ path: join(told.screenshots, `${name}-${width}-${scheme}.png`), fullPage: true });
}

/** Fails when axe-core finds what shuts people out. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ["violations"] }));
  const violations = found.violations.map(({ id, help, nodes }) => `${id}: ${help}\n  ${nodes.map((node) => node.html).join("\n  ")}`);
  holds(found.passes.length > 10, `${what}: axe-core looked at little`);
  holds(violations.length === 0, `${what}:\n${violations.join("\n")}`);
}

/** Fails when the page is wider than the window: then one would have to scroll sideways. */
export async function fits(page, what) {
  const [wide, window] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  holds(wide <= window, `${what}: ${wide} pixels wide in a window of ${window}`);
}

/** The path of a sample photograph. */
export function photograph(name) {
  return join(told.photographs, name);
}

/** Picks two photographs and has them compared. */
export async function compare(page, first, second) {
  await page.setInputFiles("#image1", first);
  await page.setInputFiles("#image2", second);
  await page.getByRole("button", { name: "Compare the two" }).click();
}

/** Waits for the verdict and answers its words. */
export async function verdict(page) {
  const heading = page.locator("#verdict h2");
  await heading.waitFor();
  return heading.innerText();
}

/** Waits until the fault of a photograph is told and answers its words. */
export async function fault(page, which) {
  const box = page.locator(`#image${which}-fault`);
  await box.waitFor();
  return box.innerText();
}
