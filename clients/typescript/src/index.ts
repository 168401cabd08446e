/**
 * Asks a visavis host whether two photographs show the same person.
 *
 *     const client = new Client("http://127.0.0.1:8080");
 *     const { verified, euclidean_distance } = await client.verify(first, second);
 *
 * @module
 */
export { Client } from "./client.js";
export type { ClientOptions, Photograph, SubmitOptions, VerifyOptions, Wishes } from "./client.js";
export { ProblemError, TaskError, UnreachableError, VisavisError, WaitTimeoutError } from "./errors.js";
export type { Problem } from "./errors.js";
export { hasEnded } from "./types.js";
export type {
  Component,
  Decided,
  Ended,
  Face,
  Failure,
  NotDecided,
  Point,
  Pose,
  Result,
  Status,
  Task,
  UnderWay,
} from "./types.js";
