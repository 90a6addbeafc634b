// Which ways to which peers the prober tries: public IPs below, and through the overlay an address of the peer that answers.
import type { Backend } from "../backends/backend.ts";
import { publicIpOf, subnetOf } from "../backends/peers.ts";
import type { Lease } from "../ipam/lease.ts";
import { cidrBase } from "../net/cidr.ts";
import type { Cidr } from "../net/cidr.ts";
import { addToIp, FAMILIES } from "../net/ip.ts";
import type { ProbePath } from "../prober/probe.ts";
import type { NodeAgent } from "./node-agent.ts";

type AgentView = Pick<NodeAgent, "reach" | "leases" | "node">;

/** Makes the function that lists all paths; it gives the same array as long as nothing changed. */
export function createPathLister(agent: AgentView, backend: Backend): () => readonly ProbePath[] {
  let seen: Pick<AgentView, "reach" | "leases" | "node"> | undefined;
  let paths: readonly ProbePath[] = [];
  return () => {
    const { reach, leases, node } = agent;
    if (seen?.reach === reach && seen.leases === leases && seen.node === node) return paths;
    seen = { reach, leases, node };
    paths = planPaths(agent, backend);
    return paths;
  };
}

function planPaths({ reach, leases, node }: AgentView, backend: Backend): readonly ProbePath[] {
  const { uplink } = node;
  const podMtu = backend.podMtu(uplink);
  return reach.flatMap(({ subnetKey, how }) => {
    const lease = leases.get(subnetKey);
    // Of a lease that is not believed, no address is worth a packet.
    if (lease === undefined || how === "ignored") return [];
    return FAMILIES.flatMap((family): readonly ProbePath[] => {
      const subnet = subnetOf(lease, family);
      const publicIp = publicIpOf(lease, family);
      if (subnet === undefined || publicIp === undefined || uplink.addresses[family] === undefined) return [];
      const shared = { subnetKey, peer: nameOf(lease, subnetKey), family };
      const underlay: ProbePath = {
        ...shared,
        key: `${subnetKey} underlay ${family}`,
        via: "underlay",
        address: publicIp,
        fullBytes: uplink.mtu,
        mayBeSilent: false,
        cure: `is the node up and ${publicIp} right for it (--iface, --public-ip there)? does a firewall drop ICMP?`,
      };
      if (how === "unreachable") return [underlay];
      const overlay: ProbePath = {
        ...shared,
        key: `${subnetKey} overlay ${family}`,
        via: "overlay",
        ...overlayAddress(subnet, backend),
        fullBytes: podMtu,
        cure: overlayCure(backend),
      };
      return [underlay, overlay];
    });
  });
}

/**
 * With a tunnel, the peer's own tunnel device has the first address of its subnet, from the daemon's start on. Without
 * (host-gw) a node has no address in its subnet but the bridge's, the second one, which comes with its first pod.
 */
function overlayAddress(subnet: Cidr, { type }: Backend): Pick<ProbePath, "address" | "mayBeSilent"> {
  const base = cidrBase(subnet);
  return type === "host-gw"
    ? { address: addToIp(base, 1), mayBeSilent: true }
    : { address: base, mayBeSilent: false };
}

function overlayCure({ type }: Backend): string {
  switch (type) {
    case "vxlan":
      return "let the backend's UDP port (8472 unless configured) through between the nodes; does a daemon run there?";
    case "udp":
      return "let the backend's UDP port (8285 unless configured) through between the nodes; does a daemon run there?";
    default:
      return "does the network between the nodes drop packets with pods' addresses (a cloud's source check, strict rp_filter)?";
  }
}

/** As operators know the node. */
function nameOf({ nodeName, publicIp, publicIp6 }: Lease, subnetKey: string): string {
  const name = nodeName || publicIp || publicIp6;
  return name === undefined || name === "" ? subnetKey : `${name} (${subnetKey})`;
}
