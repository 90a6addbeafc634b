// The chain of pods that the same policies isolate in one direction, with the sets that it names.
import type { Family } from "../net/ip.ts";
import { isolatedRules, matchSet } from "./chains.ts";
import type { Rule } from "./chains.ts";
import { contentDigest } from "./digest.ts";
import { policyNames } from "./names.ts";
import type { PolicyNames } from "./names.ts";
import { portArguments } from "./port-match.ts";
import { mergeAllowances } from "./profile.ts";
import type { Allowance } from "./profile.ts";
import { formatSetSpec } from "./sets.ts";
import type { SetSpec } from "./sets.ts";
import type { PolicySettings } from "./settings.ts";
import type { Direction, Policy } from "./snapshot.ts";

/** Where a chain belongs. */
export interface ChainPlace {
  readonly settings: PolicySettings;
  readonly family: Family;
  readonly direction: Direction;
}

/** The rules of isolated pods. Other policies that say the same give the same. */
export interface PolicyChain {
  /** Names the chain and the set of its pods. */
  readonly digest: string;
  readonly rules: readonly Rule[];
  /** Sets of peers and ports that the rules name. */
  readonly specs: readonly NamedSpec[];
}

/** A set of peers or ports; the name says what it is about. */
export interface NamedSpec {
  readonly name: string;
  readonly spec: SetSpec;
}

/** What is needed to write rules; `specs` collects the sets that they name. */
interface RuleWriter extends ChainPlace {
  readonly names: PolicyNames;
  readonly specs: Map<string, NamedSpec>;
}

/** In whatever order the policies come. */
export function compileProfile(policies: readonly Policy[], place: ChainPlace): PolicyChain {
  const { direction, family, settings } = place;
  const writer: RuleWriter = { ...place, names: policyNames(settings.prefix), specs: new Map() };
  const allowances = mergeAllowances(policies, direction, family);
  const isOpen = allowances.some(({ ports, peers }) => ports.kind === "any" && peers === undefined);
  const rules = [
    ...isolatedRules(place),
    ...allowances.flatMap((allowance) => allowanceRules(allowance, writer)),
    ...(isOpen ? [] : [["-g", writer.names.deny[direction]]]),
  ];
  const digest = contentDigest(`${direction} ${family} ${JSON.stringify(rules)}`);
  return { rules, digest, specs: [...writer.specs.values()] };
}

function allowanceRules({ ports, peers }: Allowance, writer: RuleWriter): readonly Rule[] {
  const { family, direction } = writer;
  const peerSide = direction === "ingress" ? "src" : "dst";
  const peerMatch = peers ? matchSet(nameSet({ kind: "peers", family, peers }, writer), peerSide) : [];
  switch (ports.kind) {
    case "any":
      return [[...peerMatch, "-j", "RETURN"]];
    case "numbers": {
      const protocol = ["-p", ports.protocol.toLowerCase()];
      return portArguments(ports.protocol, ports.ranges).map((numbers) =>
        protocol.concat(peerMatch, numbers, ["-j", "RETURN"]),
      );
    }
    case "named": {
      // The name is the destination's own: its address and number are one member.
      const scope = direction === "ingress" ? "local" : "cluster";
      const set = nameSet({ kind: "named-ports", family, scope, names: ports.names }, writer);
      return [[...peerMatch, ...matchSet(set, "dst,dst"), "-j", "RETURN"]];
    }
  }
}

function nameSet(spec: SetSpec, { names, family, specs }: RuleWriter): string {
  const digest = contentDigest(`${family} ${spec.kind} ${formatSetSpec(spec)}`);
  const name = spec.kind === "peers" ? names.peerSet(family, digest) : names.portSet(family, digest);
  specs.set(name, { name, spec });
  return name;
}
