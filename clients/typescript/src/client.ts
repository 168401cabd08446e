// The client: what is asked of a host, in which order and how often. Uses `fetch` and nothing that only Node or only browsers
// have.

import { ProblemError, TaskError, UnreachableError, WaitTimeoutError } from "./errors.js";
import type { Problem } from "./errors.js";
import { hasEnded } from "./types.js";
import type { Ended, Result, Status, Task } from "./types.js";

/** The content of a file. In Node, `openAsBlob` of `node:fs` makes a `Blob` of a path; a `File` of a form is one already. */
export type Photograph = Blob | ArrayBuffer | Uint8Array<ArrayBuffer>;

/** How a client is made. */
export interface ClientOptions {
  /**
   * For how many seconds a request is repeated while the host cannot be reached, or refuses for a while (429, 503); it pauses for
   * what `Retry-After` says. 0 repeats nothing; 30 by default.
   */
  readonly patience?: number;
  /** An API key, shown with each request, for a host that asks for one; give it to an `https` address alone where others can listen. */
  readonly apiKey?: string;
  /** What goes with each request, as for a proxy that wants to know who asks. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Another `fetch`, for proxies and the like. */
  readonly fetch?: typeof fetch;
}

/** How a verdict is to be found. Without them the host's own settings hold. */
export interface Wishes {
  /** The largest Euclidean distance of one person's faces, 0 to 2. */
  readonly threshold?: number;
  /** What to do with a face that does not look into the camera: refuse to decide, or decide and say so. */
  readonly nonFrontal?: "reject" | "report";
}

/** What goes with a submission. */
export interface SubmitOptions extends Wishes {
  /** Where the host posts the task's end as well, if its operator has listed that. */
  readonly callbackUrl?: string;
  /** Submissions of the same content under one key are one task. Each call makes a key of its own if there is none. */
  readonly idempotencyKey?: string;
  /** Breaks off. A task that was accepted goes on all the same; `revoke` takes it back. */
  readonly signal?: AbortSignal;
}

/** What goes with a verification. */
export interface VerifyOptions extends SubmitOptions {
  /** Seconds to wait for the end; 60 by default. */
  readonly timeout?: number;
}

/** So many seconds a host waits at most for the end of a task. */
const LONGEST_WAIT = 30;
/** So many seconds a host that was not asked to wait may be silent, its answer to a large body included. */
const AT_ONCE = 60;
const FIRST_PAUSE = 0.5;
const LONGEST_PAUSE = 10;

/** A client of one visavis host. It holds nothing open. */
export class Client {
  readonly #base: string;
  readonly #patience: number;
  readonly #headers: Readonly<Record<string, string>>;
  readonly #fetch: typeof fetch;

  /** `base` is the host's address, in a browser `location.origin` where the host or a proxy before it serves the page. */
  constructor(base: string | URL = "http://127.0.0.1:8080", options: ClientOptions = {}) {
    // What is no URL is an error here and now.
    this.#base = new URL(base).href.replace(/\/+$/, "");
    this.#patience = options.patience ?? 30;
    const shown = options.apiKey === undefined ? {} : { Authorization: `Bearer ${options.apiKey}` };
    this.#headers = { ...options.headers, ...shown };
    // Browsers want to be called as a function of the window and not of this object.
    this.#fetch = options.fetch ?? ((input, init) => fetch(input, init));
  }

  /**
   * Hands two photographs in, waits for the end at most `timeout` seconds, and answers the verdict.
   *
   * Throws a `TaskError` when there is no verdict, a `ProblemError` when the host refuses, a `WaitTimeoutError` when the task
   * goes on, an `UnreachableError` when there is no answer, and what `signal` was aborted with.
   */
  async verify(image1: Photograph, image2: Photograph, options: VerifyOptions = {}): Promise<Result> {
    const timeout = options.timeout ?? 60;
    const patience = new Patience(timeout, options.signal);
    const submission = new Submission(image1, image2, options);
    const { status, body } = await this.#ask(() => submission.request(patience.wait()), patience);
    const task = status === 200 ? taskOf(body) : await this.#follow(idOf(body), timeout, patience);
    if (!hasEnded(task)) throw new UnreachableError(`${task.task_id} is ${task.status}, yet the host answers 200`, false);
    if (task.status === "SUCCESS") return task.result;
    throw new TaskError(task);
  }

