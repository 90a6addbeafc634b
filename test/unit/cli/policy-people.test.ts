// policy explain, matrix and status over the daemon's socket: what is asked, what is printed, which exit code.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { runPolicyCommand } from "../../../src/cli/policy.ts";
import { createPolicyReadRoutes } from "../../../src/daemon/policy/read-routes.ts";
import type { PolicyAgentState, PolicyReadSource } from "../../../src/daemon/policy/read-source.ts";
import { startStatusSocket } from "../../../src/daemon/status-socket.ts";
import { hasMember } from "../../../src/host/member-list.ts";
import type { Exec } from "../../../src/kernel/exec.ts";
import { firewallKey, firewallRowsEqual } from "../../../src/kernel/iptables/saved-rows.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { createPolicyGraph } from "../../../src/policy/graph.ts";
import { DEFAULT_POLICY_SETTINGS } from "../../../src/policy/settings.ts";
import { clusterNode, namespaceOf, podOf, policyOf } from "../../support/policy-cluster.ts";

const SETTINGS = { ...DEFAULT_POLICY_SETTINGS, countDenied: false };
const STATE: PolicyAgentState = {
  source: { connected: true, skipped: [] },
  lastPass: { at: 0, durationMs: 1, failed: [] },
  repairs: 0,
  waiting: 0,
  problems: [],
};

let directory: string;
let stop: AbortController;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "fts-people-"));
  stop = new AbortController();
});
afterEach(() => {
  stop.abort();
  rmSync(directory, { recursive: true, force: true });
});

function createGraph() {
  const graph = createPolicyGraph({ nodeName: "n1", settings: SETTINGS });
  graph.apply({ type: "snapshot", kind: "nodes", objects: [clusterNode(1), clusterNode(2)] });
  graph.apply({ type: "snapshot", kind: "namespaces", objects: [namespaceOf("shop")] });
  const pods = [podOf("shop/web", "1.5"), podOf("shop/db", "1.7", { app: "db" })];
  graph.apply({ type: "snapshot", kind: "pods", objects: pods });
  const db = policyOf(
    "shop/db",
    "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}",
  );
  graph.apply({ type: "snapshot", kind: "policies", objects: [db] });
  return graph;
}

/** A kernel that holds what it should, or nothing. */
function sourceOf(kernel: "whole" | "empty", state = STATE): PolicyReadSource {
  const graph = createGraph();
  const exec: Exec = (_, [, name = "", member = ""]) => {
    const set = graph.compiled().sets.find((one) => one.name === name);
    const isIn = kernel === "whole" && set !== undefined && hasMember(set.members, member);
    const stderr = isIn
      ? ""
      : kernel === "whole"
        ? `${member} is NOT in set ${name}.`
        : "The set with the given name does not exist";
    return Promise.resolve({ exitCode: isIn ? 0 : 1, stdout: "", stderr });
  };
  return {
    settings: SETTINGS,
    graph,
    book: { since: () => 0 },
    state: () => state,
    firewall: {
      key: firewallKey,
      equal: firewallRowsEqual,
      list: () => Promise.resolve(kernel === "whole" ? graph.compiled().firewall : []),
    },
    denied: () => Promise.resolve([]),
    exec,
  };
}

interface Run {
  readonly exitCode: number;
  readonly out: string;
  readonly err: string;
}

/** @param source undefined: a daemon whose policy has not started; "off": one without policy; "none": no daemon */
async function run(
  argv: readonly string[],
  source: PolicyReadSource | undefined | "off" | "none",
): Promise<Run> {
  const path = join(directory, "s.sock");
  if (source !== "none") {
    const routes = source === "off" ? {} : createPolicyReadRoutes(() => source, { nextLookMs: 1 });
    await startStatusSocket({ path, routes }, { log: SILENT_LOGGER }, stop.signal);
  }
  const texts = { out: "", err: "" };
  const exitCode = await runPolicyCommand(
    argv,
    (operands) => ({
      operands,
      environment: {
        store: "kubernetes",
        etcdPrefix: "/x",
        statusSocket: path,
        openEtcd: () => Promise.reject(new Error("not needed")),
      },
    }),
    {
      stdin: (async function* () {})(),
      stdout: { write: (text: string) => (texts.out += text) },
      stderr: { write: (text: string) => (texts.err += text) },
    },
  );
  return { exitCode, ...texts };
}

