// The client against real hosts, whose addresses come by the environment: `CLIENT_TEST_HOST` is a host with everything,
// `CLIENT_TEST_SLOW` one with the stub analyzer, one worker and a queue of one task that asks for `CLIENT_TEST_KEY`, `CLIENT_TEST_PHOTOS` the folder of the sample
// photographs. `cargo xtask test` starts and names them.

import assert from "node:assert/strict";
import { openAsBlob } from "node:fs";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { Client, ProblemError, TaskError, UnreachableError, WaitTimeoutError, hasEnded } from "../src/index.js";
import { forgetful, stranger } from "./network.js";

function told(name: string): string {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run these tests by \`cargo test --release --workspace --test integration clients\``);
  return value;
}

const host = told("CLIENT_TEST_HOST");
const photos = told("CLIENT_TEST_PHOTOS");
const client = new Client(host);
const apiKey = told("CLIENT_TEST_KEY");
const slow = new Client(told("CLIENT_TEST_SLOW"), { patience: 0, apiKey });

const photo = (name: string) => openAsBlob(join(photos, name));
/** A photograph for the stub analyzer, which takes so long. */
const stub = (milliseconds: number) => new Blob([`stub wait=${milliseconds} angle=0\n`]);
const nobody = `face_verification_${"0".repeat(32)}`;

/** Waits until a worker is at the task. */
async function started(taskId: string): Promise<void> {
  for (let look = 0; look < 600; look += 1) {
    if ((await slow.status(taskId)).status === "STARTED") return;
    await sleep(50);
  }
  assert.fail(`${taskId} did not start`);
}

/** What a promise is rejected with, which is of this kind. */
async function caught<E extends Error>(kind: new (...some: never[]) => E, promise: Promise<unknown>): Promise<E> {
  try {
    await promise;
  } catch (error) {
    assert.ok(error instanceof kind, `${String(error)} is no ${kind.name}`);
    return error;
  }
  return assert.fail(`there was no ${kind.name}`);
}

test("one person is verified", async () => {
  const result = await client.verify(await photo("obama.jpg"), await readFile(join(photos, "obama2.jpg")));
  assert.ok(result.verified && result.euclidean_distance <= result.threshold && result.verification_score > 0.5);
  const { box, image, landmarks, pose } = result.faces[0];
  assert.ok(0 <= box[0] && box[0] < box[2] && box[2] <= image.width && box[1] < box[3]);
  assert.ok(landmarks.length === 5 && landmarks[0][0] < landmarks[1][0] && Math.abs(pose.yaw) < 25);
  assert.ok(result.components.scorer.digest.length === 64 && result.models.length > 1 && result.timings_ms.total > 0);
});

test("the threshold decides", async () => {
  const options = { threshold: 0.1, nonFrontal: "report" } as const;
  const result = await client.verify(await photo("obama.jpg"), await photo("obama2.jpg"), options);
  assert.ok(!result.verified && Math.abs(result.threshold - 0.1) < 1e-6);
});

test("a photograph without a face is named", async () => {
  const error = await caught(TaskError, client.verify(await photo("obama.jpg"), await photo("coffee.png")));
  assert.deepEqual([error.code, error.image, error.worthAnotherTry, error.name], ["no_face", 2, false, "TaskError"]);
  assert.match(error.detail, /photograph 2/);
  assert.deepEqual(await client.status(error.taskId), error.task);
});

test("a refusal says what is wrong and where", async () => {
  const face = await photo("obama.jpg");
  const threshold = await caught(ProblemError, client.submit(face, face, { threshold: 3 }));
  assert.deepEqual([threshold.status, threshold.code, threshold.field], [422, "invalid_field", "threshold"]);
  assert.match(threshold.detail, /0 to 2/);
  assert.deepEqual([threshold.image, threshold.retryAfter, threshold.worthAnotherTry], [undefined, undefined, false]);
  const empty = await caught(ProblemError, client.submit(new ArrayBuffer(0), face));
  assert.deepEqual([empty.code, empty.image], ["missing_field", 1]);
});

test("an address that the operator has not listed is refused", async () => {
  const face = await photo("obama.jpg");
  const refused = await caught(ProblemError, client.submit(face, face, { callbackUrl: "https://hooks.example.org/ended" }));
  assert.deepEqual([refused.code, refused.field], ["invalid_field", "callback_url"]);
  assert.match(refused.detail, /webhooks\.allow/);
});

test("an unknown task is not waited for", async () => {
  for (const id of [nobody, "../verify?x=1"]) {
    for (const ask of [() => client.status(id), () => client.wait(id), () => client.revoke(id)]) {
      assert.equal((await caught(ProblemError, ask())).status, 404);
    }
  }
  await caught(RangeError, client.status(nobody, { wait: 31 }));
});

