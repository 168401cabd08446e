// Speaks to the host that served this page. Owns the requests and what can go wrong with them; must never know the page.

import { shown } from "./key.js";

/** The host refused, with a problem document. */
export class Refusal extends Error {
  constructor(problem, retryAfter) {
    super(problem.detail);
    this.code = problem.code;
    this.field = problem.field;
    this.status = problem.status;
    this.retryAfter = retryAfter;
  }
}

/** There was no answer. */
export class Away extends Error {}

async function ask(target, options = {}) {
  let response;
  let body;
  try {
    response = await fetch(target, { cache: "no-store", headers: shown(), ...options });
    body = await response.text();
  } catch (error) {
    throw new Away("the host gave no answer", { cause: error });
  }
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    // A proxy before the host may answer in its own words.
    value = { code: "unreadable", detail: `The host answered ${response.status} in words that are not its own.`, status: response.status };
    throw new Refusal(value, 1);
  }
  if (!response.ok) throw new Refusal(value, Number(response.headers.get("retry-after")) || 1);
  return value;
}

/** Hands two photographs in; answers the task's id. */
export async function submit(photographs, wishes) {
  const form = new FormData();
  photographs.forEach((file, index) => form.append(`image${index + 1}`, file, file.name));
  for (const [name, value] of Object.entries(wishes)) form.append(name, value);
  return (await ask("/verify", { method: "POST", body: form })).task_id;
}

/** How a task stands, after its end or after so many seconds. */
export function status(id, wait) {
  return ask(`/status/${id}?wait=${wait}`);
}

/** Takes a task back. */
export function revoke(id) {
  return ask(`/status/${id}`, { method: "DELETE" });
}

/** Whether a task in this state will change no more. */
export function isFinal(state) {
  return ["SUCCESS", "FAILURE", "REVOKED"].includes(state);
}

/** How long the host may be away before nobody waits for it any more, milliseconds. */
const PATIENCE = 60_000;

/**
 * Follows a task to its end and answers how it ended. `told` hears of each state, and of `AWAY` while the host gives no answer.
 */
export async function follow(id, told) {
  let wait = 0;
  let away = null;
  for (;;) {
    let pause = 1;
    try {
      const task = await status(id, wait);
      away = null;
      told(task.status);
      if (isFinal(task.status)) return task;
      // Short waits, so that a change from one state to the next is seen.
      wait = 1;
      pause = 0;
    } catch (error) {
      const busy = error instanceof Refusal && error.status === 429;
      const passing = busy || error instanceof Away || (error instanceof Refusal && error.status >= 500);
      away ??= Date.now();
      if (!passing || Date.now() - away > PATIENCE) throw error;
      if (!busy) told("AWAY");
      pause = Math.min(error.retryAfter ?? 1, 5);
    }
    if (pause > 0) await new Promise((done) => setTimeout(done, pause * 1000));
  }
}
