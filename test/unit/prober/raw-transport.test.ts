// Probes over a raw socket that a test plays: what counts as an answer in time.
import { expect, test } from "vitest";
import { parseIp } from "../../../src/net/ip.ts";
import type { ProbeTransport } from "../../../src/prober/probe.ts";
import { createRawTransport } from "../../../src/prober/raw-transport.ts";
import type { RawSocketModule } from "../../../src/prober/raw-transport.ts";

const ADDRESS = parseIp("192.0.2.2");
const IP_HEADER = Buffer.from("4500003c00000000400100000a0000020a000001", "hex");
const TIMEOUT_MS = 20;

/** `answer` lets the answer to the last request arrive. */
function start(): { readonly transport: ProbeTransport; readonly answer: () => void } {
  let onMessage: ((packet: Buffer, source: string) => void) | undefined;
  let request = Buffer.alloc(0);
  const socket = {
    on: (event: string, listener: (packet: Buffer, source: string) => void) => {
      if (event === "message") onMessage = listener;
    },
    setOption: () => undefined,
    send: (packet: Buffer, _from: number, _length: number, _to: string, before: () => void) => {
      request = Buffer.from(packet);
      before();
    },
    close: () => undefined,
  };
  const transport = createRawTransport({ createSocket: () => socket } as unknown as RawSocketModule);
  const answer = (): void => {
    const reply = Buffer.from(request);
    // Type 0, echo reply (RFC 792).
    reply[0] = 0;
    onMessage?.(Buffer.concat([IP_HEADER, reply]), ADDRESS);
  };
  return { transport, answer };
}

test("an answer counts", async () => {
  const { transport, answer } = start();
  const outcome = transport.probe(ADDRESS, 84, 10_000);
  answer();
  expect(await outcome).toMatchObject({ kind: "answered" });
});

test("no answer is a loss", async () => {
  const { transport } = start();
  expect(await transport.probe(ADDRESS, 84, TIMEOUT_MS)).toEqual({ kind: "lost" });
});

test("an answer that waits while the process has no CPU is no loss, though its time is over", async () => {
  const { transport, answer } = start();
  // From here on the next to run are timers, then sockets are read, then immediates run (libuv, uv_run).
  await new Promise((resolve) => setImmediate(resolve));
  const outcome = transport.probe(ADDRESS, 84, TIMEOUT_MS);
  const stalledUntil = performance.now() + 20 * TIMEOUT_MS;
  while (performance.now() < stalledUntil);
  setImmediate(answer);
  expect(await outcome).toMatchObject({ kind: "answered" });
});

test("no answer is a loss also after such a while", async () => {
  const { transport } = start();
  const outcome = transport.probe(ADDRESS, 84, TIMEOUT_MS);
  const stalledUntil = performance.now() + 20 * TIMEOUT_MS;
  while (performance.now() < stalledUntil);
  expect(await outcome).toEqual({ kind: "lost" });
});
