// What can go wrong. Owns what each error carries; must never know when it is thrown.

import type { Failure, NotDecided, Status } from "./types.js";

/** The base of all errors of this package. */
export class VisavisError extends Error {
  override readonly name: string = "VisavisError";
  /** Whether the same request may succeed later. */
  readonly worthAnotherTry: boolean;

  constructor(message: string, worthAnotherTry: boolean, options?: ErrorOptions) {
    super(message, options);
    this.worthAnotherTry = worthAnotherTry;
  }
}

/** A refusal as RFC 9457 words it. */
export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly field?: string;
}

/** The host refused the request, with a problem document. */
export class ProblemError extends VisavisError {
  override readonly name = "ProblemError";
  /** The HTTP status. */
  readonly status: number;
  /** For programs, as `queue_full`. */
  readonly code: string;
  /** The phrase of the HTTP status. */
  readonly title: string;
  /** For people: what is wrong, where, and what would mend it. */
  readonly detail: string;
  /** The field or parameter that it concerns. */
  readonly field: string | undefined;
  /** The photograph that it concerns. */
  readonly image: 1 | 2 | undefined;
  /** Seconds after which another try makes sense; `undefined` where the same request is refused again. */
  readonly retryAfter: number | undefined;

  constructor(problem: Problem, retryAfter: number | undefined) {
    super(`${problem.detail} (${problem.code}, HTTP ${problem.status})`, retryAfter !== undefined);
    this.status = problem.status;
    this.code = problem.code;
    this.title = problem.title;
    this.detail = problem.detail;
    this.field = problem.field;
    this.image = problem.field === "image1" ? 1 : problem.field === "image2" ? 2 : undefined;
    this.retryAfter = retryAfter;
  }
}

/** The task ended without a verdict: a photograph could not be used, the host failed, or somebody revoked it. */
export class TaskError extends VisavisError {
  override readonly name = "TaskError";
  readonly taskId: string;
  readonly task: NotDecided;
  /** For programs, as `no_face`. */
  readonly code: string;
  /** For people: what is wrong, and what would mend it. */
  readonly detail: string;
  /** The photograph that it concerns. */
  readonly image: 1 | 2 | undefined;
  /** `faces` with `multiple_faces`, `pose` with `non_frontal_face`. */
  readonly details: Failure["details"];

  constructor(task: NotDecided) {
    const { code, message, image, details } = task.error;
    super(`${message} (${code})`, code === "timeout" || code === "processing_failed");
    this.taskId = task.task_id;
    this.task = task;
    this.code = code;
    this.detail = message;
    this.image = image;
    this.details = details;
  }
}

/** The task had not ended when the time that was given for it was over. It goes on; `wait` can take it up again. */
export class WaitTimeoutError extends VisavisError {
  override readonly name = "WaitTimeoutError";
  readonly taskId: string;
  /** What was last known of it. */
  readonly status: Status | undefined;

  constructor(taskId: string, status: Status | undefined, timeout: number, options?: ErrorOptions) {
    const state = status === undefined ? "" : `, it is ${status}`;
    super(`${taskId} did not end within ${timeout} s${state}; wait for it again, or revoke it`, false, options);
    this.taskId = taskId;
    this.status = status;
  }
}

/** There was no answer, or one that is not a visavis host's, as from a proxy before it. */
export class UnreachableError extends VisavisError {
  override readonly name = "UnreachableError";
}
