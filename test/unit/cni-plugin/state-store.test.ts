// State files: flannel's one per container, ours one per interface, and how they keep out of each other's way.
import { lstatSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  listStates,
  makeDataDir,
  readState,
  removeState,
  writeState,
} from "../../../cni-plugin/state-store.ts";

let dataDir: string;
beforeEach(() => {
  dataDir = path.join(mkdtempSync(path.join(os.tmpdir(), "ftsstate-")), "data");
  makeDataDir(dataDir);
});
afterEach(() => {
  rmSync(path.dirname(dataDir), { recursive: true, force: true });
});

const eth0 = { containerId: "c", ifName: "eth0" };
const eth1 = { containerId: "c", ifName: "eth1" };
const plain = () => readFileSync(path.join(dataDir, "c"), "utf8");
const names = () => [
  ...readdirSync(dataDir).filter((name) => !name.startsWith(".")),
  ...readdirSync(path.join(dataDir, ".attachments")),
];

test("flannel's file is the record of the first interface, and only root reads it", () => {
  writeState(dataDir, eth0, "zero");
  writeState(dataDir, eth1, "one");
  expect(plain()).toBe("zero");
  expect(lstatSync(path.join(dataDir, "c")).mode & 0o7777).toBe(0o600);
  expect(lstatSync(dataDir).mode & 0o7777).toBe(0o700);
  expect(readState(dataDir, eth0)).toEqual({ ...eth0, text: "zero" });
  expect(readState(dataDir, eth1)).toEqual({ ...eth1, text: "one" });
});

test("ADD repeated for an interface replaces both", () => {
  writeState(dataDir, eth0, "zero");
  writeState(dataDir, eth0, "zero again");
  expect(plain()).toBe("zero again");
  removeState(dataDir, eth0);
  expect(names()).toEqual([]);
});

test("ADD repeated for the second interface leaves the first one's file alone", () => {
  writeState(dataDir, eth0, "zero");
  writeState(dataDir, eth1, "one");
  writeState(dataDir, eth1, "one again");
  expect(plain()).toBe("zero");
  expect(readState(dataDir, eth1)?.text).toBe("one again");
});

test("an interface without a record does not take another interface's file", () => {
  writeState(dataDir, eth0, "zero");
  expect(readState(dataDir, eth1)).toBeUndefined();
  removeState(dataDir, eth1);
  expect(plain()).toBe("zero");
});

test("a file of flannel's plugin serves any interface, and goes with it", () => {
  writeFileSync(path.join(dataDir, "c"), "go");
  expect(readState(dataDir, eth1)).toEqual({ containerId: "c", ifName: undefined, text: "go" });
  removeState(dataDir, eth1);
  expect(names()).toEqual([]);
});

test("a file of flannel's plugin is not overwritten by our second interface", () => {
  writeFileSync(path.join(dataDir, "c"), "go");
  writeState(dataDir, eth1, "one");
  expect(plain()).toBe("go");
  removeState(dataDir, eth1);
  expect(plain()).toBe("go");
});

test("what a killed writer left behind goes", () => {
  writeFileSync(path.join(dataDir, ".attachments", "c@"), "half");
  expect(listStates(dataDir)).toEqual([]);
  writeState(dataDir, eth0, "zero");
  expect(names()).toEqual(["c", "c@eth0"]);
  writeFileSync(path.join(dataDir, ".attachments", "c@"), "half");
  removeState(dataDir, eth0);
  expect(names()).toEqual([]);
});

describe("the list", () => {
  test("has each attachment once, ours and flannel's", () => {
    writeState(dataDir, eth0, "zero");
    writeState(dataDir, eth1, "one");
    writeFileSync(path.join(dataDir, "d"), "go");
    expect(listStates(dataDir)).toEqual([
      { ...eth0, text: "zero" },
      { ...eth1, text: "one" },
      { containerId: "d", ifName: undefined, text: "go" },
    ]);
  });
  test("of a directory that does not exist is empty, and so is what it holds", () => {
    expect(listStates("/no/such/directory")).toEqual([]);
    expect(readState("/no/such/directory", eth0)).toBeUndefined();
    removeState("/no/such/directory", eth0);
  });
});
