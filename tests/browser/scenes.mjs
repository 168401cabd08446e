// The scenes of the browser tests, by name: `node scenes.mjs NAME WHAT-THE-HARNESS-TELLS`. Owns what a person does and must see; must
// never know how the host is run.

import { NARROW, WIDE, accessible, browse, compare, fault, fits, holds, order, photograph, picture, told, verdict, visit } from "./visit.mjs";
import { camera, keyboard, upright } from "./senses.mjs";

const LOOKS = [
  { viewport: WIDE, scheme: "light" },
  { viewport: WIDE, scheme: "dark" },
  { viewport: NARROW, scheme: "light" },
  { viewport: NARROW, scheme: "dark" },
];

const [obama, obama2, biden, coffee] = ["obama.jpg", "obama2.jpg", "biden.jpg", "coffee.png"].map(photograph);

/** One person, in every size and colour scheme. */
async function match(browser) {
  for (const look of LOOKS) {
    await visit(browser, look, async (page) => {
      await fits(page, "the empty page");
      await accessible(page, "the empty page");
      await picture(page, "empty");
      await compare(page, obama, obama2);
      holds((await verdict(page)) === "The same person", "obama is obama");
      await page.locator(".marks").nth(1).waitFor();
      const score = Number(await page.locator(".reading-value").innerText());
      holds(score > 0.9, `the score is ${score}`);
      holds((await page.locator("#verdict svg").getAttribute("aria-label")).includes("threshold"), "the gauge says where the threshold is");
      await page.getByText("How it was found").click();
      await accessible(page, "a match");
      await fits(page, "a match");
      await picture(page, "match");
      const focused = await page.evaluate(() => document.activeElement.id);
      holds(["verdict-title", ""].includes(focused), `the focus is on ${focused}`);
    });
  }
}

async function mismatch(browser) {
  for (const look of [LOOKS[0], LOOKS[3]]) {
    await visit(browser, look, async (page) => {
      await compare(page, obama, biden);
      holds((await verdict(page)) === "Two different people", "obama is not biden");
      await page.locator(".marks").nth(1).waitFor();
      await accessible(page, "a mismatch");
      await picture(page, "mismatch");
      // A looser threshold is the user's own choice, and makes them one person.
      await page.getByText("Options", { exact: true }).click();
      await page.locator("#threshold").fill("2");
      holds((await page.locator("#command").innerText()).includes("-F threshold=2"), "the command has the threshold");
      await page.getByRole("button", { name: "Compare the two" }).click();
      await page.locator("#verdict h2", { hasText: "The same person" }).waitFor();
      await page.locator("#threshold").fill("3");
      await page.getByRole("button", { name: "Compare the two" }).click();
      await page.locator("#trouble", { hasText: "from 0 to 2" }).waitFor();
      // Another photograph takes the old verdict away.
      await page.setInputFiles("#image1", biden);
      holds(await page.locator("#verdict, #trouble, .marks").evaluateAll((all) => all.every((one) => one.hidden)), "the verdict is gone");
    });
  }
}

async function no_face(browser) {
  for (const look of [LOOKS[0], LOOKS[2]]) {
    await visit(browser, look, async (page) => {
      // Without photographs there is nothing to compare, and the page says so at both.
      await page.getByRole("button", { name: "Compare the two" }).click();
      for (const which of [1, 2]) holds((await fault(page, which)).includes("missing"), "a missing photograph is told");
      await compare(page, obama, coffee);
      holds((await fault(page, 2)).startsWith("No face found"), "coffee has no face");
      holds(!(await page.locator("#image1-fault").isVisible()), "the first photograph is not blamed");
      await accessible(page, "no face");
      await picture(page, "no-face");
    });
  }
}

async function two_faces(browser) {
  await visit(browser, {}, async (page) => {
    await compare(page, told.crowd, obama);
    holds((await fault(page, 1)).startsWith("2 faces found"), await fault(page, 1));
    await picture(page, "two-faces");
  });
}

async function not_an_image(browser) {
  await visit(browser, { viewport: NARROW, scheme: "dark" }, async (page) => {
    // One says that it is text and is refused at once, the other one says that it is an image and is found out.
    await compare(page, obama, { name: "notes.txt", mimeType: "text/plain", buffer: Buffer.from("no photograph") });
    holds((await fault(page, 2)).startsWith("This is not a photograph"), await fault(page, 2));
    await compare(page, { name: "it's; a \"photo\".jpg", mimeType: "image/jpeg", buffer: Buffer.from("no photograph") }, obama);
    holds((await fault(page, 1)).startsWith("This is not a photograph"), await fault(page, 1));
    const command = await page.locator("#command").innerText();
    holds(command.includes(String.raw`'image1=@"it'\''s; a \"photo\".jpg"'`), command);
    await page.getByText("This browser cannot show the file.").waitFor();
    await picture(page, "not-an-image");
  });
}

