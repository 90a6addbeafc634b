// Raw ICMP sockets where they can be had, else the system's ping; loaded only by a daemon that probes.
import type { Exec } from "../kernel/exec.ts";
import { createPingTransport } from "./ping-transport.ts";
import type { ProbeTransport } from "./probe.ts";
import { createRawTransport } from "./raw-transport.ts";
import type { RawSocketModule } from "./raw-transport.ts";

export interface ChosenTransport {
  readonly transport: ProbeTransport;
  /** Why it is not raw-socket, and what to do. */
  readonly note?: string;
}

export interface TransportModules {
  readonly exec: Exec;
  readonly loadRawSocket?: () => Promise<RawSocketModule>;
}

/** @throws {Error} where there is neither, with the cure */
export async function chooseTransport({
  exec,
  loadRawSocket = importRawSocket,
}: TransportModules): Promise<ChosenTransport> {
  let problem: string;
  try {
    return { transport: createRawTransport(await loadRawSocket()) };
  } catch (error) {
    problem = explain(error as Error);
  }
  try {
    const transport = await createPingTransport({ exec });
    return { transport, note: `${problem}; using ping, a few packets per second` };
  } catch (error) {
    throw new Error(`cannot probe: ${problem}; and ${(error as Error).message}`, { cause: error });
  }
}

async function importRawSocket(): Promise<RawSocketModule> {
  const { default: module } = await import("raw-socket");
  return module;
}

function explain(error: NodeJS.ErrnoException): string {
  if (error.message === "Operation not permitted") return "no raw ICMP socket: the daemon lacks CAP_NET_RAW";
  switch (error.code ?? "") {
    case "ERR_MODULE_NOT_FOUND":
    case "MODULE_NOT_FOUND":
      return "no raw ICMP socket: raw-socket was not built with this daemon (npm run build on a machine with g++)";
    case "ERR_DLOPEN_FAILED":
      return "no raw ICMP socket: raw-socket was built for another Node or processor (npm run build again)";
    default:
      return `no raw ICMP socket: ${error.message}`;
  }
}
