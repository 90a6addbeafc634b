// The ways in which the fake API server can be made to misbehave.
import type { Socket } from "node:net";
import { ApiError } from "./api-error.ts";
import type { ResourceName } from "./resources.ts";
import type { Store } from "./store.ts";
import type { WatchStream } from "./watch.ts";

/** Which requests a fault is for; what is left out matches all. */
export interface RequestMatch {
  readonly verb?: string;
  readonly resource?: ResourceName;
  readonly name?: string;
}

export interface AnswerFault extends RequestMatch {
  /** HTTP status, e.g. 429, 500, 503, or 410 for a list or watch that has expired. */
  readonly status: number;
  readonly retryAfterSeconds?: number;
  /** How many requests; default 1, Infinity until `clear`. */
  readonly times?: number;
}

export interface Faults {
  /** The next matching requests get this instead of their answer. */
  answer(fault: AnswerFault): void;
  /** Breaks the open watches, after a whole line or inside one. */
  cutWatches(where: "between-lines" | "inside-line", match?: RequestMatch): void;
  /** The next `times` list answers break off in their middle. */
  cutLists(times: number): void;
  /** Ends the open watches in good order, as at their timeout. */
  endWatches(match?: RequestMatch): void;
  /** Holds back all that watches would send, those opened later too; connections stay. */
  stallWatches(): void;
  resumeWatches(): void;
  /** Sends a bookmark on every open watch that asked for them. */
  sendBookmarks(): void;
  /** No bookmarks by themselves while true. */
  dropBookmarks: boolean;
  /** Each piece of a list (100 items) waits so long. */
  slowListMs: number;
  /** How a watch from too old a revision is told: the real server's watch cache sends an event in a 200 stream. */
  expiredWatchAs: "event" | "status";
  /** Requests are taken and nothing is answered, watches say nothing; connections stay: a half-open peer. */
  freeze(): void;
  thaw(): void;
  /** Watches from before now, and pages of lists begun before now, have expired. Open watches go on. */
  expireHistory(): void;
  /** Pages of lists begun before now have expired, as by a compaction of the real server's etcd; watches have not. */
  compact(): void;
  /** Breaks every connection; `lose` forgets the watch history too, as the real server does when it restarts. */
  restart(history: "keep" | "lose"): void;
  /** Breaks every connection and refuses new ones, until `up`. */
  down(): Promise<void>;
  up(): Promise<void>;
  /** Ends all of the above but `down`. */
  clear(): void;
}

interface FaultModules {
  readonly store: Store;
  readonly streams: ReadonlySet<WatchStream>;
  readonly sockets: ReadonlySet<Socket>;
  readonly listen: () => Promise<void>;
  readonly closeListener: () => Promise<void>;
}

/** What the server asks at the places where a fault may strike. */
export interface FaultState extends Faults {
  readonly isStalling: boolean;
  /** @throws {ApiError|OverloadError} when a fault is due for this request */
  strike(request: Required<Pick<RequestMatch, "verb">> & RequestMatch): void;
  takeListCut(): boolean;
  /** Resolves when the server is not frozen. */
  thawed(): Promise<void>;
}

export function createFaults({ store, streams, sockets, listen, closeListener }: FaultModules): FaultState {
  let answers: (AnswerFault & { left: number })[] = [];
  let listCuts = 0;
  let isStalling = false;
  let frozen: PromiseWithResolvers<void> | undefined;
  const matchingStreams = ({ resource }: RequestMatch = {}): WatchStream[] =>
    [...streams].filter(({ type }) => resource === undefined || type.resource === resource);
  const breakConnections = (): void => {
    for (const socket of sockets) socket.destroy();
  };
  const holdBack = (isHeld: boolean): void => {
    isStalling = isHeld;
    for (const stream of streams) if (isHeld) stream.stall(); else stream.resume(); // prettier-ignore
  };
  const faults: FaultState = {
    dropBookmarks: false,
    slowListMs: 0,
    expiredWatchAs: "event",
    get isStalling() {
      return isStalling;
    },
    answer: (fault) => {
      answers.push({ ...fault, left: fault.times ?? 1 });
    },
    cutWatches: (where, match) => {
      for (const stream of matchingStreams(match)) stream.cut(where);
    },
    cutLists: (times) => {
      listCuts = times;
    },
    endWatches: (match) => {
      for (const stream of matchingStreams(match)) stream.end();
    },
    stallWatches: () => holdBack(true),
    resumeWatches: () => holdBack(false),
    sendBookmarks: () => {
      for (const stream of streams) stream.bookmark();
    },
    freeze: () => {
      frozen ??= Promise.withResolvers<void>();
      holdBack(true);
    },
    thaw: () => {
      frozen?.resolve();
      frozen = undefined;
      holdBack(false);
    },
    expireHistory: () => {
      store.forgetWatchHistory();
      store.compact();
    },
    compact: () => store.compact(),
    restart: (history) => {
      if (history === "lose") store.forgetWatchHistory();
      breakConnections();
    },
    down: async () => {
      const closed = closeListener();
      breakConnections();
      await closed;
    },
    up: listen,
    clear: () => {
      answers = [];
      listCuts = 0;
      Object.assign(faults, { dropBookmarks: false, slowListMs: 0, expiredWatchAs: "event" });
      faults.thaw();
    },
    strike: (request) => {
      const fault = answers.find(
        (fault) =>
          (fault.verb ?? request.verb) === request.verb &&
          (fault.resource ?? request.resource) === request.resource &&
          (fault.name ?? request.name) === request.name,
      );
      if (fault === undefined) return;
      fault.left -= 1;
      if (fault.left <= 0) answers = answers.filter((other) => other !== fault);
      throw faultError(fault);
    },
    takeListCut: () => {
      if (listCuts === 0) return false;
      listCuts -= 1;
      return true;
    },
    thawed: () => frozen?.promise ?? Promise.resolve(),
  };
  return faults;
}

const FAULT_REASONS: Readonly<Record<number, readonly [reason: string, message: string]>> = {
  401: ["Unauthorized", "Unauthorized"],
  403: ["Forbidden", "forbidden"],
  409: [
    "Conflict",
    "the object has been modified; please apply your changes to the latest version and try again",
  ],
  410: ["Expired", "The resourceVersion for the provided watch is too old."],
  500: ["InternalError", "Internal error occurred: etcdserver: leader changed"],
  503: ["ServiceUnavailable", "the server is currently unable to handle the request"],
  504: ["Timeout", "Timeout: request did not complete within the allotted timeout"],
};

/** An overloaded server says it in plain text, not with a Status. */
export class OverloadError extends Error {
  override readonly name = "OverloadError";
  readonly retryAfterSeconds: number;
  constructor(retryAfterSeconds: number) {
    super("Too many requests, please try again later.");
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

function faultError({ status, retryAfterSeconds }: AnswerFault): Error {
  if (status === 429) return new OverloadError(retryAfterSeconds ?? 1);
  const [reason, message] = FAULT_REASONS[status] ?? ["", `fault ${status}`];
  if (retryAfterSeconds === undefined) return new ApiError(status, reason, message);
  return new ApiError(status, reason, message, {
    details: { retryAfterSeconds },
    headers: { "Retry-After": String(retryAfterSeconds) },
  });
}
