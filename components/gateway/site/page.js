// The page: two photographs, one task at a time, its end. Owns the order of things; must never know how any of them is drawn or asked.

import { Away, Refusal, follow, revoke, submit } from "./client.js";
import { command } from "./command.js";
import { element } from "./elements.js";
import { edit, shown } from "./key.js";
import { Slot } from "./slot.js";
import { markLabel, sentence, showDetails, showVerdict } from "./verdict.js";
import { AWAY, NOTES, STEPS, failure, refusal } from "./words.js";

const place = (id) => document.getElementById(id);
const slots = [0, 1].map((index) => new Slot(place(`slot${index + 1}`), index, changed));
/** The task that is under way: its id once it has one, and whether the user took it back. */
let running = null;

place("form").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!running) verify();
});
place("cancel").addEventListener("click", cancel);
place("copy").addEventListener("click", copy);
for (const id of ["threshold", "non_frontal"]) place(id).addEventListener("input", tellCommand);
edit(place("key"), tellCommand);
acceptDrops();
tellCommand();

function wishes() {
  const found = {};
  for (const id of ["threshold", "non_frontal"]) {
    // A number field is empty to scripts also while what stands in it is no number.
    const value = place(id).value.trim();
    if (value !== "") found[id] = value;
  }
  return found;
}

/** Another photograph: what was said of the ones before is no longer true. */
function changed() {
  clear();
  tellCommand();
}

function clear() {
  for (const slot of slots) slot.unmark();
  for (const id of ["verdict", "details", "trouble"]) {
    place(id).hidden = true;
    place(id).replaceChildren();
  }
}

async function verify() {
  clear();
  const missing = slots.filter((slot) => !slot.file);
  if (missing.length > 0) {
    for (const slot of missing) slot.blame(["A photograph is missing.", "Choose one, drop it here, or use the camera."]);
    missing[0].input.focus();
    return;
  }
  if (!place("threshold").validity.valid) {
    place("threshold").closest("details").open = true;
    trouble(["The threshold is not usable", "Write a number from 0 to 2, or leave it empty."]);
    place("threshold").focus();
    return;
  }
  const task = { id: null, revoked: false };
  running = task;
  busy(true);
  step("SENDING");
  place("cancel").focus();
  try {
    task.id = await submit(slots.map((slot) => slot.file), wishes());
    // Cancelled before there was anything to cancel.
    if (task.revoked) await revoke(task.id).catch(() => {});
    ended(await follow(task.id, step));
  } catch (error) {
    if (error instanceof Refusal) refused(error);
    else if (error instanceof Away) trouble(AWAY, true);
    else throw error;
  } finally {
    running = null;
    busy(false);
    if (document.activeElement === document.body) place("verify").focus();
  }
}

async function cancel() {
  const task = running;
  if (!task || task.revoked) return;
  task.revoked = true;
  place("cancel").disabled = true;
  place("note").textContent = "Cancelling …";
  if (!task.id) return;
  try {
    await revoke(task.id);
  } catch (error) {
    // It had ended before, and its end is about to be shown; or the host is away, and the user may cancel again.
    if (error instanceof Refusal) return;
    task.revoked = false;
    place("cancel").disabled = false;
    place("note").textContent = NOTES.AWAY;
  }
}

function ended(task) {
  busy(false);
  if (task.status === "SUCCESS") {
    const { result } = task;
    place("verdict").hidden = place("details").hidden = false;
    const heading = showVerdict(place("verdict"), result);
    showDetails(place("details"), result);
    slots.forEach((slot, index) => slot.mark(result.faces[index], markLabel(result.faces[index], ["first", "second"][index])));
    say(`${heading.textContent}. ${sentence(result)}`);
    heading.focus({ preventScroll: true });
    place("verdict").scrollIntoView({ block: "nearest", behavior: "smooth" });
    return;
  }
  const words = failure(task.error);
  blameOr(task.error.image, words, ["timeout", "processing_failed"].includes(task.error.code));
}

function refused(error) {
  const image = /^image([12])$/.exec(error.field ?? "")?.[1];
  blameOr(image && Number(image), refusal(error), error.status >= 429);
  if (error.status === 401) {
    place("key").closest("details").open = true;
    place("key").focus();
  }
}

/** Tells an error at the photograph that it concerns, or in the middle. */
function blameOr(image, words, again) {
  const slot = slots[image - 1];
  if (!slot) return trouble(words, again);
  busy(false);
  slot.blame(words);
  slot.fault.focus({ preventScroll: true });
  slot.section.scrollIntoView({ block: "nearest", behavior: "smooth" });
}

function trouble([title, sentence], again = false) {
  busy(false);
  const box = place("trouble");
  box.replaceChildren(element("strong", {}, title), element("p", {}, sentence), ...(again ? [element("button", { type: "submit" }, "Try again")] : []));
  box.hidden = false;
  box.focus({ preventScroll: true });
}

function busy(is) {
  place("ask").hidden = is;
  place("progress").hidden = !is;
  place("cancel").disabled = false;
  for (const slot of slots) slot.enable(!is);
}

let stepped = null;

function step(state) {
  if (state === stepped && !place("progress").hidden) return;
  stepped = state;
  // A task that is tried again is between two starts, and a host that is away says nothing of the task.
  const reached = STEPS.findIndex(([name]) => name === (state === "RETRY" ? "PENDING" : state));
  if (reached >= 0) {
    place("steps").replaceChildren(...STEPS.map(([name, words], index) => element("li", {
      class: index < reached ? "done" : index === reached ? "now" : "",
      "aria-current": index === reached ? "step" : undefined,
      "data-state": name,
    }, words)));
  }
  const note = NOTES[state];
  if (!note) return;
  place("note").textContent = note;
  place("progress").dataset.state = state;
  say(note);
}

function say(text) {
  place("live").textContent = text;
}

function tellCommand() {
  const names = slots.map((slot, index) => slot.file?.name ?? `photograph-${index + 1}.jpg`);
  place("command").textContent = command(location.origin, names, wishes(), "Authorization" in shown());
}

async function copy() {
  const button = place("copy");
  try {
    await navigator.clipboard.writeText(place("command").textContent);
    button.textContent = "Copied";
  } catch {
    // Without the permission, what is to be copied is at least selected.
    getSelection().selectAllChildren(place("command"));
    button.textContent = "Press Ctrl+C";
  }
  say(button.textContent);
  setTimeout(() => (button.textContent = "Copy"), 2000);
}

/** Files may be dropped on a place, or anywhere: then they go where there is room. */
function acceptDrops() {
  const over = (event) => slots.find((slot) => slot.section.contains(event.target));
  const light = (lit) => slots.forEach((slot) => slot.section.classList.toggle("over", slot === lit));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    light(over(event) ?? slots.find((slot) => !slot.file));
  });
  addEventListener("dragleave", (event) => !event.relatedTarget && light(null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    light(null);
    if (running) return;
    const files = [...event.dataTransfer.files].slice(0, 2);
    if (files.length === 2) files.forEach((file, index) => slots[index].use(file));
    else if (files.length === 1) (over(event) ?? slots.find((slot) => !slot.file) ?? slots[1]).use(files[0]);
  });
}
