// Scenes about how people reach the page: by camera, by keyboard, with photographs that lie on their side. Must never know how the host
// is run.

import { compare, holds, photograph, picture, told, verdict, visit, accessible } from "./visit.mjs";

/** A photograph that the camera takes; what it sees is a film of one face. */
export async function camera(browser) {
  await visit(browser, { permissions: ["camera"] }, async (page) => {
    await page.setInputFiles("#image1", photograph("obama2.jpg"));
    await page.getByRole("button", { name: "Use camera for the second photograph" }).click();
    await page.getByText("Look into the camera.").waitFor();
    await accessible(page, "the camera");
    await picture(page, "camera");
    await page.getByRole("button", { name: "Take it" }).click();
    await page.getByText("photograph-2.jpg", { exact: true }).waitFor();
    const live = await page.evaluate(() => document.querySelector("video").srcObject);
    holds(live === null, "the camera is off");
    await page.getByRole("button", { name: "Compare the two" }).click();
    holds((await verdict(page)) === "The same person", "the camera saw obama");
    // And a user who thinks better of it keeps what was there.
    await page.getByRole("button", { name: "Use camera for the second photograph" }).click();
    await page.keyboard.press("Escape");
    await page.locator("#camera").waitFor({ state: "hidden" });
    holds((await page.locator("#slot2 .called").innerText()) === "photograph-2.jpg", "the photograph is kept");
  });
}

/** Everything by keyboard alone, and everything that is shown is said. */
export async function keyboard(browser) {
  await visit(browser, {}, async (page) => {
    const focused = () => page.evaluate(() => document.activeElement.id || document.activeElement.innerText);
    const tabTo = async (wanted) => {
      for (let press = 0; press < 40; press += 1) {
        await page.keyboard.press("Tab");
        if ((await focused()).startsWith(wanted)) return;
      }
      throw new Error(`no way to ${wanted} by Tab; the focus is on ${await focused()}`);
    };
    // Listened to all the time: a listener that comes just before the key may be too late for the browser.
    const names = ["obama.jpg", "obama2.jpg"];
    const left = [...names];
    page.on("filechooser", (chooser) => chooser.setFiles(photograph(left.shift())));
    for (const which of [1, 2]) {
      await tabTo(`image${which}`);
      await page.keyboard.press("Enter");
      await page.locator(`#slot${which} .called`, { hasText: names[which - 1] }).waitFor();
    }
    await tabTo("verify");
    await page.keyboard.press("Enter");
    await verdict(page);
    holds((await focused()) === "verdict-title", `the focus is on ${await focused()} and not on the verdict`);
    holds((await page.locator("#live").innerText()).startsWith("The same person. The faces are 0."), "the verdict is said");

    // Every number tells its sentence when it is focused, and Escape hides it.
    await page.getByText("How it was found").click();
    const values = page.locator("button.value");
    const count = await values.count();
    holds(count >= 25, `${count} numbers`);
    for (let index = 0; index < count; index += 1) {
      const value = values.nth(index);
      await value.focus();
      const id = await value.getAttribute("aria-describedby");
      const tip = page.locator(`#${id}`);
      await tip.waitFor({ state: "visible" });
      holds((await tip.innerText()).endsWith("."), `a sentence, not ${await tip.innerText()}`);
      const box = await tip.boundingBox();
      holds(box.x >= 0 && box.x + box.width <= 1280, `${await tip.innerText()} leaves the window`);
    }
    const last = page.locator("button.value").nth(count - 1);
    await page.keyboard.press("Escape");
    await page.locator(`#${await last.getAttribute("aria-describedby")}`).waitFor({ state: "hidden" });
    const first = page.locator("button.value").first();
    await last.blur();
    await first.hover();
    await page.locator(`#${await first.getAttribute("aria-describedby")}`).waitFor({ state: "visible" });
    await picture(page, "explained");
  });
}

/** A photograph that is stored on its side is shown upright, and its marks lie on the face. */
export async function upright(browser) {
  await visit(browser, {}, async (page) => {
    await compare(page, told.sideways, photograph("obama.jpg"));
    await verdict(page);
    await page.locator(".marks").nth(1).waitFor();
    // Both pictures show the same photograph, so their marks lie alike on the screen.
    const boxes = await page.locator(".marks rect.box:not(.shade)").evaluateAll((all) => all.map((one) => {
      const [mark, frame] = [one.getBoundingClientRect(), one.closest(".frame").getBoundingClientRect()];
      return [mark.x - frame.x, mark.y - frame.y, mark.width, mark.height].map((length) => length / frame.width);
    }));
    holds(boxes.length === 2, `${boxes.length} marks`);
    const apart = Math.max(...boxes[0].map((length, index) => Math.abs(length - boxes[1][index])));
    holds(apart < 0.02, `the marks lie ${apart} of the frame apart: ${JSON.stringify(boxes)}`);
    await picture(page, "upright");
  });
}
