// The place of one photograph: picked, dropped or taken, shown, marked, or found wanting. Owns the file and its picture; must never
// know the other photograph or the host.

import { element } from "./elements.js";
import { marks } from "./marks.js";
import { takePhotograph } from "./camera.js";

const NAMES = ["First photograph", "Second photograph"];

export class Slot {
  /** Builds the place in `root`. `changed` is called when there is another photograph, or none. */
  constructor(root, index, changed) {
    this.index = index;
    this.name = NAMES[index];
    this.changed = changed;
    this.file = null;
    const id = `image${index + 1}`;
    this.input = element("input", { id, class: "unseen", type: "file", accept: "image/*", "aria-labelledby": `${id}-title`, "aria-describedby": `${id}-fault`, onchange: () => this.picked(), onkeydown: (event) => this.pressed(event) });
    this.title = element("span", { class: "called" });
    this.picture = element("div", { class: "picture" });
    this.prompt = element("label", { class: "prompt", for: id },
      element("span", { class: "ring", "aria-hidden": "true" }, "+"),
      element("span", {}, element("strong", {}, "Choose a photograph"), element("span", { class: "drop-words" }, " or drop it here")));
    this.frame = element("div", { class: "frame" }, this.input, this.prompt, this.picture);
    this.camera = element("button", { type: "button", class: "quiet", onclick: () => this.take() }, "Use camera");
    this.replace = element("label", { class: "button quiet", for: id, hidden: true }, "Replace");
    this.clear = element("button", { type: "button", class: "quiet", hidden: true, onclick: () => this.remove() }, "Remove", element("span", { class: "unseen" }, ` the ${this.name.toLowerCase()}`));
    this.fault = element("div", { class: "fault", id: `${id}-fault`, role: "alert", tabindex: "-1", hidden: true });
    root.append(element("section", { class: "slot", "aria-labelledby": `${id}-title` },
      element("h2", { id: `${id}-title` }, this.name),
      this.frame,
      element("p", { class: "caption" }, this.title),
      element("div", { class: "act" }, this.replace, this.camera, this.clear),
      this.fault));
    this.section = root.firstElementChild;
    this.camera.append(element("span", { class: "unseen" }, ` for the ${this.name.toLowerCase()}`));
    if (!navigator.mediaDevices?.getUserMedia) this.camera.hidden = true;
  }

  /** Enter opens the browser's dialog; left alone, it would submit the form. */
  pressed(event) {
    if (event.key !== "Enter") return;
    event.preventDefault();
    this.input.click();
  }

  picked() {
    // A dialog that was cancelled leaves what was there.
    if (this.input.files[0]) this.use(this.input.files[0]);
    // So that the same file can be picked again after it was removed.
    this.input.value = "";
  }

  async take() {
    const file = await takePhotograph(`photograph-${this.index + 1}.jpg`);
    if (file) this.use(file);
  }

  /** Shows a file as this place's photograph. */
  use(file) {
    this.forget();
    this.file = file;
    this.address = URL.createObjectURL(file);
    const image = element("img", { alt: `${this.name}: ${file.name}`, src: this.address });
    image.addEventListener("error", () => this.picture.replaceChildren(element("p", { class: "blind" }, "This browser cannot show the file.")));
    this.image = image;
    this.picture.replaceChildren(image);
    this.title.textContent = file.name;
    this.title.title = file.name;
    this.filled(true);
    this.changed();
  }

  remove() {
    this.forget();
    this.picture.replaceChildren();
    this.title.textContent = "";
    this.filled(false);
    this.changed();
    this.input.focus();
  }

  filled(is) {
    this.section.classList.toggle("filled", is);
    this.prompt.hidden = is;
    this.replace.hidden = !is;
    this.clear.hidden = !is;
  }

  forget() {
    this.unmark();
    if (this.address) URL.revokeObjectURL(this.address);
    this.file = this.address = this.image = null;
  }

  /** Draws the face that was compared, once the browser knows the photograph's size. */
  async mark(face, label) {
    const image = this.image;
    if (!image) return;
    await image.decode().catch(() => {});
    // Another size than the host's means another idea of what is upright, and then marks would lie wrong.
    const fits = image === this.image && image.naturalWidth === face.image.width && image.naturalHeight === face.image.height;
    if (!fits) return;
    const frame = this.picture.getBoundingClientRect();
    const pixel = Math.max(face.image.width / frame.width, face.image.height / frame.height);
    this.picture.append(marks(face, pixel, label));
  }

  /** Says what is wrong with this photograph. */
  blame([title, sentence]) {
    this.section.classList.add("faulty");
    this.fault.replaceChildren(element("strong", {}, title), " ", sentence);
    this.fault.hidden = false;
  }

  /** Takes back what an earlier answer drew or said. */
  unmark() {
    this.picture.querySelector(".marks")?.remove();
    this.section.classList.remove("faulty");
    this.fault.hidden = true;
    this.fault.replaceChildren();
  }

  /** Whether something can be changed here. */
  enable(is) {
    for (const control of [this.input, this.camera, this.clear]) control.disabled = !is;
    this.replace.classList.toggle("disabled", !is);
  }
}
