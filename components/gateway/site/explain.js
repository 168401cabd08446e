// Numbers that explain themselves when they are pointed at or focused. Owns the pattern; must never know a number.

import { element } from "./elements.js";

let count = 0;

/** A value that tells its sentence on hover and on focus; Escape hides it. */
export function explained(value, sentence, className = "value") {
  const id = `explained-${(count += 1)}`;
  return element("span", { class: "explained", onmouseenter: fit, onfocusin: fit, onmouseleave: speak, onfocusout: speak },
    element("button", { type: "button", class: className, "aria-describedby": id }, value),
    element("span", { class: "tip", role: "tooltip", id }, sentence));
}

/** A list of labels, each with an explained value. */
export function table(rows, className = "numbers") {
  return element("dl", { class: className }, rows.map(([label, value, sentence]) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, explained(value, sentence)))));
}

/** Moves the sentence sideways, so that none of it leaves the window. */
function fit(event) {
  const tip = event.currentTarget.lastElementChild;
  tip.style.setProperty("--shift", "0px");
  const { left, right } = tip.getBoundingClientRect();
  const [edge, most] = [8, document.documentElement.clientWidth - 8];
  tip.style.setProperty("--shift", `${Math.max(edge - left, Math.min(0, most - right))}px`);
}

function speak(event) {
  event.currentTarget.classList.remove("hushed");
}

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  for (const shown of document.querySelectorAll(".explained:hover, .explained:focus-within")) shown.classList.add("hushed");
});
