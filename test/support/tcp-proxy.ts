// A TCP proxy on loopback that can cut, refuse or silently stall connections.
import { connect, createServer } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import { once } from "node:events";

export interface TcpProxy {
  readonly port: number;
  /** Connections that were accepted so far. */
  readonly accepted: number;
  /** Pieces of data that the server has sent so far. */
  readonly chunksFromServer: number;
  /** Resets all connections; new ones are served. */
  cut(): void;
  /** Cuts each connection after it has carried this many more bytes from the server; 0 switches that off. */
  cutAfterBytes(bytes: number): void;
  /** Holds connections, old and new, without passing a byte: a peer that is gone without a word. */
  stall(): void;
  /** Passes bytes again. */
  resume(): void;
  close(): Promise<void>;
}

export async function startTcpProxy(targetPort: number): Promise<TcpProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let stalled = false;
  let limitBytes = 0;
  let accepted = 0;
  let chunks = 0;
  const cut = (): void => {
    for (const [client, server] of pairs) {
      client.resetAndDestroy();
      server.resetAndDestroy();
    }
    pairs.clear();
  };
  const listener = createServer((client) => {
    accepted += 1;
    const server = connect(targetPort, "127.0.0.1");
    const pair = [client, server] as const;
    pairs.add(pair);
    const end = (): void => {
      pairs.delete(pair);
      client.destroy();
      server.destroy();
    };
    let carried = 0;
    client.on("data", (chunk) => server.write(chunk));
    server.on("data", (chunk) => {
      client.write(chunk);
      chunks += 1;
      carried += chunk.length;
      if (limitBytes > 0 && carried >= limitBytes) end();
    });
    for (const socket of pair) {
      socket.on("error", end);
      socket.on("close", end);
      if (stalled) socket.pause();
    }
  });
  listener.listen(0, "127.0.0.1");
  await once(listener, "listening");
  const each = (act: (socket: Socket) => void) => {
    for (const pair of pairs) for (const socket of pair) act(socket);
  };
  return {
    port: (listener.address() as AddressInfo).port,
    get accepted() {
      return accepted;
    },
    get chunksFromServer() {
      return chunks;
    },
    cut,
    cutAfterBytes: (bytes) => {
      limitBytes = bytes;
    },
    stall: () => {
      stalled = true;
      each((socket) => socket.pause());
    },
    resume: () => {
      stalled = false;
      each((socket) => socket.resume());
    },
    close: async () => {
      cut();
      await new Promise((resolve) => listener.close(resolve));
    },
  };
}
