// The memory keeper: when it gives pages back, when it leaves them, and when it ends.
import { expect, test } from "vitest";
import { keepMemorySmall } from "../../../src/daemon/memory-keeper.ts";
import { parseResidentFileBytes } from "../../../src/kernel/memory/addon.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { memoryLogger } from "../../support/memory-logger.ts";

interface Keeper {
  readonly clock: FakeClock;
  readonly ending: AbortController;
  /** Bytes of files in memory, and how often they were given back. */
  readonly machine: { resident: number; releases: number };
  readonly log: ReturnType<typeof memoryLogger>;
}

/** Keeps a process of 50 MB small. */
function startKeeper({ release }: { readonly release?: () => number } = {}): Keeper {
  const clock = new FakeClock();
  const ending = new AbortController();
  const log = memoryLogger();
  const machine = { resident: 50e6, releases: 0 };
  const addon = {
    release: (): number => {
      machine.releases += 1;
      const before = machine.resident;
      machine.resident = 0;
      return before;
    },
  };
  const modules = { residentFileBytes: () => machine.resident, log, clock };
  keepMemorySmall({ ...modules, addon: release === undefined ? addon : { release } }, ending.signal);
  return { clock, ending, machine, log };
}

test("what start-up has touched is given back at once, and what comes back is left while it is little", async () => {
  const { clock, machine } = startKeeper();
  expect(machine.releases).toBe(1);
  machine.resident = 15e6;
  await clock.advance(60_000);
  expect(machine.releases).toBe(1);
});

test("too much is given back again, but not more than once a second", async () => {
  const { clock, machine } = startKeeper();
  for (let at = 0; at < 3_000; at += 100) {
    machine.resident = 30e6;
    await clock.advance(100);
  }
  expect(machine.releases).toBe(4);
});

test("ends with the signal", async () => {
  const { clock, ending, machine } = startKeeper();
  ending.abort();
  machine.resident = 50e6;
  await clock.advance(60_000);
  expect(machine.releases).toBe(1);
  expect(clock.pendingTimers).toBe(0);
});

test("a kernel that refuses is asked once, and the daemon goes on", async () => {
  let asked = 0;
  const release = (): number => {
    asked += 1;
    throw new Error("No such file or directory");
  };
  const { clock, log } = startKeeper({ release });
  await clock.advance(60_000);
  expect(asked).toBe(1);
  expect(log.lines.map(({ level, message }) => `${level}: ${message}`)).toEqual([
    "debug: cannot give pages of node's code back; they stay resident",
  ]);
  expect(clock.pendingTimers).toBe(0);
});

test("without the addon nothing is done", () => {
  const clock = new FakeClock();
  const log = memoryLogger();
  const { signal } = new AbortController();
  keepMemorySmall({ addon: undefined, residentFileBytes: () => 50e6, log, clock }, signal);
  expect(clock.pendingTimers).toBe(0);
});

test("RssFile of /proc/PID/status is read in bytes; a kernel that does not tell counts as nothing", () => {
  expect(parseResidentFileBytes("VmRSS:\t   42324 kB\nRssFile:\t   34160 kB\nRssShmem:\t 0 kB\n")).toBe(
    34_979_840,
  );
  expect(parseResidentFileBytes("VmRSS:\t   42324 kB\n")).toBe(0);
});
