// conntrack's text: what is read, what is deleted, and what happens without the tool.
import { describe, expect, test } from "vitest";
import { deleteArguments, mentionsSource, parseFlow } from "../../../src/kernel/conntrack-codec.ts";
import { createConntrackTable } from "../../../src/kernel/conntrack.ts";
import { ExecError } from "../../../src/kernel/exec.ts";
import { parseIp } from "../../../src/net/ip.ts";

const NATTED =
  "tcp      6 431999 ESTABLISHED src=10.244.1.5 dst=10.96.0.1 sport=41000 dport=80 src=10.244.1.9 dst=10.244.1.5 sport=8080 dport=41000 [ASSURED] mark=0 use=1";
const PING =
  "icmpv6   58 29 src=fd00::1 dst=fd00::2 type=128 code=0 id=7 [UNREPLIED] src=fd00::2 dst=fd00::1 type=129 code=0 id=7 mark=0 zone=3 use=1";

describe("a line", () => {
  test("is read with both directions", () => {
    expect(parseFlow(NATTED)).toEqual({
      family: 4,
      protocol: 6,
      original: { src: "10.244.1.5", dst: "10.96.0.1", srcPort: 41_000, dstPort: 80 },
      reply: { src: "10.244.1.9", dst: "10.244.1.5", srcPort: 8080, dstPort: 41_000 },
    });
    expect(parseFlow(PING)).toMatchObject({
      family: 6,
      protocol: 58,
      icmp: { type: 128, code: 0, id: 7 },
      zone: 3,
      reply: { src: "fd00::2" },
    });
  });

  test.each([
    "",
    "tcp",
    "conntrack v1.4.7 (conntrack-tools): 4 flow entries have been shown.",
    "tcp 6 1 src=x dst=y src=z dst=w",
  ])("%j is no flow", (line) => {
    expect(parseFlow(line)).toBeUndefined();
  });

  test("is about where a flow comes from and where it ends up, not about the address that was called", () => {
    const isAbout = (ip: string) => mentionsSource(NATTED, new Set([ip]));
    expect([
      isAbout("10.244.1.5"),
      isAbout("10.244.1.9"),
      isAbout("10.96.0.1"),
      isAbout("10.244.1."),
    ]).toEqual([true, true, false, false]);
  });
});

test("what is deleted is what a policy denies: source, destination before and after translation, and its port", () => {
  const [natted, ping] = [NATTED, PING].map(parseFlow);
  expect(natted && deleteArguments(natted)?.join(" ")).toBe(
    "-D -f ipv4 -p tcp -s 10.244.1.5 -d 10.96.0.1 -r 10.244.1.9 --orig-port-dst 80 --reply-port-src 8080",
  );
  expect(ping && deleteArguments(ping)?.join(" ")).toBe(
    "-D -f ipv6 -p icmpv6 -s fd00::1 -d fd00::2 -r fd00::2 --icmpv6-type 128 --icmpv6-code 0 -w 3",
  );
  const gre = parseFlow(
    "gre 47 29 src=10.0.0.1 dst=10.0.0.2 srckey=0x0 dstkey=0x0 src=10.0.0.2 dst=10.0.0.1 srckey=0x0 dstkey=0x0 use=1",
  );
  expect(gre && deleteArguments(gre)).toBeUndefined();
});

test("a missing tool is a problem with its cure, not a crash", async () => {
  const table = createConntrackTable({
    exec: () => Promise.reject(new ExecError("conntrack: not found; install the package")),
    spawnLines: () => ({ pid: undefined, ended: Promise.resolve("spawn conntrack ENOENT") }),
  });
  const flow = parseFlow(NATTED);
  if (flow === undefined) throw new Error("not read");
  expect(await table.find(new Set([parseIp("10.244.1.5")]), () => true)).toEqual({
    flows: [],
    problem: expect.stringMatching(/conntrack is not installed.*conntrack-tools/),
  });
  expect(await table.end([flow])).toEqual({
    ended: 0,
    problem: expect.stringContaining("conntrack is not installed"),
  });
});

test("without batches in the tool each flow is a process, and one that has gone is no problem", async () => {
  const runs: string[] = [];
  const table = createConntrackTable({
    spawnLines: () => ({ pid: 1, ended: Promise.resolve("exit 0") }),
    exec: (command, args) => {
      runs.push([command, ...args].join(" "));
      const [first] = args;
      if (first === "-R")
        return Promise.resolve({ exitCode: 2, stdout: "", stderr: "conntrack: unknown option" });
      return runs.length === 2
        ? Promise.resolve({ exitCode: 0, stdout: `${NATTED}\n`, stderr: "" })
        : Promise.resolve({
            exitCode: 1,
            stdout: "",
            stderr: "conntrack v1.4.6: 0 flow entries have been deleted.",
          });
    },
  });
  const flows = [NATTED, PING].map(parseFlow).filter((flow) => flow !== undefined);
  expect(await table.end(flows)).toEqual({ ended: 1 });
  expect(runs).toHaveLength(3);
});
