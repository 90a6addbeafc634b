// A connection to a unix socket: bun's own where we run on bun, which starts in 1 ms where node:net takes 5.
import type { Socket } from "node:net";

export interface StreamHandlers {
  readonly onData: (chunk: Buffer) => void;
  /** The other side has sent all. */
  readonly onEnd: () => void;
  /** A code such as ECONNREFUSED, or a message. */
  readonly onError: (why: string) => void;
}

export interface Stream {
  /** Handlers may still be called. */
  close(): void;
}

/** As much of bun's API as is used here (bun.com/docs/api/tcp). */
interface BunSocket {
  /** @returns how many bytes were taken; for the rest `drain` will be called */
  write(data: Uint8Array): number;
  end(): void;
}
interface BunRuntime {
  connect(options: {
    readonly unix: string;
    readonly socket: Readonly<Record<string, (socket: BunSocket, argument: Uint8Array & Error) => void>>;
  }): Promise<BunSocket>;
}

/** Connects, sends all of `data`, and tells what comes back. */
export function openStream(path: string, data: Buffer, handlers: StreamHandlers): Stream {
  const { Bun: bun } = globalThis as { readonly Bun?: BunRuntime };
  return bun === undefined ? openOnNode(path, data, handlers) : openOnBun(bun, path, data, handlers);
}

function openOnBun(bun: BunRuntime, unix: string, data: Buffer, handlers: StreamHandlers): Stream {
  let rest = data;
  let isClosed = false;
  let connected: BunSocket | undefined;
  const send = (socket: BunSocket): void => {
    if (rest.length > 0) rest = rest.subarray(Math.max(0, socket.write(rest)));
  };
  const fail = (error: unknown): void => handlers.onError(describe(error));
  bun
    .connect({
      unix,
      socket: {
        open: send,
        drain: send,
        data: (_, chunk) => handlers.onData(Buffer.from(chunk)),
        close: handlers.onEnd,
        error: (_, error) => fail(error),
        connectError: (_, error) => fail(error),
      },
    })
    .then((socket) => {
      connected = socket;
      if (isClosed) socket.end();
    }, fail);
  return {
    close() {
      isClosed = true;
      connected?.end();
    },
  };
}

/** For tests, which run on Node. */
function openOnNode(path: string, data: Buffer, handlers: StreamHandlers): Stream {
  let isClosed = false;
  let socket: Socket | undefined;
  void import("node:net").then(({ connect }) => {
    if (isClosed) return;
    socket = connect({ path });
    socket.on("connect", () => socket?.write(data));
    socket.on("data", handlers.onData);
    socket.on("end", handlers.onEnd);
    socket.on("error", (error) => handlers.onError(describe(error)));
  });
  return {
    close() {
      isClosed = true;
      socket?.destroy();
    },
  };
}

function describe(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code ?? message;
}
