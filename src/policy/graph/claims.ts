// Who has which address: of the pods that claim one, the one that the news of the others cannot take it from.
import type { Ip } from "../../net/ip.ts";
import { compareClaims, hasOwnAddress } from "../snapshot.ts";
import type { Pod } from "../snapshot.ts";

/** An address whose owner is another, or is the same and has changed. */
export interface OwnerChange {
  readonly ip: Ip;
  readonly before: Pod | undefined;
  readonly after: Pod | undefined;
}

export interface Claims {
  /** One object takes the place of another; either may be absent. */
  readonly replace: (before: Pod | undefined, after: Pod | undefined) => readonly OwnerChange[];
  /** The addresses of the pod that no other has. */
  readonly owned: (pod: Pod) => readonly Ip[];
}

/** Pods are told apart by object. */
export function createClaims(): Claims {
  // Nearly every address has one claimant; a list is there only while there are several, the owner first.
  const claims = new Map<Ip, Pod | readonly Pod[]>();
  const ownerOf = (ip: Ip): Pod | undefined => {
    const claim = claims.get(ip);
    return isList(claim) ? claim[0] : claim;
  };
  const set = (ip: Ip, pods: readonly Pod[]): void => {
    const [first] = pods;
    if (first === undefined) claims.delete(ip);
    else claims.set(ip, pods.length === 1 ? first : pods.toSorted(compareClaims));
  };
  const listOf = (ip: Ip): readonly Pod[] => {
    const claim = claims.get(ip);
    return claim === undefined ? [] : isList(claim) ? claim : [claim];
  };
  return {
    replace: (before, after) => {
      const left = before && hasOwnAddress(before) ? before.ips : [];
      const taken = after && hasOwnAddress(after) ? after.ips : [];
      const ips = new Set([...left, ...taken]);
      const owners = new Map(Array.from(ips, (ip) => [ip, ownerOf(ip)]));
      for (const ip of ips) {
        const others = listOf(ip).filter((pod) => pod !== before);
        set(ip, after && taken.includes(ip) ? [...others, after] : others);
      }
      return Array.from(owners, ([ip, owner]) => ({ ip, before: owner, after: ownerOf(ip) })).filter(
        (change) => change.before !== change.after,
      );
    },
    owned: (pod) => {
      if (!hasOwnAddress(pod)) return [];
      const mine = pod.ips.filter((ip) => ownerOf(ip) === pod);
      return mine.length === pod.ips.length ? pod.ips : mine;
    },
  };
}

function isList(claim: Pod | readonly Pod[] | undefined): claim is readonly Pod[] {
  return Array.isArray(claim);
}