/** A task that takes seconds: its states are seen, it can be cancelled, and it ends. */
async function slow(browser) {
  const stub = (wait, name) => ({ name, mimeType: "image/jpeg", buffer: Buffer.from(`stub wait=${wait} angle=0\n`) });
  const now = (page, state) => page.locator(`#steps [data-state=${state}][aria-current=step]`).waitFor();
  await visit(browser, {}, async (page) => {
    await compare(page, stub(15000, "slow.jpg"), stub(0, "quick.jpg"));
    await now(page, "STARTED");
    await accessible(page, "a task under way");
    await picture(page, "under-way");
    // One worker is busy with the first task, so a second one waits.
    await visit(browser, {}, async (second) => {
      await compare(second, stub(0, "a.jpg"), stub(0, "b.jpg"));
      await now(second, "PENDING");
      await picture(second, "waiting");
      await page.getByRole("button", { name: "Cancel" }).click();
      await page.locator("#trouble", { hasText: /^Cancelled/ }).waitFor();
      await page.getByRole("button", { name: "Compare the two" }).waitFor();
      holds((await verdict(second)) === "The same person", "the second task ends");
    });
  });
}

/** A host that is away for a while, before and while a task runs. */
async function away(browser) {
  const stub = (wait) => ({ name: `${wait}.jpg`, mimeType: "image/jpeg", buffer: Buffer.from(`stub wait=${wait} angle=0\n`) });
  await visit(browser, {}, async (page) => {
    await order("cut");
    await compare(page, stub(4000), stub(0));
    await page.locator("#trouble", { hasText: "The host cannot be reached" }).waitFor();
    await accessible(page, "a host that is away");
    await picture(page, "away");
    await order("fair");
    await page.getByRole("button", { name: "Try again" }).click();
    await page.locator("#steps [data-state=STARTED][aria-current=step]").waitFor();
    await order("cut");
    await page.locator("#note", { hasText: "The host cannot be reached" }).waitFor();
    await picture(page, "away-under-way");
    await order("fair");
    holds((await verdict(page)) === "The same person", "the task was done all the same");
  });
}

/** The reference, and a request that is made from it. */
async function reference(browser) {
  for (const look of [LOOKS[0], LOOKS[3]]) {
    await visit(browser, { ...look, path: "/docs" }, async (page) => {
      const status = page.locator("#status");
      await status.waitFor();
      await accessible(page, "the reference");
      await fits(page, "the reference");
      await picture(page, "reference");
      await status.getByLabel("task_id").fill(`face_verification_${"0".repeat(32)}`);
      await status.getByRole("button", { name: "Send" }).click();
      await status.locator(".answer", { hasText: "not_found" }).waitFor();
      const verify = page.locator("#verify");
      await verify.getByLabel("image1").setInputFiles(obama);
      await verify.getByLabel("image2").setInputFiles(obama2);
      await verify.getByLabel("wait (optional)").fill("30");
      await verify.getByRole("button", { name: "Send" }).click();
      await verify.locator(".answer", { hasText: '"verified": true' }).waitFor();
    });
  }
}

/** A host that asks for an API key: the page says so, takes one, and shows it from then on. */
async function locked(browser) {
  await visit(browser, {}, async (page) => {
    await compare(page, obama, obama2);
    await page.locator("#trouble", { hasText: "asks for an API key" }).waitFor();
    const key = page.getByLabel("API key", { exact: true });
    holds(await key.evaluate((input) => input === document.activeElement), "the key's field has the focus");
    await accessible(page, "a host that asks for a key");
    await picture(page, "locked");
    await key.fill("not a key");
    await page.getByRole("button", { name: "Compare the two" }).click();
    await page.locator("#trouble", { hasText: "asks for an API key" }).waitFor();
    await key.fill(told.key);
    holds((await page.locator("#command").innerText()).includes("Bearer $API_KEY"), "the command names the key");
    holds(!(await page.content()).includes(told.key.slice(25)), "the key stands nowhere on the page");
    await page.getByRole("button", { name: "Compare the two" }).click();
    holds((await verdict(page)) === "The same person", "the key opens the host");
    // It stays with the tab, and the reference shows it, too.
    await page.goto(`${told.page}/docs`);
    const verify = page.locator("#verify");
    await verify.getByLabel("image1").setInputFiles(obama);
    await verify.getByLabel("image2").setInputFiles(obama2);
    await verify.getByRole("button", { name: "Send" }).click();
    await verify.locator(".answer", { hasText: "task_id" }).waitFor();
    holds((await page.evaluate(() => localStorage.length + document.cookie.length)) === 0, "nothing outlives the tab");
  });
}

const scenes = { locked, match, mismatch, no_face, two_faces, not_an_image, slow, away, reference, camera, keyboard, upright };
const name = process.argv[2];
const flags = name === "camera" ? ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", `--use-file-for-fake-video-capture=${told.film}`] : [];
await browse(scenes[name], flags);
console.log("passed");
process.exit(0);
