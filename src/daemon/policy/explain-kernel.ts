// Whether the kernel holds what a verdict follows from: chains, the rules that lead to them, members of sets, counters.
import type { FirewallRow } from "../../host/state.ts";
import { ExecError } from "../../kernel/exec.ts";
import type { Exec } from "../../kernel/exec.ts";
import type { CompiledPolicy } from "../../policy/compile.ts";
import { expectInKernel } from "../../policy/expect-kernel.ts";
import type { ExpectedMember, KernelExpectation } from "../../policy/expect-kernel.ts";
import type { DeniedPackets, ExplainReport, KernelReport } from "../../policy/explain-report.ts";
import { DIRECTIONS } from "../../policy/snapshot.ts";
import type { PolicySnapshot } from "../../policy/snapshot.ts";
import { deniedByPod, localOwners } from "./denied-by-pod.ts";
import type { PolicyReadSource } from "./read-source.ts";

export type KernelModules = Pick<PolicyReadSource, "settings" | "firewall" | "denied" | "exec">;

const CURE =
  "the daemon puts back what others change at its next look at the kernel (--iptables-resync); if this stays, its log says " +
  "why it cannot (journalctl -u flanneld-ts), and something on this host may flush rules or sets (iptables -F, ipset destroy, a firewall's reload)";

export async function askKernel(
  report: ExplainReport,
  plan: { readonly snapshot: PolicySnapshot; readonly compiled: CompiledPolicy },
  modules: KernelModules,
): Promise<KernelReport> {
  const { compiled, snapshot } = plan;
  const localIps = new Set(localOwners(snapshot).keys());
  const podCidrs = snapshot.nodes.find(({ name }) => name === snapshot.nodeName)?.podCidrs ?? [];
  const input = { compiled, settings: modules.settings, localIps, podCidrs };
  const wanted = joinExpectations(report.pairs.map((pair) => expectInKernel(pair, input)));
  if (wanted.facts.length === 0)
    return { state: "not-asked", facts: [], differences: [], checked: 0, denied: [] };
  const differences = [
    ...(await compareFirewall(wanted.firewall, modules)),
    ...(await compareMembers(wanted.members, modules.exec)),
  ];
  return {
    state: differences.length === 0 ? "agrees" : "disagrees",
    facts: wanted.facts,
    differences,
    ...(differences.length > 0 && { cure: CURE }),
    checked: wanted.firewall.length + wanted.members.length,
    denied: await deniedOf(report, snapshot, modules),
  };
}

/** Pairs share most of what they expect. */
function joinExpectations(all: readonly KernelExpectation[]): KernelExpectation {
  const members = new Map(
    all.flatMap(({ members }) => members.map((one) => [`${one.set} ${one.member}`, one] as const)),
  );
  return {
    firewall: [...new Set(all.flatMap(({ firewall }) => firewall))],
    members: [...members.values()],
    facts: [...new Set(all.flatMap(({ facts }) => facts))],
  };
}

async function compareFirewall(
  wanted: readonly FirewallRow[],
  { firewall }: Pick<KernelModules, "firewall">,
): Promise<readonly string[]> {
  let actual: readonly FirewallRow[];
  try {
    actual = await firewall.list();
  } catch (error) {
    if (!(error instanceof ExecError)) throw error;
    return [`the rules cannot be read: ${error.message}`];
  }
  return wanted.flatMap((row) => {
    const sameKey = actual.filter((one) => firewall.key(one) === firewall.key(row));
    if (sameKey.some((one) => firewall.equal(one, row))) return [];
    return describeRow(row, sameKey.length > 0);
  });
}

function describeRow(row: FirewallRow, isThere: boolean): string {
  if (row.kind === "chain")
    return isThere
      ? `chain ${row.name} (IPv${row.family}) has other rules than it should have`
      : `chain ${row.name} (IPv${row.family}) is missing`;
  const target = row.rule.at(-1) ?? "";
  return isThere
    ? `the rule of ${row.from} (IPv${row.family}) that leads to ${target} is not the first one, so others can accept before it`
    : `the rule of ${row.from} (IPv${row.family}) that leads to ${target} is missing: no policy is enforced`;
}

/** Processes at a time: each takes a few milliseconds of one core. */
const CONCURRENCY = 4;

async function compareMembers(wanted: readonly ExpectedMember[], exec: Exec): Promise<readonly string[]> {
  const differences: string[][] = [];
  const queue = wanted.entries();
  const work = async (): Promise<void> => {
    for (const [index, member] of queue) differences[index] = await compareMember(member, exec);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, work));
  return [...new Set(differences.flat())];
}

/** ipset(8): exit 0 if the member is in the set, 1 if it is not, or for an error. */
async function compareMember({ set, member, isIn, meaning }: ExpectedMember, exec: Exec): Promise<string[]> {
  const { exitCode, stderr } = await exec("ipset", ["test", set, member], { allowFailure: true });
  if (exitCode !== 0 && !/ is NOT in set /.test(stderr))
    return [
      /does not exist/.test(stderr)
        ? `set ${set} (${meaning}) is missing`
        : `set ${set} cannot be asked: ${stderr.trim()}`,
    ];
  if ((exitCode === 0) === isIn) return [];
  return [
    isIn
      ? `${member} is not in set ${set} (${meaning}), and should be`
      : `${member} is in set ${set} (${meaning}), and should not be`,
  ];
}

async function deniedOf(
  { pairs }: ExplainReport,
  snapshot: PolicySnapshot,
  { denied, settings }: KernelModules,
): Promise<readonly DeniedPackets[]> {
  if (!settings.countDenied) return [];
  const byPod = deniedByPod(await denied(), snapshot);
  return DIRECTIONS.flatMap((direction) => {
    const pods = new Set(pairs.flatMap((pair) => pair[direction].pod ?? []));
    return [...pods].flatMap((pod) => {
      const packets = byPod.get(pod)?.[direction];
      return packets === undefined ? [] : { pod, direction, packets };
    });
  });
}
