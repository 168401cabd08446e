// Forms with which an operation is tried on the host that serves this page. Owns the request and how its answer is shown; must
// never know the operations by name.

import { element } from "./elements.js";
import { shown } from "./key.js";
import { resolve } from "./schema.js";

let count = 0;

/** A form for one operation. */
export function attempt(root, path, method, operation, parameters) {
  const body = operation.requestBody?.content?.["multipart/form-data"];
  const schema = body ? resolve(root, body.schema) : { properties: {} };
  const required = new Set(schema.required ?? []);
  const inputs = [];
  const field = (place, name, of, needed) => {
    const id = `try-${(count += 1)}`;
    const options = of.enum?.filter((value) => value !== null);
    const input = options
      ? element("select", { id }, element("option", { value: "" }, "—"), options.map((value) => element("option", {}, value)))
      : element("input", {
          id,
          type: of.format === "binary" ? "file" : of.type === "number" || of.type === "integer" ? "number" : "text",
          accept: of.format === "binary" ? "image/*" : undefined,
          min: of.minimum,
          max: of.maximum,
          step: of.type === "integer" ? 1 : "any",
          required: needed,
          autocomplete: "off",
        });
    inputs.push({ place, name, input });
    return element("div", { class: "field" }, element("label", { for: id }, name, needed ? "" : " (optional)"), input);
  };
  const fields = [
    ...parameters.map((parameter) => field(parameter.in, parameter.name, resolve(root, parameter.schema), parameter.required)),
    ...Object.entries(schema.properties).map(([name, raw]) => field("form", name, resolve(root, raw), required.has(name))),
  ];
  const answer = element("div", { class: "answer", role: "status" });
  const send = element("button", { class: "first", type: "submit" }, "Send");
  const submit = async (event) => {
    event.preventDefault();
    send.disabled = true;
    answer.replaceChildren("Waiting for the answer …");
    try {
      const request = build(path, method, inputs);
      const begin = performance.now();
      const response = await fetch(request.target, request.options);
      const text = method === "head" ? "" : await response.text();
      show(answer, response, text, performance.now() - begin);
    } catch (error) {
      answer.replaceChildren(element("p", { class: "bad" }, `The host cannot be reached (${error.message}); see that it runs and that you are connected.`));
    } finally {
      send.disabled = false;
    }
  };
  return element("form", { onsubmit: submit }, fields, element("div", { class: "act" }, send), answer);
}

function build(path, method, inputs) {
  const query = new URLSearchParams();
  const headers = shown();
  const form = new FormData();
  let filled = false;
  let target = path;
  for (const { place, name, input } of inputs) {
    const value = input.type === "file" ? input.files[0] : input.value.trim();
    if (value === undefined || value === "") continue;
    if (place === "path") target = target.replace(`{${name}}`, encodeURIComponent(value));
    else if (place === "query") query.set(name, value);
    else if (place === "header") headers[name] = value;
    else {
      form.append(name, value);
      filled = true;
    }
  }
  const options = { method: method.toUpperCase(), headers, body: filled ? form : undefined };
  return { target: query.size > 0 ? `${target}?${query}` : target, options };
}

function show(answer, response, text, took) {
  const type = response.headers.get("content-type") ?? "";
  let shown = text;
  if (type.includes("json")) {
    try {
      shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
      // What claims to be JSON and is none is shown as it came.
    }
  }
  const most = 20000;
  answer.replaceChildren(
    element("p", {}, element("span", { class: `status s${String(response.status)[0]}` }, response.status), ` ${response.statusText} in ${Math.round(took)} ms`),
    element("pre", { tabindex: "0", "aria-label": "Answer" }, shown.length > most ? `${shown.slice(0, most)}\n…` : shown));
}
