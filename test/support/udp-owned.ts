// Nodes and hosts of the udp backend's kernel tests, which go with the group of tests that made them.
import { afterAll, beforeAll, expect } from "vitest";
import type { DataPathPlan } from "../../src/host/data-path.ts";
import { createNamespace } from "./netns.ts";
import type { TestNamespace } from "./netns.ts";
import { createLink, createUdpNode, peersOf } from "./udp-nodes.ts";
import type { TestLink, UdpNode } from "./udp-nodes.ts";

/** For the data path's processes. */
type Environment = Readonly<Record<string, string>>;

let link: TestLink;
let environment: Environment = {};

/** One link for all groups of a file. */
export function useLink(env: Environment = {}): void {
  environment = env;
  beforeAll(async () => {
    link = await createLink();
  });
  afterAll(() => link.remove());
}

/** What the tests of a group have made; goes with the group, also after a failure half-way. */
export const owned: (() => Promise<unknown>)[] = [];
export async function releaseOwned(): Promise<void> {
  await Promise.all(owned.splice(0).map((release) => release()));
}
export async function ownNode(n: number): Promise<UdpNode> {
  const node = await createUdpNode(link, n, environment);
  owned.push(() => node.remove());
  return node;
}
export async function ownHost(addresses: readonly string[]): Promise<TestNamespace> {
  const host = await createNamespace("ud-p");
  owned.push(() => host.remove());
  await link.attach(host, addresses);
  return host;
}
/** Nodes 1 and 2 that know each other, perhaps through somebody else's address. */
export async function ownPair(
  options: Partial<DataPathPlan> = {},
  remote?: string,
): Promise<readonly [UdpNode, UdpNode]> {
  const pair = await Promise.all([ownNode(1), ownNode(2)]);
  expect(await pair[0].apply(peersOf(2, remote), options)).toBeUndefined();
  expect(await pair[1].apply(peersOf(1, remote), options)).toBeUndefined();
  return pair;
}
