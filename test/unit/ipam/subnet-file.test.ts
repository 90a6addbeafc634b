// subnet.env on disk: atomic replacement, modes whatever the umask, a start without one.
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { readPreviousSubnetFile, writeSubnetFile } from "../../../src/ipam/subnet-file.ts";

let directory: string;
const umask = process.umask();

beforeEach(() => {
  directory = mkdtempSync(path.join(tmpdir(), "fts-subnet-file-"));
});

afterEach(() => {
  process.umask(umask);
  rmSync(directory, { recursive: true, force: true });
});

describe("writeSubnetFile", () => {
  it("makes its directory and a file that everybody can read, also under a strict umask", () => {
    process.umask(0o027);
    const file = path.join(directory, "flannel", "subnet.env");
    writeSubnetFile(file, "FLANNEL_MTU=1450\n");
    expect(statSync(file).mode & 0o777).toBe(0o644);
    expect(readFileSync(file, "utf8")).toBe("FLANNEL_MTU=1450\n");
  });

  it("replaces the file by another one, so that a reader keeps the old content whole", () => {
    const file = path.join(directory, "subnet.env");
    writeSubnetFile(file, "old\n");
    const before = statSync(file).ino;
    writeSubnetFile(file, "new\n");
    expect(statSync(file).ino).not.toBe(before);
    expect(readFileSync(file, "utf8")).toBe("new\n");
    expect(readdirSync(directory)).toEqual(["subnet.env"]);
  });

  it("leaves nothing behind when it fails", () => {
    const file = path.join(directory, "a-file", "subnet.env");
    writeFileSync(path.join(directory, "a-file"), "");
    expect(() => writeSubnetFile(file, "x")).toThrow(/EEXIST|ENOTDIR/);
    expect(readdirSync(directory)).toEqual(["a-file"]);
  });
});

describe("readPreviousSubnetFile", () => {
  it("reads what is there, and nothing where nothing is", async () => {
    const file = path.join(directory, "subnet.env");
    expect(await readPreviousSubnetFile(file)).toEqual({});
    expect(await readPreviousSubnetFile(directory)).toEqual({});
    writeSubnetFile(file, "FLANNEL_SUBNET=10.244.7.1/24\n");
    expect(await readPreviousSubnetFile(file)).toEqual({ subnet: "10.244.7.0/24" });
  });
});
