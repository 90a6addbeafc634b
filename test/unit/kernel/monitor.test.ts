// The life of the monitor's child: restarts with back-off, lost events, and the end.
import { afterEach, beforeEach, expect, it } from "vitest";
import { spawnLines } from "../../../src/kernel/exec.ts";
import type { LineHandlers, SpawnLines } from "../../../src/kernel/exec.ts";
import { restartDelayMs, startMonitor } from "../../../src/kernel/monitor.ts";
import type { KernelEvent } from "../../../src/kernel/monitor-codec.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { waitFor } from "../../support/wait.ts";

interface FakeChild {
  readonly handlers: LineHandlers;
  end(reason: string): void;
}

let children: FakeChild[];
let events: KernelEvent[];
let stop: AbortController;

/** Children without a process: they never listen. */
const spawnFake: SpawnLines = (_command, _args, handlers) => {
  const { promise: ended, resolve: end } = Promise.withResolvers<string>();
  handlers.signal.addEventListener("abort", () => end("SIGTERM"));
  children.push({ handlers, end });
  return { pid: undefined, ended };
};

beforeEach(() => {
  children = [];
  events = [];
  stop = new AbortController();
});
afterEach(() => stop.abort());

function start() {
  return startMonitor(
    { signal: stop.signal, onEvent: (event) => events.push(event) },
    { spawnLines: spawnFake, log: SILENT_LOGGER },
  );
}

it("passes on what it understands", () => {
  start();
  children[0]?.handlers.onLine("10.244.2.0/24 via 192.0.2.2 dev eth0 proto 250");
  children[0]?.handlers.onLine("gibberish");
  expect(events).toMatchObject([{ kind: "route" }]);
});

it("says that everything may have changed when the kernel dropped events", () => {
  start();
  children[0]?.handlers.onErrorLine("netlink receive error No buffer space available (105)");
  expect(events).toEqual([{ kind: "everything", reason: "kernel events were lost" }]);
});

it("starts a new child when one ends", async () => {
  start();
  for (let round = 1; round <= 2; round += 1) {
    children.at(-1)?.end("exit 1");
    await waitFor("the next child", () => children.length > round);
  }
});

it("waits longer each time a child dies young, and forgets that once one lived", () => {
  const delays = [0, 0, 0, 0, 0, 0, 0, 60_000, 0];
  let delay = 0;
  const waited = delays.map((livedMs) => (delay = restartDelayMs(delay, livedMs)));
  expect(waited).toEqual([200, 400, 800, 1600, 3200, 6400, 10_000, 200, 400]);
});

it("ends while waiting to restart", async () => {
  const monitor = start();
  children[0]?.end("exit 1");
  stop.abort();
  await monitor.ended;
  await monitor.listening;
  expect(children).toHaveLength(1);
});

it("reports a program that cannot be started, and one that was killed", async () => {
  const nothing = { onLine() {}, onErrorLine() {} };
  const missing = spawnLines("no-such-program", [], { ...nothing, signal: stop.signal });
  expect(missing.pid).toBeUndefined();
  expect(await missing.ended).toContain("ENOENT");
  const child = spawnLines("sleep", ["60"], { ...nothing, signal: stop.signal });
  stop.abort();
  expect(await child.ended).toBe("SIGTERM");
});

it("hands over lines of both outputs", async () => {
  const lines: string[] = [];
  const child = spawnLines("sh", ["-c", "echo one; echo two >&2; printf three; exit 3"], {
    signal: stop.signal,
    onLine: (line) => lines.push(`out ${line}`),
    onErrorLine: (line) => lines.push(`err ${line}`),
  });
  expect(await child.ended).toBe("exit 3");
  expect(lines.toSorted()).toEqual(["err two", "out one", "out three"]);
});