  /** Hands two photographs in and answers the task's id at once. Throws as `verify` does. */
  async submit(image1: Photograph, image2: Photograph, options: SubmitOptions = {}): Promise<string> {
    const submission = new Submission(image1, image2, options);
    const { body } = await this.#ask(() => submission.request(0), new Patience(this.#patience, options.signal));
    return idOf(body);
  }

  /**
   * How a task stands, at its end or after `wait` seconds (to 30). Throws a `ProblemError` with the code `not_found` when it is
   * unknown, or ended so long ago that it is forgotten.
   */
  async status(taskId: string, options: { wait?: number; signal?: AbortSignal } = {}): Promise<Task> {
    const wait = options.wait ?? 0;
    if (!Number.isInteger(wait) || wait < 0 || wait > LONGEST_WAIT) {
      throw new RangeError(`wait is ${wait}; it is 0 to ${LONGEST_WAIT} whole seconds`);
    }
    const { body } = await this.#ask(() => look(taskId, wait), new Patience(this.#patience, options.signal));
    return taskOf(body);
  }

  /** Waits for a task's end, however it ends. Throws a `WaitTimeoutError` when it has not after `timeout` (60) seconds. */
  async wait(taskId: string, options: { timeout?: number; signal?: AbortSignal } = {}): Promise<Ended> {
    const timeout = options.timeout ?? 60;
    return this.#follow(taskId, timeout, new Patience(timeout, options.signal));
  }

  /** Takes a task back; its photographs are deleted. Throws a `ProblemError` (`conflict`) when it has ended. */
  async revoke(taskId: string, options: { signal?: AbortSignal } = {}): Promise<Task> {
    const patience = new Patience(this.#patience, options.signal);
    const { body } = await this.#ask(() => ({ method: "DELETE", path: taskPath(taskId), wait: 0 }), patience);
    return taskOf(body);
  }

  async #follow(taskId: string, timeout: number, patience: Patience): Promise<Ended> {
    let known: Status | undefined;
    for (;;) {
      let task: Task;
      try {
        task = taskOf((await this.#ask(() => look(taskId, patience.wait()), patience)).body);
      } catch (error) {
        // The time is over while the host is away or refuses for a while.
        const passes = error instanceof ProblemError || error instanceof UnreachableError;
        if (!passes || !error.worthAnotherTry) throw error;
        throw new WaitTimeoutError(taskId, known, timeout, { cause: error });
      }
      if (hasEnded(task)) return task;
      known = task.status;
      const rest = patience.left();
      if (rest <= 0) throw new WaitTimeoutError(taskId, known, timeout);
      // Less than a second is too little for the host to wait, so it passes here.
      if (rest < 1) await patience.pause(Math.min(rest, 0.2));
    }
  }

  /** One answer that is no refusal; what passes is asked for again, as long as patience lasts. */
  async #ask(request: () => Request, patience: Patience): Promise<Answer> {
    for (;;) {
      let refusal: ProblemError | UnreachableError;
      let retryAfter: number | undefined;
      const order = request();
      const headers = new Headers({ ...this.#headers, ...order.headers });
      try {
        const { response, text } = await this.#send(order, headers, patience.signal);
        const answer = { status: response.status, body: parsed(text), url: response.url };
        if (response.ok) return answer;
        retryAfter = secondsOf(response.headers.get("retry-after"));
        refusal = refusalOf(answer, retryAfter);
      } catch (error) {
        patience.signal?.throwIfAborted();
        refusal = new UnreachableError(`the host gave no answer: ${wordsOf(error)}`, true, { cause: error });
      }
      const pause = refusal.worthAnotherTry ? patience.pauseFor(retryAfter) : undefined;
      if (pause === undefined) throw refusal;
      await patience.pause(pause);
    }
  }

  async #send(request: Request, headers: Headers, signal: AbortSignal | undefined) {
    const silence = AbortSignal.timeout((AT_ONCE + request.wait) * 1000);
    const response = await this.#fetch(this.#base + request.path, {
      method: request.method,
      headers,
      body: request.body ?? null,
      cache: "no-store",
      signal: signal === undefined ? silence : AbortSignal.any([signal, silence]),
    });
    return { response, text: await response.text() };
  }
}

interface Request {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** Seconds that the host is asked to wait. */
  readonly wait: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: FormData;
}

interface Answer {
  readonly status: number;
  /** The JSON, or `undefined` where there is none. */
  readonly body: unknown;
  readonly url: string;
}

/** What is handed in. Is made once, so that each try sends the same. */
class Submission {
  readonly #form = new FormData();
  // A submission whose answer was lost is sent again under its key, and is still one task.
  readonly #key: string;

