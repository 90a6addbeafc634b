// What the policies of one pod allow together in one direction: one entry per kind of ports, with everybody it is open to.
import type { Family } from "../net/ip.ts";
import { formatPortMatch, matchesOfPorts } from "./port-match.ts";
import type { PortMatch } from "./port-match.ts";
import { peersOfFamily, peerSpec } from "./sets.ts";
import type { PeerSpec } from "./sets.ts";
import type { Direction, Policy } from "./snapshot.ts";

/** Peers reach these ports; absent peers: everybody does. */
export interface Allowance {
  readonly ports: PortMatch;
  readonly peers?: readonly PeerSpec[];
}

/**
 * The union of the rules of all policies. Rules with the same ports become one, whose set holds the peers of all, so that a
 * packet meets as many rules as there are kinds of ports, however many policies and peers there are. The result is empty
 * for pods that may not talk at all, and the same for any order of policies.
 */
export function mergeAllowances(
  policies: readonly Policy[],
  direction: Direction,
  family: Family,
): readonly Allowance[] {
  const byPorts = new Map<string, { readonly ports: PortMatch; peers: PeerSpec[] | undefined }>();
  for (const policy of policies) {
    for (const rule of policy[direction]) {
      const peers = rule.peers?.map((peer) => peerSpec(peer, policy.namespace));
      for (const ports of matchesOfPorts(rule.ports)) {
        const known = byPorts.get(formatPortMatch(ports));
        if (known === undefined) byPorts.set(formatPortMatch(ports), { ports, peers: peers && [...peers] });
        else if (peers === undefined) known.peers = undefined;
        else known.peers?.push(...peers);
      }
    }
  }
  const open = byPorts.get("");
  if (open !== undefined && open.peers === undefined) return [{ ports: open.ports }];
  return [...byPorts]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .flatMap(([, { ports, peers }]): readonly Allowance[] => {
      if (peers === undefined) return [{ ports }];
      const some = peersOfFamily(family, peers);
      return some.length === 0 ? [] : [{ ports, peers: some }];
    });
}