describe("policy explain", () => {
  it.each([
    [
      "0 for what is allowed",
      ["shop/web", "shop/db:5432"],
      0,
      "ALLOWED: pod shop/web to pod shop/db, TCP 5432",
    ],
    ["1 for what is denied", ["shop/web", "shop/db:80"], 1, "DENIED: pod shop/web to pod shop/db, TCP 80"],
    [
      "1 for what is allowed in part",
      ["shop/web", "shop/db"],
      1,
      "PARTLY ALLOWED: pod shop/web to pod shop/db",
    ],
  ])("exits %s", async (_, ends, expected, words) => {
    const { exitCode, out, err } = await run(["explain", ...ends], sourceOf("whole"));
    expect({ exitCode, err }).toEqual({ exitCode: expected, err: "" });
    expect(out).toContain(words);
    expect(out).toMatch(/^Kernel of n1: agrees; \d+ chains/m);
  });

  it("asks the kernel also about a pod of this node that nobody knows", async () => {
    const { exitCode, out } = await run(["explain", "10.244.1.99", "shop/web:80"], sourceOf("whole"));
    expect(exitCode).toBe(1);
    expect(out).toMatch(/^Kernel of n1: agrees/m);
    expect(out).toContain("egress of 10.244.1.99: in no set of known pods, so closed on cni0");
  });

  it("exits 3 when the kernel disagrees, whatever policy says", async () => {
    const { exitCode, out } = await run(["explain", "shop/web", "shop/db:5432"], sourceOf("empty"));
    expect(exitCode).toBe(3);
    expect(out).toContain("THE KERNEL OF n1 DISAGREES");
    expect(out).toContain("that leads to FTSP-FORWARD is missing: no policy is enforced");
    expect(out).toMatch(/set FTSP-4k-\S+ \(the pods of this node that are known\) is missing/);
    expect(out).toContain("Cure: ");
  });

  it("prints the whole report as JSON", async () => {
    const { exitCode, out } = await run(
      ["explain", "shop/web", "shop/db:80", "-o", "json"],
      sourceOf("whole"),
    );
    expect(exitCode).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      verdict: "denied",
      pairs: [{ ingress: { isolatedBy: ["shop/db"], rule: "shop/db ingress[0]" } }, {}],
      kernel: { state: "agrees" },
    });
  });

  it.each([
    ["one end", ["explain", "a"], "needs two ends"],
    ["no end at all", ["explain", "A/B/C", "b"], 'FROM "A/B/C" is none of NAMESPACE/POD'],
    ["nobody of that name", ["explain", "shop/wbe", "shop/db"], "did you mean shop/web?"],
    ["another form", ["explain", "shop/web", "shop/db", "-o", "yaml"], "only json is known"],
    ["a namespace without pods", ["matrix", "-n", "nothing"], "namespace nothing has no pod"],
    ["no port", ["matrix", "--port", "80/GRE"], "is none of TCP, UDP, SCTP"],
    ["words too many", ["status", "now"], 'unexpected argument "now"'],
  ])("%s is refused with exit 2", async (_, argv, words) => {
    const { exitCode, out, err } = await run(argv, sourceOf("whole"));
    expect({ exitCode, out }).toEqual({ exitCode: 2, out: "" });
    expect(err).toContain(words);
  });
});

it("policy matrix prints the table", async () => {
  const { exitCode, out } = await run(["matrix", "-n", "shop", "--port", "80"], sourceOf("whole"));
  expect(exitCode).toBe(0);
  expect(out).toContain("1 shop/db   . .\n  2 shop/web  X .\n");
});

describe("policy status", () => {
  it("exits 0 where everything is in force", async () => {
    const { exitCode, out } = await run(["status"], sourceOf("whole"));
    expect(exitCode).toBe(0);
    expect(out).toContain("Network policy of n1: IN FORCE\n");
  });

  it("exits 1 where something keeps policy from being enforced", async () => {
    const { exitCode, out } = await run(
      ["status"],
      sourceOf("whole", { ...STATE, problems: ["no br_netfilter"] }),
    );
    expect(exitCode).toBe(1);
    expect(out).toContain("NOT IN FORCE AS IT SHOULD BE");
  });
});

describe("exit 3, and why there is no answer:", () => {
  it.each([
    ["no daemon runs", "none", "no daemon listens on"],
    ["the daemon enforces no policy", "off", "start it with --network-policy"],
    ["policy has not started", undefined, "network policy has not started yet"],
  ] as const)("%s", async (_, source, words) => {
    for (const argv of [["explain", "a", "b"], ["matrix"], ["status"]]) {
      const { exitCode, out, err } = await run(argv, source);
      stop.abort();
      stop = new AbortController();
      expect({ exitCode, out }).toEqual({ exitCode: 3, out: "" });
      expect(err).toContain(words);
    }
  });

  it("the cluster is not known yet", async () => {
    const graph = createPolicyGraph({ nodeName: "n1", settings: SETTINGS });
    const { exitCode, err } = await run(["status"], { ...sourceOf("whole"), graph });
    expect(exitCode).toBe(3);
    expect(err).toContain("has not been told of the whole cluster yet");
  });
});
