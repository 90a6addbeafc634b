// The text of `policy explain`, for a person. Pure.
import { printable } from "../net/printable.ts";
import type {
  ExplainedDirection,
  ExplainedPair,
  ExplainReport,
  KernelReport,
  Reachability,
} from "../policy/explain-report.ts";
import type { Direction } from "../policy/snapshot.ts";

const HEADLINES: Readonly<Record<Reachability, string>> = {
  allowed: "ALLOWED",
  denied: "DENIED",
  partly: "PARTLY ALLOWED",
};

export function renderExplain(report: ExplainReport): string {
  const { from, to, asked, verdict, pairs, notes, kernel, node } = report;
  const lines = [
    `${HEADLINES[verdict]}: ${from} to ${to}, ${asked}`,
    ...groupPairs(pairs).flatMap(renderGroup),
    ...(kernel ? ["", ...renderKernel(kernel, node)] : []),
    ...(notes.length > 0 ? ["", ...notes.map((note) => `Note: ${note}`)] : []),
  ];
  return `${lines.map((line) => printable(line).trimEnd()).join("\n")}\n`;
}

/** Pairs about which the same is to be said. */
function groupPairs(pairs: readonly ExplainedPair[]): readonly (readonly ExplainedPair[])[] {
  const text = ({ verdict, open, egress, ingress }: ExplainedPair): string =>
    JSON.stringify([verdict, open, egress.text, egress.nearest, ingress.text, ingress.nearest]);
  return [...Map.groupBy(pairs, text).values()];
}

function renderGroup(group: readonly ExplainedPair[]): readonly string[] {
  const [first] = group;
  if (first === undefined) return [];
  const addresses = group.map(
    ({ src, dst, service, verdict, open }) =>
      `  ${src} -> ${dst}, ${service}: ${open ? `only ${open.join("; ")}` : verdict}`,
  );
  return [
    "",
    ...addresses,
    ...renderDirection("egress", first.egress, first.verdict),
    ...renderDirection("ingress", first.ingress, first.verdict),
  ];
}

/** What is allowed in part, each direction allows in part. */
function renderDirection(
  direction: Direction,
  { verdict, text, nearest }: ExplainedDirection,
  whole: Reachability,
): readonly string[] {
  const mark = verdict === "accept" ? "ok" : whole === "partly" ? "PART" : "NO";
  const line = `    ${direction.padEnd(7)} ${mark.padEnd(4)}  ${text}`;
  return nearest === undefined ? [line] : [line, `${" ".repeat(18)}nearest rule: ${nearest}`];
}

function renderKernel(kernel: KernelReport, node: string): readonly string[] {
  const { state, facts, differences, cure, checked, denied } = kernel;
  if (state === "not-asked") return [`Kernel of ${node}: not asked, since neither end is a pod of this node`];
  const counts = denied.map(
    ({ pod, direction, packets }) =>
      `  ${direction} of ${pod}: ${packets} ${packets === 1 ? "packet" : "packets"} denied so far`,
  );
  if (state === "agrees")
    return [
      `Kernel of ${node}: agrees; ${checked} chains, jumps and members are as they should be`,
      ...facts.map((fact) => `  ${fact}`),
      ...counts,
    ];
  return [
    `THE KERNEL OF ${node} DISAGREES: what is above is not what happens to packets now`,
    ...differences.map((difference) => `  ${difference}`),
    ...(cure === undefined ? [] : [`  Cure: ${cure}`]),
    ...counts,
  ];
}
