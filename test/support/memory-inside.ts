// Inside a process of its own: gives pages back in one of three ways, and prints what it saw as JSON.
import { execFileSync } from "node:child_process";
import { createHash, pbkdf2Sync, pbkdf2 } from "node:crypto";
import { openSync, readFileSync, readSync, writeSync } from "node:fs";
import { promisify } from "node:util";
import { gunzipSync, gzipSync } from "node:zlib";
import { loadMemoryAddon, readResidentFileBytes } from "../../src/kernel/memory/addon.ts";

const WRITTEN_BYTES = 8_000_000;
const ROUNDS = 50;
const found = loadMemoryAddon();
if (found === undefined) throw new Error("no dist/memory.node; npm run build makes it, given a C compiler");
const addon = found;

/** What the process wrote stays; what lies in node's file goes. */
function seeWhatGoes(): unknown {
  const own = Buffer.alloc(WRITTEN_BYTES, 7);
  const before = readResidentFileBytes();
  const released = addon.release();
  const after = readResidentFileBytes();
  return { before, released, after, ownIsWhole: own.every((byte) => byte === 7) };
}

interface Mapping {
  readonly middle: bigint;
  /** KiB that are no longer the file's. */
  readonly ownKib: number;
}

/** The read-only data of node's own file. */
function constantsOfNode(): Mapping {
  const entries = readFileSync("/proc/self/smaps", "utf8").split(/(?=^[0-9a-f]+-[0-9a-f]+ )/m);
  const entry = entries.find((text) => text.includes(" r--p ") && text.includes("/node\n")) ?? "";
  const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+)/.exec(entry) ?? [];
  const ownKib = Number(/^Anonymous:\s+(\d+)/m.exec(entry)?.[1]);
  return { middle: (BigInt(`0x${start}`) + BigInt(`0x${end}`)) / 2n, ownKib };
}

/** A debugger writes so; here a byte is replaced by itself. */
function seeWrittenPage(): unknown {
  const memory = openSync("/proc/self/mem", "r+");
  const { middle } = constantsOfNode();
  const byte = Buffer.alloc(1);
  readSync(memory, byte, 0, 1, middle);
  const [value] = byte;
  writeSync(memory, byte, 0, 1, Number(middle));
  const before = constantsOfNode().ownKib;
  const released = addon.release();
  const after = constantsOfNode().ownKib;
  readSync(memory, byte, 0, 1, middle);
  return { before, after, released, isSame: byte[0] === value };
}

/** Generated and compiled code, threads, children: while pages go all the time. */
async function seeWork(): Promise<unknown> {
  const text = JSON.stringify(Array.from({ length: 5_000 }, (_, i) => ({ i, name: `node-${i}` })));
  const digest = (): string =>
    createHash("sha256")
      .update(gunzipSync(gzipSync(text)))
      .digest("hex");
  const expected = digest();
  const key = pbkdf2Sync("word", "salt", 1_000, 32, "sha256");
  let same = 0;
  for (let round = 0; round < ROUNDS; round += 1) {
    addon.release();
    const deriving = promisify(pbkdf2)("word", "salt", 1_000, 32, "sha256");
    addon.release();
    const names = (JSON.parse(text) as { readonly name: string }[]).filter(({ name }) =>
      /^node-\d+$/u.test(name),
    );
    if (digest() === expected && names.length === 5_000 && key.equals(await deriving)) same += 1;
  }
  return { same, child: execFileSync("echo", ["7"], { encoding: "utf8" }) };
}

const WAYS: Readonly<Record<string, () => unknown>> = {
  goes: seeWhatGoes,
  written: seeWrittenPage,
  work: seeWork,
};
process.stdout.write(JSON.stringify(await WAYS[process.argv[2] ?? ""]?.()));
