// The command that does what the page does. Owns the quoting; must never run anything.

/** Text as one word of a POSIX shell. */
export function quoted(text) {
  return /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** A file as curl's `-F` takes it: with quotation marks where the name holds what curl would read as its own. */
function attached(name) {
  return /[",;\\]/.test(name) ? `@"${name.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"` : `@${name}`;
}

/** The command for these file names and wishes. A key is named by a variable: what is copied may be shown to others. */
export function command(origin, names, wishes, withKey) {
  const fields = [
    ...names.map((name, index) => `image${index + 1}=${attached(name)}`),
    ...Object.entries(wishes).map(([name, value]) => `${name}=${value}`),
  ];
  const shown = withKey ? ["-H", '"Authorization: Bearer $API_KEY"'] : [];
  return ["curl", ...shown, ...fields.flatMap((field) => ["-F", quoted(field)]), quoted(`${origin}/verify?wait=30`)].join(" ");
}
