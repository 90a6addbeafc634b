// NetworkPolicy with real packets: nine pods in three namespaces over two nodes, through etcd, the daemons and the kernels.
import { afterAll, beforeAll, describe } from "vitest";
import type { Cluster } from "../../../lab/cluster.ts";
import { showLogsOfFailures, startTestCluster } from "../../support/cluster.ts";
import { testScenarios } from "../../support/policy-probes/scenarios.ts";
import { createWorld } from "../../support/policy-probes/world.ts";
import type { World } from "../../support/policy-probes/world.ts";
import { GENERATED } from "./generated.ts";
import { UPSTREAM_SUITE } from "./upstream-suite.ts";

let cluster: Cluster;
let world: World;
showLogsOfFailures(() => cluster);
beforeAll(async () => {
  const daemonFlags = ["--network-policy", "--policy-deny-with=reject"];
  cluster = await startTestCluster({ nodes: 2, pods: 0, daemonFlags });
  world = await createWorld(cluster, [...cluster.nodes.values()]);
});
afterAll(() => cluster.close());

describe("Kubernetes' own suite", () => {
  testScenarios(() => world, UPSTREAM_SUITE);
});

describe("generated", () => {
  testScenarios(() => world, GENERATED);
});
