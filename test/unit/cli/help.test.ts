// Which word is a command.
import { expect, it } from "vitest";
import { commandUsage, parseCommandLine } from "../../../src/cli/help.ts";

it.each([
  [[], { kind: "daemon", argv: [] }],
  [["--ip-masq", "x"], { kind: "daemon", argv: ["--ip-masq", "x"] }],
  [["", "--ip-masq"], { kind: "daemon", argv: ["", "--ip-masq"] }],
  [["-"], { kind: "daemon", argv: ["-"] }],
  [["status", "--json"], { kind: "command", command: "status", argv: ["--json"] }],
  [["status", "-h"], { kind: "command", command: "help", argv: ["status"] }],
  [["install-cni", "/x", "--help"], { kind: "command", command: "help" }],
  [["mk-docker-opts", "-h"], { kind: "command", command: "mk-docker-opts", argv: ["-h"] }],
  [["help"], { kind: "command", command: "help", argv: [] }],
  [
    ["statsu"],
    { kind: "error", message: 'unknown command "statsu"; did you mean status? (--help lists all commands)' },
  ],
  [["toString"], { kind: "error" }],
  [
    ["qqqqqqqqqqqq"],
    { kind: "error", message: 'unknown command "qqqqqqqqqqqq" (--help lists all commands)' },
  ],
])("%j", (argv, expected) => expect(parseCommandLine(argv)).toMatchObject(expected));

it("tells how a command is used", () => {
  expect(commandUsage("install-conf")).toBe("Usage: flanneld-ts install-conf FROM TO\n");
});
