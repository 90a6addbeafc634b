// Which iptables this host uses (nft or legacy), and what that iptables can do.
import type { Family } from "../../net/ip.ts";
import { ExecError } from "../exec.ts";
import type { Exec } from "../exec.ts";
import { parseIptablesSave } from "./save-codec.ts";
import {
  chooseMode,
  describeBothModes,
  evidenceOf,
  isAtLeast,
  joinEvidence,
  parseVersion,
} from "./choose-mode.ts";
import type { IptablesMode, ModeEvidence, ToolVersion } from "./choose-mode.ts";

export interface IptablesBinaries {
  readonly save: string;
  readonly restore: string;
}

/** One iptables of the host. */
export interface IptablesVariant {
  readonly mode: IptablesMode;
  /** E.g. "1.8.9". */
  readonly version: string;
  readonly binaries: Readonly<Partial<Record<Family, IptablesBinaries>>>;
  /** `iptables-restore -w` exists (>= 1.6.2). */
  readonly wait: boolean;
  /** `-j MASQUERADE --random-fully` exists (>= 1.6.2). */
  readonly randomFully: boolean;
  /** For the log: rules are spread over both modes, and what to do. */
  readonly warning?: string;
}

export interface DetectOptions {
  /** Families that must be usable. */
  readonly families: readonly Family[];
}

/** iptables is missing; the message says what to install. */
export class IptablesMissingError extends Error {
  override readonly name = "IptablesMissingError";
}

const MODES: readonly IptablesMode[] = ["nft", "legacy"];
const PROBE_TIMEOUT_MS = 10_000;

interface Found {
  readonly variant: IptablesVariant;
  readonly evidence: ModeEvidence;
}

/**
 * Finds the iptables mode as kubernetes-sigs/iptables-wrappers does: the mode that holds the kubelet's hint chains, else
 * the one with more rules, else what plain `iptables` is.
 * @throws {IptablesMissingError} if there is none, or none for a wanted family
 */
export async function detectIptablesVariant(
  options: DetectOptions,
  modules: { readonly exec: Exec },
): Promise<IptablesVariant> {
  const plain = await probeVersion(modules.exec, "iptables");
  const found = await findModes(modules.exec, plain);
  const [first] = found.values();
  if (first === undefined) throw new IptablesMissingError(missingMessage("iptables"));
  const evidence = Object.fromEntries([...found].map(([mode, { evidence }]) => [mode, evidence]));
  const mode = chooseMode(evidence, plain?.mode);
  const { variant } = found.get(mode) ?? first;
  for (const family of options.families) {
    if (variant.binaries[family] === undefined) {
      throw new IptablesMissingError(missingMessage(family === 4 ? "iptables" : "ip6tables", variant.mode));
    }
  }
  const warning = describeBothModes(evidence, variant.mode);
  return warning === undefined ? variant : { ...variant, warning };
}

/** Every mode that is installed: what a clean-up has to look at. Empty if there is no iptables. */
export async function listIptablesVariants(modules: {
  readonly exec: Exec;
}): Promise<readonly IptablesVariant[]> {
  const found = await findModes(modules.exec, await probeVersion(modules.exec, "iptables"));
  return [...found.values()].map(({ variant }) => variant);
}

async function findModes(
  exec: Exec,
  plain: ToolVersion | undefined,
): Promise<ReadonlyMap<IptablesMode, Found>> {
  const found = new Map<IptablesMode, Found>();
  for (const mode of MODES) {
    const version =
      (await probeVersion(exec, `iptables-${mode}`)) ?? (plain?.mode === mode ? plain : undefined);
    if (version === undefined) continue;
    const binaries: Partial<Record<Family, IptablesBinaries>> = {};
    let evidence: ModeEvidence = { hint: false, rules: 0, ours: 0 };
    for (const family of [4, 6] as const) {
      const probe = await probeFamily(exec, family, mode);
      if (probe === undefined) continue;
      binaries[family] = probe.binaries;
      evidence = joinEvidence(evidence, probe.evidence);
    }
    if (Object.keys(binaries).length === 0) continue;
    const recent = isAtLeast(version.version, "1.6.2");
    const variant = { mode, version: version.version, binaries, wait: recent, randomFully: recent };
    found.set(mode, { variant, evidence });
  }
  return found;
}

/** The save and restore programs of a family, found by running the former; plain names where they are of this mode. */
async function probeFamily(
  exec: Exec,
  family: Family,
  mode: IptablesMode,
): Promise<{ binaries: IptablesBinaries; evidence: ModeEvidence } | undefined> {
  const name = family === 4 ? "iptables" : "ip6tables";
  for (const program of [`${name}-${mode}`, name]) {
    const version = await probeVersion(exec, program);
    if (version?.mode !== mode) continue;
    const saved = await run(exec, `${program}-save`, []);
    const evidence = evidenceOf(parseIptablesSave(saved ?? ""));
    return { binaries: { save: `${program}-save`, restore: `${program}-restore` }, evidence };
  }
  return undefined;
}

async function probeVersion(exec: Exec, program: string): Promise<ToolVersion | undefined> {
  const text = await run(exec, program, ["--version"]);
  return text === undefined ? undefined : parseVersion(text);
}

/** Output, or undefined if the program is not there or failed: either way there is nothing to learn from it. */
async function run(exec: Exec, program: string, args: readonly string[]): Promise<string | undefined> {
  try {
    return (await exec(program, args, { timeoutMs: PROBE_TIMEOUT_MS })).stdout;
  } catch (error) {
    if (error instanceof ExecError) return undefined;
    throw error;
  }
}

function missingMessage(program: string, mode?: IptablesMode): string {
  const which = mode === undefined ? program : `${program}-${mode} (the host uses the ${mode} mode)`;
  return (
    `${which} is not installed, so masquerade and forward rules cannot be written; install iptables ` +
    "(Debian, Ubuntu, Alpine, Fedora: iptables; RHEL 9: iptables-nft), " +
    "or start with --ip-masq=false --iptables-forward-rules=false"
  );
}
