// Compiled policy as text for people: sets with what they are about, chains in the order in which a packet meets them.
import type { CompiledPolicy } from "../../src/policy/compile.ts";
import { formatSetSpec } from "../../src/policy/sets.ts";

/** Rules as iptables-save prints them, without the `-A CHAIN`. */
export function policyText({ firewall, sets, profiles, specs }: CompiledPolicy): string {
  const notes = new Map([
    ...[...specs].map(([name, spec]) => [name, formatSetSpec(spec)] as const),
    ...profiles.map(
      ({ set, policies, direction }) => [set, `${direction} isolated by ${policies.join(", ")}`] as const,
    ),
  ]);
  const setLines = sets.flatMap(({ name, type, members, counters }) => [
    `set ${name} ${type}${counters ? " counters" : ""}${notes.has(name) ? `  # ${notes.get(name)}` : ""}`,
    ...Array.from(members, (member) => `  ${member}`),
  ]);
  const jumps = firewall.flatMap((row) =>
    row.kind === "jump" ? `${row.from} (${row.position}): ${ruleText(row.rule)}` : [],
  );
  const chains = firewall.flatMap((row) => {
    if (row.kind !== "chain") return [];
    const profile = profiles.find(({ chain, family }) => chain === row.name && family === row.family);
    const title = profile ? `chain ${row.name}  # ${profile.pods.join(", ")}` : `chain ${row.name}`;
    return [title, ...row.rules.map((rule) => `  ${ruleText(rule)}`)];
  });
  return `${[...setLines, "", ...jumps, "", ...chains].join("\n")}\n`;
}

function ruleText(rule: readonly string[]): string {
  return rule.map((token) => (/[\s,]/.test(token) && token.includes(" ") ? `"${token}"` : token)).join(" ");
}
