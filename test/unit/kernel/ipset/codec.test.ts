// ipset's text: what is read back, what is refused before anybody is asked.
import { describe, expect, test } from "vitest";
import type { IpsetRow } from "../../../../src/host/ipset-state.ts";
import { canonicalMember, memberProblem } from "../../../../src/kernel/ipset/member-codec.ts";
import { parseIpsetSave, renderCreate, setNameProblem } from "../../../../src/kernel/ipset/set-codec.ts";

const ROW: IpsetRow = {
  kind: "set",
  name: "FTSP-4p-x",
  type: "hash:net",
  family: 4,
  members: [],
  counters: false,
};

describe("members", () => {
  test.each([
    ["hash:ip", 4, "10.0.0.1"],
    ["hash:ip", 6, "fd00::1"],
    ["hash:net", 4, "0.0.0.0/1"],
    ["hash:net", 4, "10.0.0.7"],
    ["hash:net", 6, "8000::/1"],
    ["hash:net", 6, "fd00::1/128"],
    ["hash:ip,port", 4, "10.0.0.1,tcp:80"],
    ["hash:ip,port", 6, "fd00::1,sctp:65535"],
  ] as const)("%s IPv%i takes %s", (type, family, member) => {
    expect(memberProblem(type, family, member)).toBeUndefined();
  });

  test.each([
    ["hash:ip", 4, "fd00::1", "is not an IPv4 address"],
    ["hash:ip", 6, "10.0.0.1", "is not an IPv6 address"],
    ["hash:ip", 4, "10.0.0.0/24", "is not an IPv4 address"],
    ["hash:ip", 4, "10.0.0.1-10.0.0.9", "is not an IPv4 address"],
    ["hash:ip", 4, "localhost", "is not an IPv4 address"],
    ["hash:ip", 4, "10.0.0.1\nflush", "is not an IPv4 address"],
    ["hash:ip", 4, "10.0.0.1 timeout 5", "is not an IPv4 address"],
    ["hash:net", 4, "0.0.0.0/0", "use its two halves"],
    ["hash:net", 4, "10.0.0.0/33", "must be 1 to 32"],
    ["hash:net", 4, "10.0.0.0/8 nomatch", "must be 1 to 32"],
    ["hash:net", 6, "::/129", "must be 1 to 128"],
    ["hash:ip,port", 4, "10.0.0.1", "10.244.1.5,tcp:80"],
    ["hash:ip,port", 4, "10.0.0.1,80", "10.244.1.5,tcp:80"],
    ["hash:ip,port", 4, "10.0.0.1,tcp:65536", "10.244.1.5,tcp:80"],
    ["hash:ip,port", 4, "10.0.0.1,tcp:80-90", "10.244.1.5,tcp:80"],
    ["hash:ip,port", 4, "10.0.0.1,icmp:echo-request", "10.244.1.5,tcp:80"],
    ["hash:ip,port", 4, "fd00::1,tcp:80", "is not an IPv4 address"],
  ] as const)("%s IPv%i refuses %j", (type, family, member, reason) => {
    expect(memberProblem(type, family, member)).toContain(reason);
  });

  test.each([
    ["hash:ip", 6, "::ffff:10.0.0.1", "::ffff:a00:1"],
    ["hash:net", 6, "::1.2.3.0/120", "::102:300/120"],
    ["hash:ip,port", 6, "::1.2.3.4,udp:53", "::102:304,udp:53"],
    ["hash:ip", 6, "64:ff9b::102:304", "64:ff9b::102:304"],
    ["hash:ip", 4, "10.0.0.1", "10.0.0.1"],
  ] as const)("%s IPv%i: %s is %s for us", (type, family, printed, ours) => {
    expect(canonicalMember(type, family, printed)).toBe(ours);
  });
});

test("names begin with the prefix and cannot be read as anything else", () => {
  expect(setNameProblem("FTSP-4-denied-in", "FTSP-")).toBeUndefined();
  expect(setNameProblem("KUBE-CLUSTER-IP", "FTSP-")).toContain("does not begin with FTSP-");
  for (const name of ["FTSP-a b", "FTSP-\nflush", "FTSP-'", `FTSP-${"x".repeat(27)}`, "-exist", ""])
    expect(setNameProblem(name, "FTSP-")).toContain("cannot be a set's name");
});

describe("ipset save", () => {
  const SAVED = [
    "create KUBE-LOOP-BACK hash:ip,port,ip family inet hashsize 1024 maxelem 65536 bucketsize 12 initval 0x1",
    "add KUBE-LOOP-BACK 10.244.0.2,tcp:53,10.244.0.2",
    "create FTSP-4k-x hash:ip family inet hashsize 1024 maxelem 1048576 bucketsize 12 initval 0x88f04a04",
    "add FTSP-4k-x 10.0.0.2",
    "add FTSP-4k-x 10.0.0.10",
    "create FTSP-6-denied-in hash:ip family inet6 hashsize 64 maxelem 1048576 counters",
    "add FTSP-6-denied-in fd00::1 packets 17 bytes 1020",
    "create FTSP-4p-y hash:net family inet hashsize 1024 maxelem 1048576",
    "",
  ].join("\n");

  test("gives the sets of the prefix with sorted members, whatever the kernel's order and extras", () => {
    const set = { kind: "set", plain: true, counters: false, family: 4, type: "hash:ip" };
    expect(parseIpsetSave(SAVED, "FTSP-")).toEqual([
      { ...set, name: "FTSP-4k-x", members: ["10.0.0.10", "10.0.0.2"] },
      { ...set, name: "FTSP-6-denied-in", family: 6, counters: true, members: ["fd00::1"] },
      { ...set, name: "FTSP-4p-y", type: "hash:net", members: [] },
    ]);
  });

  test("tells what somebody else has made under our name", () => {
    const list = (options: string, ...members: readonly string[]) =>
      parseIpsetSave(
        [`create FTSP-x ${options}`, ...members.map((member) => `add FTSP-x ${member}`)].join("\n"),
        "FTSP-",
      )[0];
    expect(list("hash:ip family inet maxelem 1048576", "10.0.0.1")).toMatchObject({ plain: true });
    expect(list("hash:ip family inet maxelem 65536")).toMatchObject({ type: "hash:ip", plain: false });
    expect(list("hash:ip family inet maxelem 1048576 timeout 300", "10.0.0.1 timeout 17")).toMatchObject({
      plain: false,
      members: ["10.0.0.1"],
    });
    expect(list("hash:net family inet maxelem 1048576", "10.0.0.0/8 nomatch")).toMatchObject({
      plain: false,
    });
    expect(list("hash:ip family inet maxelem 1048576 netmask 24")).toMatchObject({ plain: false });
    expect(list("bitmap:port range 0-1023", "80")).toMatchObject({
      type: "other",
      members: [],
      plain: false,
    });
    expect(list("list:set size 8", "FTSP-y")).toMatchObject({ type: "other", members: [], plain: false });
  });

  test("reads back what we write", () => {
    for (const row of [ROW, { ...ROW, counters: true, family: 6 as const }])
      expect(parseIpsetSave(`${renderCreate(row)}\n`, "FTSP-")).toEqual([{ ...row, plain: true }]);
  });
});