test("one key is one task", async () => {
  const [face, cup] = [await photo("obama.jpg"), await photo("coffee.png")];
  const options = { idempotencyKey: `test-${performance.now()}-${process.pid}` };
  const id = await client.submit(face, cup, options);
  assert.equal(await client.submit(face, cup, options), id);
  assert.equal((await caught(ProblemError, client.submit(cup, face, options))).code, "conflict");
  const task = await client.wait(id);
  assert.ok(task.status === "FAILURE" && task.error.code === "no_face");
  assert.notEqual(await client.submit(face, cup), id, "without a key each call is a task of its own");
});

test("a slow task is waited for and can be revoked", async () => {
  const id = await slow.submit(stub(60_000), stub(0));
  await started(id);
  for (const timeout of [0.2, 1.1]) {
    const begin = performance.now();
    const error = await caught(WaitTimeoutError, slow.wait(id, { timeout }));
    assert.ok(performance.now() - begin >= timeout * 1000 - 100);
    assert.deepEqual([error.taskId, error.status], [id, "STARTED"]);
  }
  const cancelled = await caught(DOMException, slow.wait(id, { signal: AbortSignal.timeout(300) }));
  assert.equal(cancelled.name, "TimeoutError");
  const task = await slow.revoke(id);
  assert.ok(hasEnded(task) && task.status === "REVOKED" && task.error.code === "revoked");
  assert.equal((await caught(ProblemError, slow.revoke(id))).code, "conflict");
});

test("a task that goes on when verify gives up can be taken up", async () => {
  const error = await caught(WaitTimeoutError, slow.verify(stub(1_500), stub(0), { timeout: 0.8 }));
  const task = await slow.wait(error.taskId);
  assert.ok(task.status === "SUCCESS" && task.result.verified);
});

test("a full queue is tried again when it says", async () => {
  // What Retry-After says follows from how fast tasks ended lately.
  for (let done = 0; done < 40; done += 1) await slow.verify(stub(0), stub(0));
  const first = await slow.submit(stub(2_000), stub(0));
  await started(first);
  const second = await slow.submit(stub(0), stub(0));
  const refusal = await caught(ProblemError, slow.submit(stub(0), stub(0)));
  assert.ok(refusal.status === 503 && refusal.worthAnotherTry && (refusal.retryAfter ?? 0) >= 1);
  const begin = performance.now();
  const third = await new Client(told("CLIENT_TEST_SLOW"), { patience: 60, apiKey }).submit(stub(0), stub(0));
  assert.ok(performance.now() - begin >= 1000, "Retry-After is at least a second");
  for (const id of [first, second, third]) assert.equal((await slow.wait(id)).status, "SUCCESS");
});

test("a host that asks for a key refuses without", async () => {
  for (const shown of [{}, { apiKey: apiKey.slice(0, -1) }]) {
    const stranger = new Client(told("CLIENT_TEST_SLOW"), shown);
    for (const ask of [() => stranger.status("x"), () => stranger.submit(stub(0), stub(0))]) {
      const { status, code, worthAnotherTry } = await caught(ProblemError, ask() as Promise<unknown>);
      assert.deepEqual([status, code, worthAnotherTry], [401, "unauthorized", false]);
    }
  }
});

test("a lost answer does not make a second task, and names of files stay here", async () => {
  const { url, seen, close } = await forgetful(host, 1);
  try {
    const through = new Client(`${url}/`, { headers: { Authorization: "Bearer of-a-proxy" } });
    const secret = new File([await photo("obama.jpg")], "jane-doe-passport.jpg");
    const id = await through.submit(secret, await photo("coffee.png"));
    assert.deepEqual([seen.answers, [...seen.taskIds]], [2, [id]]);
    assert.match(seen.sent, /Bearer of-a-proxy/);
    assert.match(seen.sent, /filename="image1"/);
    assert.doesNotMatch(seen.sent, /jane-doe/);
  } finally {
    await close();
  }
});

test("a host that is away or not one is unreachable", async () => {
  const away = await stranger(502);
  const error = await caught(UnreachableError, new Client(away.url, { patience: 0 }).status("x"));
  assert.ok(error.worthAnotherTry && /502/.test(error.message));
  await caught(UnreachableError, new Client(away.url, { patience: 1 }).status("x"));
  assert.equal(away.seen.requests, 3, "once without patience, and twice within a second");
  await away.close();
  for (const status of [200, 404]) {
    const other = await stranger(status);
    assert.equal((await caught(UnreachableError, new Client(other.url).wait("x"))).worthAnotherTry, false);
    assert.equal(other.seen.requests, 1);
    await other.close();
  }
  const gone = new Client(away.url, { patience: 0.7 });
  assert.match((await caught(UnreachableError, gone.submit(stub(0), stub(0)))).message, /no answer/);
  await caught(WaitTimeoutError, gone.wait("x", { timeout: 0.7 }));
});

test("what cannot be sent is an error here", async () => {
  assert.throws(() => new Client("no address"), TypeError);
  await caught(TypeError, client.submit(stub(0), stub(0), { idempotencyKey: "\u{1f511}" }));
});
