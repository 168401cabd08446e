// Tells people what a JSON Schema says. Owns the words for types and bounds; must never know which schemas there are.

import { element, prose } from "./elements.js";

/** Follows references; what stands beside one wins over what it names. */
export function resolve(root, value) {
  const seen = new Set();
  while (value && typeof value.$ref === "string" && !seen.has(value.$ref)) {
    seen.add(value.$ref);
    const found = value.$ref.slice(2).split("/").reduce((at, key) => at?.[key], root);
    const { $ref: _, ...beside } = value;
    value = { ...found, ...beside };
  }
  return value ?? {};
}

/** A type and its bounds in a few words. */
export function words(root, schema) {
  schema = resolve(root, schema);
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(", ");
  if (schema.oneOf) return "one of these";
  const type = [schema.type].flat().filter(Boolean).join(" or ") || "any value";
  const said = [schema.format === "binary" ? "file" : type];
  if (schema.contentEncoding) said.push(`in ${schema.contentEncoding}`);
  if (schema.minimum !== undefined && schema.maximum !== undefined) said.push(`${schema.minimum} to ${schema.maximum}`);
  else if (schema.minimum !== undefined) said.push(`at least ${schema.minimum}`);
  if (schema.type === "array" && schema.minItems !== undefined && schema.minItems === schema.maxItems) said.push(`of ${schema.minItems}`);
  if (schema.default !== undefined) said.push(`${JSON.stringify(schema.default)} if absent`);
  return said.join(", ");
}

/** The members of an object, the items of an array, the choices of a `oneOf`; nothing for a plain value. */
export function members(root, schema, depth = 0) {
  schema = resolve(root, schema);
  if (depth > 6) return null;
  if (schema.oneOf) {
    const choices = schema.oneOf.map((choice) => resolve(root, choice));
    return element("ul", { class: "rows" }, choices.map((choice) => element("li", {}, element("strong", {}, choice.title ?? words(root, choice)), members(root, choice, depth + 1))));
  }
  if (schema.allOf) return members(root, schema.allOf[0], depth + 1);
  if (schema.type === "array" && schema.items) return members(root, schema.items, depth + 1);
  if (!schema.properties) return null;
  const required = new Set(schema.required ?? []);
  return element("ul", { class: "rows" }, Object.entries(schema.properties).map(([name, raw]) => {
    const member = resolve(root, raw);
    return element("li", {},
      element("code", {}, name), " ",
      element("span", { class: "of" }, words(root, member), required.has(name) ? "" : ", optional"),
      member.description && element("span", { class: "said" }, prose(member.description)),
      members(root, member, depth + 1));
  }));
}
