// Networks between a client and a host: one that loses answers, and one that leads elsewhere. Owns sockets on the loopback; must
// never know what a client does about it.

import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { request } from "node:http";
import type { IncomingMessage, RequestListener } from "node:http";

async function opened(listener: RequestListener) {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = async () => {
    server.close();
    server.closeAllConnections();
    await once(server, "close");
  };
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, close };
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

/** Hands requests on to a host, and loses the first answers after the host has given them. */
export async function forgetful(host: string, lost: number) {
  const seen = { answers: 0, taskIds: new Set<string>(), sent: "" };
  const place = await opened(async (incoming, outgoing) => {
    const body = await read(incoming);
    seen.sent += `${incoming.rawHeaders.join("\n")}\n${body.toString("latin1")}`;
    const { method = "GET", url = "/", headers } = incoming;
    const order = request(host + url, { method, headers, agent: false });
    order.end(body);
    const [answer] = (await once(order, "response")) as [IncomingMessage];
    const text = (await read(answer)).toString();
    for (const [, id] of text.matchAll(/"task_id":\s*"(\w+)"/g)) seen.taskIds.add(id ?? "");
    seen.answers += 1;
    if (seen.answers <= lost) return void incoming.socket.destroy();
    outgoing.writeHead(answer.statusCode ?? 0, answer.headers).end(text);
  });
  return { ...place, seen };
}

/** Answers everything with a page of its own, as a proxy does whose host is away. */
export async function stranger(status: number) {
  const seen = { requests: 0 };
  const place = await opened((_, outgoing) => {
    seen.requests += 1;
    outgoing.writeHead(status, { "Content-Type": "text/html" }).end("<h1>Not what was asked for</h1>");
  });
  return { ...place, seen };
}
