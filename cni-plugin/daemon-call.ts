// One request to the daemon of this node over its unix socket: HTTP by hand, since node:http costs each pod's start 8 ms.
import { openStream } from "./unix-stream.ts";
import type { Stream } from "./unix-stream.ts";

export interface DaemonCall {
  readonly socket: string;
  readonly method: "GET" | "POST" | "DELETE";
  /** With its query. */
  readonly path: string;
  /** Sent as JSON. */
  readonly body?: unknown;
  /** Milliseconds for all of it. */
  readonly timeoutMs: number;
}

export interface DaemonAnswer {
  readonly status: number;
  readonly body: string;
}

/** Answers are a line of JSON. */
const MAX_ANSWER_BYTES = 64 * 1024;

/** @throws {Error} whose message says why there is no answer */
export function callDaemon(call: DaemonCall): Promise<DaemonAnswer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    let isDone = false;
    let stream: Stream | undefined;
    const finish = (settle: () => void): void => {
      if (isDone) return;
      isDone = true;
      clearTimeout(timer);
      stream?.close();
      settle();
    };
    const fail = (why: string): void => finish(() => reject(new Error(why)));
    const timer = setTimeout(() => fail(`no answer within ${call.timeoutMs} ms`), call.timeoutMs);
    // bun calls back before it returns when nobody listens.
    stream = openStream(call.socket, renderRequest(call), {
      onData: (chunk) => {
        chunks.push(chunk);
        size += chunk.length;
        if (size > MAX_ANSWER_BYTES) fail("its answer is too long");
      },
      onEnd: () => {
        const answer = parseAnswer(Buffer.concat(chunks).toString("utf8"));
        if (answer === undefined) fail("it closed the connection without an answer");
        else finish(() => resolve(answer));
      },
      onError: fail,
    });
  });
}

function renderRequest({ method, path, body }: DaemonCall): Buffer {
  const payload = Buffer.from(body === undefined ? "" : JSON.stringify(body));
  const head = [
    // 1.0, so that no answer comes in chunks.
    `${method} ${path} HTTP/1.0`,
    "host: localhost",
    "connection: close",
    ...(body === undefined ? [] : ["content-type: application/json", `content-length: ${payload.length}`]),
  ];
  return Buffer.concat([Buffer.from(`${head.join("\r\n")}\r\n\r\n`), payload]);
}

/** The daemon closes after its answer, so the body is what follows the head. */
function parseAnswer(text: string): DaemonAnswer | undefined {
  const end = text.indexOf("\r\n\r\n");
  const status = /^HTTP\/1\.[01] (\d{3})/.exec(text)?.[1];
  return end < 0 || status === undefined ? undefined : { status: Number(status), body: text.slice(end + 4) };
}
