// A relay between two nodes of the udp backend that loses, reorders and duplicates datagrams, and checks every packet.
// Arguments: own address, port, node A, node B, loss, reorder, duplicate (shares of 1), seed. At the end of stdin it prints a
// RelayReport.
import { createSocket } from "node:dgram";
import { packetProblem } from "./ip-packets.ts";

export interface RelayReport {
  readonly forwarded: number;
  readonly lost: number;
  readonly reordered: number;
  readonly duplicated: number;
  /** Bytes of the longest datagram. */
  readonly largest: number;
  /** Packets that a host would not accept. */
  readonly problems: readonly string[];
}

const [address = "", port = "0", nodeA = "", nodeB = "", ...numbers] = process.argv.slice(2);
const [loss = 0, reorder = 0, duplicate = 0, seed = 1] = numbers.map(Number);
const report = { forwarded: 0, lost: 0, reordered: 0, duplicated: 0, largest: 0, problems: [] as string[] };
const socket = createSocket({ type: "udp4", recvBufferSize: 4_000_000, sendBufferSize: 4_000_000 });
/** Held back until the next datagram has passed. */
const held = new Map<string, Buffer>();
let state = seed;

/** Park and Miller's generator: the same every time. */
function random(): number {
  state = (state * 48_271) % 2_147_483_647;
  return state / 2_147_483_647;
}

function forward(message: Buffer, to: string): void {
  report.forwarded += 1;
  socket.send(message, Number(port), to);
}

socket.on("message", (message, { address: from }) => {
  const to = from === nodeA ? nodeB : nodeA;
  report.largest = Math.max(report.largest, message.length);
  const problem = packetProblem(message);
  if (problem !== undefined && report.problems.length < 10) report.problems.push(problem);
  if (random() < loss) {
    report.lost += 1;
    return;
  }
  const before = held.get(to);
  if (before === undefined && random() < reorder) {
    report.reordered += 1;
    held.set(to, message);
    return;
  }
  forward(message, to);
  if (random() < duplicate) {
    report.duplicated += 1;
    forward(message, to);
  }
  if (before !== undefined) {
    held.delete(to);
    forward(before, to);
  }
});
socket.bind(Number(port), address, () => process.stdout.write("ready\n"));
process.stdin.resume().on("end", () => {
  process.stdout.write(`${JSON.stringify(report satisfies RelayReport)}\n`);
  socket.close();
});
