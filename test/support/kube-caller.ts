// Plain calls to a Kubernetes API, real or fake, for tests: no client library between the test and the wire.
import { request as httpRequest } from "node:http";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { gunzipSync } from "node:zlib";
import { watchLines } from "./fake-kube/watch-lines.ts";
import type { WatchLines } from "./fake-kube/watch-lines.ts";

export interface KubeCallerOptions {
  readonly url: string;
  /** PEM of the server's authority. */
  readonly ca?: Buffer;
  readonly token?: string;
  /** PEM of a client certificate. */
  readonly certificate?: { readonly cert: Buffer; readonly key: Buffer };
}

export interface KubeAnswer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly text: string;
  /** The parsed body; undefined when it is not JSON. */
  // eslint-disable-next-line typescript/no-explicit-any -- tests look into it anywhere
  readonly body: any;
}

export interface KubeCall {
  /** An object is sent as JSON, a text as it is. */
  readonly body?: unknown;
  readonly contentType?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

export type KubeCaller = (method: string, path: string, call?: KubeCall) => Promise<KubeAnswer>;

export function createKubeCaller(options: KubeCallerOptions): KubeCaller {
  return async (method, path, call = {}) => {
    const answer = await send(options, method, path, call);
    const chunks: Buffer[] = [];
    for await (const chunk of answer) chunks.push(chunk as Buffer);
    const bytes = Buffer.concat(chunks);
    const text = String(answer.headers["content-encoding"] === "gzip" ? gunzipSync(bytes) : bytes);
    return { status: answer.statusCode ?? 0, headers: answer.headers, text, body: parseJson(text) };
  };
}

/** An open watch; `close` ends it. */
export interface KubeWatch extends WatchLines {
  readonly status: number;
  close(): void;
}

/** Resolves when the server has answered with its headers. */
export async function openWatch(options: KubeCallerOptions, path: string): Promise<KubeWatch> {
  const answer = await send(options, "GET", path, {});
  const lines = watchLines(answer);
  return {
    status: answer.statusCode ?? 0,
    lines: lines.lines,
    get rest() {
      return lines.rest;
    },
    ended: lines.ended,
    close: () => answer.destroy(),
  };
}

function send(
  { url, ca, token, certificate }: KubeCallerOptions,
  method: string,
  path: string,
  { body, contentType = "application/json", headers }: KubeCall,
): Promise<IncomingMessage> {
  const text = body === undefined ? undefined : typeof body === "string" ? body : JSON.stringify(body);
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  const request = url.startsWith("https:") ? httpsRequest : httpRequest;
  const asking = request(`${url}${path}`, {
    method,
    agent: false,
    ...(ca === undefined ? {} : { ca }),
    ...certificate,
    headers: {
      ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }),
      ...(text === undefined
        ? {}
        : { "Content-Type": contentType, "Content-Length": Buffer.byteLength(text) }),
      ...headers,
    },
  });
  asking.on("response", resolve);
  asking.on("error", reject);
  asking.end(text);
  return promise;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
