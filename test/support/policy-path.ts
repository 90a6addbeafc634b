// The way of a packet through the nodes of a snapshot: where filters see it, and by which devices.
import { cidrContainsIp } from "../../src/net/cidr.ts";
import { familyOf } from "../../src/net/ip.ts";
import type { Ip } from "../../src/net/ip.ts";
import { compilePolicy } from "../../src/policy/compile.ts";
import type { Packet } from "../../src/policy/packet.ts";
import type { PolicySettings } from "../../src/policy/settings.ts";
import type { PolicySnapshot } from "../../src/policy/snapshot.ts";
import { createInterpreter } from "./policy-interpreter.ts";
import type { HookPacket, Interpreter, Outcome } from "./policy-interpreter.ts";

export interface Cluster {
  /** What the rules of each node that the packet crosses say to it, by node name. */
  readonly send: (packet: Packet) => ReadonlyMap<string, Outcome>;
}

/** Compiles the snapshot for each node, as each node's daemon would. */
export function createCluster(snapshot: PolicySnapshot, settings: PolicySettings): Cluster {
  const interpreters = new Map<string, Interpreter>();
  const interpreterOf = (nodeName: string): Interpreter => {
    const known = interpreters.get(nodeName);
    if (known) return known;
    const interpreter = createInterpreter(compilePolicy({ ...snapshot, nodeName }, settings));
    interpreters.set(nodeName, interpreter);
    return interpreter;
  };
  return {
    send: (packet) =>
      new Map(hopsOf(snapshot, packet).map(([node, hop]) => [node, interpreterOf(node).run(hop)])),
  };
}

export type Hop = readonly [nodeName: string, packet: HookPacket];

/** Where the filters of nodes see the packet. */
export function hopsOf(snapshot: PolicySnapshot, packet: Packet): readonly Hop[] {
  const source = placeOf(snapshot, packet.src);
  const target = placeOf(snapshot, packet.dst);
  const nodes = new Set([source?.node, target?.node].filter((name) => name !== undefined));
  return [...nodes].map((name): Hop => {
    const startsHere = source?.node === name;
    const endsHere = target?.node === name;
    const hook = startsHere && source.isNode ? "OUTPUT" : endsHere && target.isNode ? "INPUT" : "FORWARD";
    const inDevice = startsHere && !source.isNode ? "cni0" : "eth0";
    const outDevice = (endsHere && !target.isNode) || isGroup(packet.dst) ? "cni0" : "flannel.1";
    const srcIsLocal = startsHere && source.isNode;
    return [
      name,
      {
        ...packet,
        hook,
        inDevice: hook === "OUTPUT" ? "" : inDevice,
        outDevice: hook === "INPUT" ? "" : outDevice,
        srcIsLocal,
      },
    ];
  });
}

interface Place {
  readonly node: string;
  /** The address is the node's own, not one of its pods'. */
  readonly isNode: boolean;
}

function placeOf(snapshot: PolicySnapshot, ip: Ip): Place | undefined {
  const owner = snapshot.nodes.find(({ addresses }) => addresses.includes(ip));
  if (owner) return { node: owner.name, isNode: true };
  const home = snapshot.nodes.find(({ podCidrs }) => podCidrs.some((cidr) => cidrContainsIp(cidr, ip)));
  return home && { node: home.name, isNode: false };
}

function isGroup(ip: Ip): boolean {
  return familyOf(ip) === 6
    ? ip.startsWith("ff")
    : ip === "255.255.255.255" || Number(ip.split(".")[0]) >= 224;
}
