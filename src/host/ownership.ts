// Which kernel rows are ours: decided on day one, so that what is unexplained can be removed safely.
import { createHash } from "node:crypto";
import type { Cidr } from "../net/cidr.ts";

/**
 * rtnetlink route protocol of our routes (RTA_PROTOCOL; /etc/iproute2/rt_protos). Numbers above 4 are free for daemons;
 * 250 is in no distribution's rt_protos and used by none of Calico (80), kube-router (17), BIRD (12), Cilium (11).
 */
export const ROUTE_PROTOCOL = 250;

/** Chains whose name starts so are ours, since they are flannel's, whom we replace. */
export const CHAIN_PREFIX = "FLANNEL-";

/** The same for a further daemon of the host; its name follows. */
export const INSTANCE_CHAIN_PREFIX = "FLANNEL_";

/** Prefix of the interface alias (IFLA_IFALIAS) on devices that we created; the rest names the instance. */
export const LINK_ALIAS_PREFIX = "flanneld-ts ";

/**
 * What one daemon owns. Two daemons on one host (different networks, VNIs, subnet files) must not remove each other's
 * rows, so routes are ours only inside our networks, and devices only by name or by our alias.
 */
export interface Ownership {
  /** Cluster networks. A route with our protocol counts as ours only if its destination lies inside one. */
  readonly networks: readonly Cidr[];
  /** Names of the devices that the plan may contain, e.g. `flannel.1`. */
  readonly devices: readonly string[];
  /** The alias we put on devices that we create: `LINK_ALIAS_PREFIX` and the networks. */
  readonly linkAlias: string;
  /** Our chains begin with this, and no other daemon's do. */
  readonly chainPrefix: string;
}

/** @param instance the daemon's name on this host; empty for the first one, which uses flannel's names */
export function ownershipOf(networks: readonly Cidr[], devices: readonly string[], instance = ""): Ownership {
  const linkAlias = LINK_ALIAS_PREFIX + networks.join(",");
  return { networks, devices, linkAlias, chainPrefix: chainPrefixOf(instance) };
}

/** A chain's name has at most 28 bytes (XT_EXTENSION_MAXNAMELEN); "POSTRTG" and the prefixes leave 12. */
const MAX_INSTANCE_LENGTH = 12;

/** `FLANNEL_blue-`. No instance's prefix begins with another's: a name without "-" stands between "_" and "-". */
function chainPrefixOf(instance: string): string {
  if (instance === "") return CHAIN_PREFIX;
  const isPlain = /^[A-Za-z0-9]+$/.test(instance) && instance.length <= MAX_INSTANCE_LENGTH;
  const digest = createHash("sha256").update(instance).digest("hex").slice(0, MAX_INSTANCE_LENGTH);
  return `${INSTANCE_CHAIN_PREFIX}${isPlain ? instance : digest}-`;
}
