// NetworkPolicy with real packets between pods of one bridge, where they pass through iptables only by br_netfilter.
import { afterAll, beforeAll } from "vitest";
import type { Cluster } from "../../../lab/cluster.ts";
import { showLogsOfFailures, startTestCluster } from "../../support/cluster.ts";
import { testScenarios } from "../../support/policy-probes/scenarios.ts";
import { createWorld } from "../../support/policy-probes/world.ts";
import type { World } from "../../support/policy-probes/world.ts";
import { CORNERS } from "./generated.ts";
import { UPSTREAM_SUITE } from "./upstream-suite.ts";

let cluster: Cluster;
let world: World;
showLogsOfFailures(() => cluster);
beforeAll(async () => {
  const daemonFlags = ["--network-policy", "--policy-deny-with=reject"];
  cluster = await startTestCluster({ nodes: 1, pods: 0, daemonFlags });
  world = await createWorld(cluster, [...cluster.nodes.values()]);
});
afterAll(() => cluster.close());

testScenarios(() => world, [...UPSTREAM_SUITE, ...CORNERS]);
