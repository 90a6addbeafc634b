// Kernel parameters through the files seam: what is read, written, refused, and when nothing is written.
import { expect, it } from "vitest";
import { createSysctlsTable } from "../../../src/kernel/sysctls.ts";

function fakeFiles(initial: Readonly<Record<string, string>>) {
  const files = new Map(Object.entries(initial));
  const writes: string[] = [];
  const fail = (code: string) => Promise.reject(Object.assign(new Error(code), { code }));
  return {
    files,
    writes,
    seam: {
      read: (key: string) => {
        const value = files.get(key);
        return value === undefined ? fail("ENOENT") : Promise.resolve(`${value}\n`);
      },
      write: (key: string, value: string) => {
        if (key.startsWith("locked/")) return fail("EROFS");
        writes.push(`${key}=${value}`);
        files.set(key, value);
        return Promise.resolve();
      },
    },
  };
}

it("writes only what differs, whatever the white space", async () => {
  const { seam, writes } = fakeFiles({ "net/a": "0", "net/b": "1\t2", "net/c": "1" });
  const table = createSysctlsTable(seam);
  const rows = [
    { key: "net/a", value: "0" },
    { key: "net/b", value: "1 2" },
    { key: "net/c", value: "0" },
  ];
  expect(await table.put(rows)).toEqual([]);
  expect(writes).toEqual(["net/c=0"]);
  expect(await table.list()).toEqual(rows);
});

it("forgets a removed key and leaves its value, since nobody knows the one before", async () => {
  const { seam, files } = fakeFiles({ "net/a": "1" });
  const table = createSysctlsTable(seam);
  await table.put([{ key: "net/a", value: "0" }]);
  expect(await table.remove([{ key: "net/a", value: "0" }])).toEqual([]);
  expect(await table.list()).toEqual([]);
  expect(files.get("net/a")).toBe("0");
});

it("says why a key cannot be written", async () => {
  const { seam } = fakeFiles({ "locked/a": "1" });
  const failures = await createSysctlsTable(seam).put([
    { key: "net/missing", value: "0" },
    { key: "locked/a", value: "0" },
    { key: "net/../../etc/passwd", value: "0" },
    { key: "/net/a", value: "0" },
  ]);
  expect(failures.map(({ key, reason }) => `${key}: ${reason}`)).toEqual([
    "net/missing: the kernel has no such key: the device is missing, or IPv6 is turned off",
    "locked/a: /proc/sys is read-only here: run with CAP_NET_ADMIN and a writable /proc/sys",
    "net/../../etc/passwd: is no path below /proc/sys, such as net/ipv4/ip_forward",
    "/net/a: is no path below /proc/sys, such as net/ipv4/ip_forward",
  ]);
});

it("does without an optional key where /proc/sys is read-only, and neither fails nor repairs it again", async () => {
  const { seam, files } = fakeFiles({ "locked/a": "1" });
  const table = createSysctlsTable(seam);
  const row = { key: "locked/a", value: "0", optional: true };
  expect(await table.put([row])).toEqual([]);
  expect(await table.list()).toEqual([row]);
  expect(files.get("locked/a")).toBe("1");
  await table.remove([row]);
  expect(await table.list()).toEqual([]);
});

it("does without an optional key that the kernel has not, and takes care of it once it is there", async () => {
  const { seam, files, writes } = fakeFiles({});
  const table = createSysctlsTable(seam);
  const row = { key: "net/ipv6/conf/flannel.1/accept_ra", value: "0", optional: true };
  expect(await table.put([row])).toEqual([]);
  expect(await table.list()).toEqual([row]);
  files.set(row.key, "1");
  expect(await table.list()).toEqual([{ key: row.key, value: "1" }]);
  expect(await table.put([row])).toEqual([]);
  expect(writes).toEqual([`${row.key}=0`]);
});
