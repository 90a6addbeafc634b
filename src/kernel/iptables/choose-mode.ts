// Decides between iptables' nft and legacy mode from what the two hold; pure.
import { CHAIN_PREFIX } from "../../host/ownership.ts";
import type { SavedRules } from "./save-codec.ts";

export type IptablesMode = "nft" | "legacy";

export interface ToolVersion {
  readonly mode: IptablesMode;
  /** E.g. "1.8.9". */
  readonly version: string;
}

/** What a mode's tables tell about who uses it. */
export interface ModeEvidence {
  /** The kubelet's chains, made for this question (KEP-3178). */
  readonly hint: boolean;
  readonly rules: number;
  /** Chains with our prefix, flannel's among them. */
  readonly ours: number;
}

export type ModesEvidence = Readonly<Partial<Record<IptablesMode, ModeEvidence>>>;

const HINT_CHAINS: ReadonlySet<string> = new Set(["KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"]);

/** `iptables v1.8.9 (nf_tables)`; before 1.8 there was no mode in it, and only legacy. */
export function parseVersion(text: string): ToolVersion | undefined {
  const match = /v(\d+(?:\.\d+)*)(?:\s+\((nf_tables|legacy)\))?/.exec(text);
  return match?.[1] === undefined
    ? undefined
    : { version: match[1], mode: match[2] === "nf_tables" ? "nft" : "legacy" };
}

/** Compares dotted numbers. */
export function isAtLeast(version: string, minimum: string): boolean {
  const wanted = minimum.split(".").map(Number);
  const given = version.split(".").map(Number);
  for (const [index, number] of wanted.entries()) {
    const difference = (given[index] ?? 0) - number;
    if (difference !== 0) return difference > 0;
  }
  return true;
}

export function evidenceOf(saved: SavedRules): ModeEvidence {
  let hint = false;
  let rules = 0;
  let ours = 0;
  for (const { chains } of saved.tables.values()) {
    for (const [name, chainRules] of chains) {
      hint ||= HINT_CHAINS.has(name);
      rules += chainRules.length;
      if (name.startsWith(CHAIN_PREFIX)) ours += 1;
    }
  }
  return { hint, rules, ours };
}

export function joinEvidence(a: ModeEvidence, b: ModeEvidence): ModeEvidence {
  return { hint: a.hint || b.hint, rules: a.rules + b.rules, ours: a.ours + b.ours };
}

/** The kubelet's hint (nft asked first), else the mode with more rules, else `plain`, else nft. */
export function chooseMode(evidence: ModesEvidence, plain?: IptablesMode): IptablesMode {
  if (evidence.nft?.hint) return "nft";
  if (evidence.legacy?.hint) return "legacy";
  const difference = (evidence.nft?.rules ?? 0) - (evidence.legacy?.rules ?? 0);
  if (difference !== 0) return difference > 0 ? "nft" : "legacy";
  return plain ?? "nft";
}

/** A warning if the mode that was not chosen holds rules as well, since packets then pass both rule sets. */
export function describeBothModes(evidence: ModesEvidence, chosen: IptablesMode): string | undefined {
  const other = chosen === "nft" ? "legacy" : "nft";
  const rest = evidence[other];
  if (rest === undefined || rest.rules === 0) return undefined;
  const ours =
    rest.ours > 0
      ? ` ${rest.ours} chains there are flannel's, left from an earlier run; "cleanup" removes them.`
      : "";
  return (
    `this host has iptables rules in both modes: ${evidence[chosen]?.rules ?? 0} in ${chosen}, which is used, and ` +
    `${rest.rules} in ${other}; packets pass both.${ours} Look at iptables-${other}-save, and set one mode for all ` +
    "programs (Debian: update-alternatives --config iptables)"
  );
}
