// Names of chains and sets: they begin with our prefix and follow from content, so that equal content is shared.
import type { Family } from "../net/ip.ts";
import { DIGEST_LENGTH } from "./digest.ts";
import type { Direction } from "./snapshot.ts";

/** XT_EXTENSION_MAXNAMELEN - 1. */
export const MAX_CHAIN_NAME = 28;
/** IPSET_MAXNAMELEN - 1. */
export const MAX_SET_NAME = 31;

/** The longest name is `FTSP-4-denied-out` or `FTSP-4p-` and a digest; three more characters stay free in set names. */
const MAX_PREFIX = MAX_CHAIN_NAME - "4p-".length - DIGEST_LENGTH;

export interface PolicyNames {
  /** Jumped to from FORWARD and INPUT. */
  readonly forward: string;
  readonly input: string;
  /** IPv6 only: lets neighbor discovery pass. */
  readonly discovery: string;
  /** Both directions, one after the other. */
  readonly policy: string;
  readonly deny: Readonly<Record<Direction, string>>;
  /** Chain of pods that are isolated in one way, or of several such. */
  readonly podChain: (direction: Direction, digest: string) => string;
  /** The pods of such a chain. */
  readonly podSet: (direction: Direction, family: Family, digest: string) => string;
  /** All pods of this node that are known. */
  readonly knownSet: (family: Family, digest: string) => string;
  readonly peerSet: (family: Family, digest: string) => string;
  readonly portSet: (family: Family, digest: string) => string;
  /** Counts denied packets per pod. */
  readonly deniedSet: (direction: Direction, family: Family) => string;
}

const SIDE: Readonly<Record<Direction, string>> = { ingress: "in", egress: "out" };

/** @throws {RangeError} if the prefix is too long: a mistake of the program, not of its user */
export function policyNames(prefix: string): PolicyNames {
  if (prefix.length > MAX_PREFIX)
    throw new RangeError(`prefix "${prefix}" has more than ${MAX_PREFIX} characters`);
  return {
    forward: `${prefix}FORWARD`,
    input: `${prefix}INPUT`,
    discovery: `${prefix}ND`,
    policy: `${prefix}POLICY`,
    deny: { ingress: `${prefix}DENY-IN`, egress: `${prefix}DENY-OUT` },
    podChain: (direction, digest) => `${prefix}${direction === "ingress" ? "I" : "E"}-${digest}`,
    podSet: (direction, family, digest) =>
      `${prefix}${family}${direction === "ingress" ? "i" : "e"}-${digest}`,
    knownSet: (family, digest) => `${prefix}${family}k-${digest}`,
    peerSet: (family, digest) => `${prefix}${family}p-${digest}`,
    portSet: (family, digest) => `${prefix}${family}n-${digest}`,
    deniedSet: (direction, family) => `${prefix}${family}-denied-${SIDE[direction]}`,
  };
}
