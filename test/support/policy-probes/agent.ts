// Runs in a pod of policy tests: serves ports, and tells on request which ports of others it reaches. Speaks lines of JSON.
// Usage: agent.ts ADDRESS PORT...   Each port is served by TCP and UDP; without ports it only asks.
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { connect, createServer } from "node:net";
import { createInterface } from "node:readline";
import type { Probe, ProbeAnswer, ProbeRequest } from "./probe.ts";
import { probeSctp } from "./sctp.ts";

/** Only ends what is lost: a denied packet is refused at once. */
const DEADLINE_MS = 20_000;
/** A datagram may be lost on a busy machine. */
const REPEAT_MS = 1_000;

/** Each probe by UDP has its own: an earlier one's flow would still be known, and pass as established. */
let nextSourcePort = 20_000;

async function serve(address: string, port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.end("here\n");
  });
  server.listen(port, address);
  await once(server, "listening");
  const datagrams = createSocket("udp4");
  datagrams.on("message", (message, { port: fromPort, address: from }) =>
    datagrams.send(message, fromPort, from),
  );
  datagrams.on("error", () => {});
  datagrams.bind(port, address);
  await once(datagrams, "listening");
}

function probeTcp({ address, port }: Probe): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port });
    const timer = setTimeout(() => settle("silent"), DEADLINE_MS);
    const settle = (answer: ProbeAnswer): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(answer);
    };
    socket.once("data", () => settle("open"));
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code === "ECONNREFUSED" ? "refused" : "silent"),
    );
  });
}

function probeUdp({ address, port }: Probe): Promise<ProbeAnswer> {
  return new Promise((resolve) => {
    const socket = createSocket("udp4");
    const send = (): void => socket.send("are you there", () => {});
    const repeat = setInterval(send, REPEAT_MS);
    const timer = setTimeout(() => settle("silent"), DEADLINE_MS);
    const settle = (answer: ProbeAnswer): void => {
      clearInterval(repeat);
      clearTimeout(timer);
      socket.close();
      resolve(answer);
    };
    socket.once("message", () => settle("open"));
    // Linux tells a connected socket of the ICMP error; send reports it, or the socket.
    socket.once("error", ({ code }: NodeJS.ErrnoException) =>
      settle(code === "ECONNREFUSED" ? "refused" : "silent"),
    );
    socket.bind(nextSourcePort, () => socket.connect(port, address, send));
    nextSourcePort += 1;
  });
}

function probe(one: Probe): Promise<ProbeAnswer> {
  switch (one.protocol) {
    case "TCP":
      return probeTcp(one);
    case "UDP":
      return probeUdp(one);
    case "SCTP":
      return probeSctp(one, DEADLINE_MS);
  }
}

const [address = "", ...ports] = process.argv.slice(2);
for (const port of ports) await serve(address, Number(port));
console.log("ready");
for await (const line of createInterface({ input: process.stdin })) {
  const { probes } = JSON.parse(line) as ProbeRequest;
  console.log(JSON.stringify(await Promise.all(probes.map(probe))));
}
process.exit(0);
