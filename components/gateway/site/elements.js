// Makes elements. Owns that text goes in as text and never as markup; must never know what is shown.

function make(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children.flat(Infinity).filter((child) => child !== undefined && child !== null && child !== false));
  return node;
}

/** An HTML element with attributes, listeners (`onclick`) and children; what is absent or false is left out. */
export function element(tag, attributes = {}, ...children) {
  return make(document.createElement(tag), attributes, children);
}

/** The same in SVG. */
export function shape(tag, attributes = {}, ...children) {
  return make(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
}

/** Text in which `code` between backquotes is set as code. */
export function prose(text) {
  return text.split("`").map((part, index) => (index % 2 === 1 ? element("code", {}, part) : part));
}
