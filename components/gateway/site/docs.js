// Draws the reference from the OpenAPI document of this host. Owns the order on the page; must never know an operation.

import { element, prose } from "./elements.js";
import { edit } from "./key.js";
import { members, resolve, words } from "./schema.js";
import { attempt } from "./try.js";

const METHODS = ["get", "post", "put", "delete"];
const place = (id) => document.getElementById(id);

async function start() {
  const state = place("state");
  try {
    const response = await fetch("/openapi.json");
    if (!response.ok) throw new Error(`the host answered ${response.status}`);
    draw(await response.json());
    state.hidden = true;
    // The place that the address names came to be only now.
    if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
  } catch (error) {
    state.replaceChildren(`The description cannot be read: ${error.message}. Load this page again once the host answers.`);
  }
}

function draw(root) {
  place("introduction").append(...paragraphs(root.info.description));
  const operations = [];
  for (const [path, item] of Object.entries(root.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      operations.push({ path, method, operation: item[method], shared: item.parameters ?? [] });
    }
  }
  for (const tag of root.tags) {
    const these = operations.filter(({ operation }) => operation.tags.includes(tag.name));
    place("contents").append(
      element("h2", {}, tag.description),
      element("ul", {}, these.map(({ operation }) => element("li", {}, element("a", { href: `#${operation.operationId}` }, operation.summary)))));
    place("operations").append(...these.map((one) => draft(root, one)));
  }
}

function draft(root, { path, method, operation, shared }) {
  const parameters = [...shared, ...(operation.parameters ?? [])].map((parameter) => resolve(root, parameter));
  return element("section", { class: "operation", id: operation.operationId, "aria-labelledby": `${operation.operationId}-title` },
    element("h2", { id: `${operation.operationId}-title` }, operation.summary),
    element("p", { class: "line" }, element("span", { class: `method ${method}` }, method.toUpperCase()), element("code", {}, path)),
    operation.description && paragraphs(operation.description),
    parameters.length > 0 && [element("h3", {}, "Parameters"), element("ul", { class: "rows" }, parameters.map((parameter) => row(root, parameter)))],
    operation.requestBody && request(root, operation.requestBody),
    element("h3", {}, "Answers"),
    element("ul", { class: "rows" }, Object.entries(operation.responses).map(([status, raw]) => answer(root, status, resolve(root, raw)))),
    element("h3", {}, "Try it"),
    attempt(root, path, method, operation, parameters));
}

function row(root, parameter) {
  return element("li", {},
    element("code", {}, parameter.name), " ",
    element("span", { class: "of" }, `${parameter.in}, ${words(root, parameter.schema)}${parameter.required ? "" : ", optional"}`),
    parameter.description && element("span", { class: "said" }, prose(parameter.description)));
}

function request(root, body) {
  return [element("h3", {}, "Body"), Object.entries(body.content).map(([type, content]) =>
    element("details", { open: type.startsWith("multipart") },
      element("summary", {}, type),
      members(root, content.schema),
      examples(content)))];
}

function answer(root, status, response) {
  const headers = Object.keys(response.headers ?? {});
  return element("li", {},
    element("span", { class: `status s${status[0]}` }, status), " ",
    element("span", {}, prose(response.description)),
    headers.length > 0 && element("span", { class: "said" }, "With ", headers.map((name, index) => [index > 0 ? ", " : "", element("code", {}, name)])),
    Object.entries(response.content ?? {}).map(([type, content]) => element("details", {},
      element("summary", {}, type),
      members(root, content.schema),
      examples(content))));
}

function examples(content) {
  const all = content.examples ?? (content.example === undefined ? {} : { example: { value: content.example } });
  return Object.entries(all).map(([name, { summary, value }]) => element("details", {},
    element("summary", {}, `Example: ${summary ?? name.replaceAll("_", " ")}`),
    element("pre", { tabindex: "0" }, typeof value === "string" ? value : JSON.stringify(value, null, 2))));
}

function paragraphs(text) {
  return text.split("\n\n").map((part) => element("p", {}, prose(part)));
}

edit(place("key"));
start();
