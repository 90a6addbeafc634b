import { describe, expect, test } from "vitest";
import { parseArguments, parseNetConf } from "../../../lab/parse-arguments.ts";

const DEFAULTS = {
  command: "up",
  name: "lab",
  nodes: 3,
  pods: 2,
  topology: "flat",
  backend: undefined,
  netConf: undefined,
  etcdEndpoints: [],
  etcdPrefix: undefined,
  daemonFlags: [],
  once: false,
};

describe("parseArguments", () => {
  test.each([
    { name: "nothing", argv: [], expected: DEFAULTS },
    { name: "the word up", argv: ["up"], expected: DEFAULTS },
    {
      name: "values after = and as the next word",
      argv: ["--nodes=5", "--pods", "0", "--backend", "host-gw", "--topology=routed", "--once", "--name=x-1"],
      expected: {
        ...DEFAULTS,
        nodes: 5,
        pods: 0,
        backend: "host-gw",
        topology: "routed",
        once: true,
        name: "x-1",
      },
    },
    {
      name: "one hyphen, as Go has it",
      argv: ["-nodes=1"],
      expected: { ...DEFAULTS, nodes: 1 },
    },
    {
      name: "repeated daemon flags, in order",
      argv: ["--daemon-flag=--v=2", "--daemon-flag", "--ip-masq=false"],
      expected: { ...DEFAULTS, daemonFlags: ["--v=2", "--ip-masq=false"] },
    },
    {
      name: "several etcd endpoints",
      argv: ["--etcd-endpoints=http://192.0.2.1:2379,http://192.0.2.2:2379", "--etcd-prefix=/a"],
      expected: {
        ...DEFAULTS,
        etcdEndpoints: ["http://192.0.2.1:2379", "http://192.0.2.2:2379"],
        etcdPrefix: "/a",
      },
    },
    {
      name: "exec keeps the command's own options",
      argv: ["exec", "n1", "ip", "-br", "link", "--help"],
      expected: { command: "exec", name: "lab", target: "n1", words: ["ip", "-br", "link", "--help"] },
    },
    {
      name: "exec with a separator and a name",
      argv: ["--name=b", "exec", "n1-p1", "--", "ls", "--", "x"],
      expected: { command: "exec", name: "b", target: "n1-p1", words: ["ls", "--", "x"] },
    },
    { name: "down", argv: ["down", "--name", "b"], expected: { command: "down", name: "b" } },
    { name: "status", argv: ["status"], expected: { command: "status", name: "lab" } },
    { name: "help", argv: ["--nodes=3", "-h"], expected: { command: "help" } },
  ])("$name", ({ argv, expected }) => {
    expect(parseArguments(argv)).toEqual(expected);
  });

  test.each([
    { argv: ["--nodes=0"], message: '--nodes: "0" is no whole number from 1 to 240' },
    { argv: ["--nodes=241"], message: '--nodes: "241" is no whole number from 1 to 240' },
    { argv: ["--pods=two"], message: '--pods: "two" is no whole number from 0 to 200' },
    { argv: ["--pods=-1"], message: '--pods: "-1" is no whole number from 0 to 200' },
    { argv: ["--pods"], message: "--pods needs a value: --pods=..." },
    { argv: ["--once=yes"], message: "--once takes no value" },
    { argv: ["--topology=ring"], message: '--topology: "ring" is neither flat nor routed' },
    { argv: ["--node=3"], message: "unknown option --node; --help lists all" },
    {
      argv: ["--backend=vxlan", "--net-conf={}"],
      message: '--net-conf has the backend in it ("Backend": {"Type": ...}); leave --backend out',
    },
    {
      argv: ["exec", "n1"],
      message: "exec: say where and what: exec NODE|POD CMD..., e.g. exec n1 ip route",
    },
    { argv: ["--once", "exec", "n1", "ls"], message: "exec: --once means nothing here" },
    { argv: ["down", "n1"], message: 'down takes no further words; "n1" is not expected' },
    { argv: ["start"], message: 'unknown command "start"; there are exec, status, down and help' },
    {
      argv: ["--name=../x"],
      message: '--name: "../x" is no name (letters, digits, "-" and "_", at most 32)',
    },
  ])("$argv: $message", ({ argv, message }) => {
    expect(() => parseArguments(argv)).toThrow(message);
  });
});

describe("parseNetConf", () => {
  test("a JSON object", () => {
    expect(parseNetConf('{"Network":"10.1.0.0/16"}', "--net-conf")).toEqual({ Network: "10.1.0.0/16" });
  });
  test.each(["{", "[]", "3", '"x"'])("%s is refused with the place", (text) => {
    expect(() => parseNetConf(text, "--net-conf x.json")).toThrow(/^--net-conf x\.json: not /);
  });
});
