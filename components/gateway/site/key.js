// The API key that this page shows to its host. Owns where it is kept: with this tab, until it is closed. Must never know what it
// opens, and never be asked for it by anything but a request to this host.

const NAME = "visavis API key";

/** Some browsers keep nothing for pages; then the key lives as long as the page does. */
let kept = "";

/** The key, or nothing. */
export function key() {
  try {
    return sessionStorage.getItem(NAME) ?? kept;
  } catch {
    return kept;
  }
}

/** Keeps another key, or none. */
export function keep(text) {
  kept = text.trim();
  try {
    if (kept === "") sessionStorage.removeItem(NAME);
    else sessionStorage.setItem(NAME, kept);
  } catch {
    // It is kept above.
  }
}

/** What a request shows. */
export function shown() {
  const text = key();
  // A header holds no other characters, and a browser would refuse to send it in words that tell nobody what is wrong.
  return /^[!-~]+$/.test(text) ? { Authorization: `Bearer ${text}` } : {};
}

/** Lets an input show and change the key. */
export function edit(input, changed = () => {}) {
  input.value = key();
  input.addEventListener("input", () => {
    keep(input.value);
    changed();
  });
}