  constructor(image1: Photograph, image2: Photograph, options: SubmitOptions) {
    this.#key = options.idempotencyKey ?? randomKey();
    [image1, image2].forEach((photograph, index) => {
      const name = `image${index + 1}`;
      const blob = photograph instanceof Blob ? photograph : new Blob([photograph]);
      // The name of a file stays here: the host has no use for it, and it may say whom the photograph shows.
      this.#form.append(name, blob.slice(0, blob.size, "application/octet-stream"), name);
    });
    if (options.threshold !== undefined) this.#form.append("threshold", String(options.threshold));
    if (options.nonFrontal !== undefined) this.#form.append("non_frontal", options.nonFrontal);
    if (options.callbackUrl !== undefined) this.#form.append("callback_url", options.callbackUrl);
  }

  request(wait: number): Request {
    const headers = { "Idempotency-Key": this.#key };
    return { method: "POST", path: `/verify${waiting(wait)}`, wait, headers, body: this.#form };
  }
}

/** What is left of a time, and how long to pause in it. */
class Patience {
  readonly signal: AbortSignal | undefined;
  readonly #end: number;
  #pause = FIRST_PAUSE;

  constructor(seconds: number, signal: AbortSignal | undefined) {
    this.signal = signal;
    this.#end = performance.now() + seconds * 1000;
  }

  /** Seconds. */
  left(): number {
    return Math.max(0, (this.#end - performance.now()) / 1000);
  }

  /** Whole seconds that a host may be asked to wait. */
  wait(): number {
    return Math.floor(Math.min(this.left(), LONGEST_WAIT));
  }

  /** What the host asks for, else longer each time; `undefined` when that is more than is left. */
  pauseFor(retryAfter: number | undefined): number | undefined {
    const seconds = retryAfter ?? this.#pause;
    this.#pause = Math.min(2 * this.#pause, LONGEST_PAUSE);
    return seconds < this.left() ? seconds : undefined;
  }

  /** Lets so many seconds pass. */
  pause(seconds: number): Promise<void> {
    const { signal } = this;
    return new Promise((done, broken) => {
      const end = () => {
        clearTimeout(timer);
        broken(signal?.reason);
      };
      const timer = setTimeout(() => {
        signal?.removeEventListener("abort", end);
        done();
      }, seconds * 1000);
      signal?.addEventListener("abort", end, { once: true });
      if (signal?.aborted) end();
    });
  }
}

/** 128 random bits. `crypto.randomUUID` would be shorter, but pages over plain HTTP have none. */
function randomKey(): string {
  return [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function waiting(seconds: number): string {
  return seconds > 0 ? `?wait=${seconds}` : "";
}

function taskPath(taskId: string): string {
  return `/status/${encodeURIComponent(taskId)}`;
}

function look(taskId: string, wait: number): Request {
  return { method: "GET", path: taskPath(taskId) + waiting(wait), wait };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function refusalOf({ status, body, url }: Answer, retryAfter: number | undefined): ProblemError | UnreachableError {
  if (isRecord(body) && ["code", "title", "detail"].every((name) => typeof body[name] === "string")) {
    return new ProblemError({ ...(body as unknown as Problem), status }, retryAfter);
  }
  // A proxy before the host answers in its own words.
  const passes = [429, 502, 503, 504].includes(status);
  return new UnreachableError(`HTTP ${status} in words that are not a visavis host's, from ${url}`, passes);
}

/** Seconds. A date, the header's other form, comes from no host and counts as nothing said. */
function secondsOf(header: string | null): number | undefined {
  return header !== null && /^[0-9]+$/.test(header) ? Number(header) : undefined;
}

const STATES: readonly unknown[] = ["PENDING", "STARTED", "RETRY", "SUCCESS", "FAILURE", "REVOKED"];

function taskOf(body: unknown): Task {
  if (isRecord(body) && typeof body["task_id"] === "string" && STATES.includes(body["status"])) {
    const task = body as unknown as Task;
    if (!hasEnded(task) || isRecord(task.status === "SUCCESS" ? task.result : task.error)) return task;
  }
  throw new UnreachableError("what was answered is no task of a visavis host", false);
}

function idOf(body: unknown): string {
  if (isRecord(body) && typeof body["task_id"] === "string") return body["task_id"];
  throw new UnreachableError("what was answered is no task of a visavis host", false);
}

/** What a failed `fetch` says, which tells the cause apart. */
function wordsOf(error: unknown): string {
  const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return cause instanceof Error ? cause.message || cause.name : String(cause);
}
