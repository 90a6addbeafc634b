// HostState as text that reads like iproute2's output: golden files are reviewed as documentation.
import type { HostState } from "../../src/host/state.ts";

export function formatHostState(state: HostState): string {
  const lines = [
    ...state.links.map((link) =>
      link.kind === "tun"
        ? `link ${link.name} ${link.kind} mtu ${link.mtu} up`
        : `link ${link.name} ${link.kind} id ${link.vni} dev ${link.uplink} local ${link.local} dstport ${link.port} ` +
          `${link.learning ? "learning" : "nolearning"}${link.gbp ? " gbp" : ""} address ${link.mac} mtu ${link.mtu} up`,
    ),
    ...state.addresses.map(({ ip, prefixLength, dev }) => `address ${ip}/${prefixLength} dev ${dev}`),
    ...state.sysctls.map(({ key, value }) => `sysctl ${key} = ${value}`),
    ...state.neighbors.map(({ ip, dev, mac }) => `neighbor ${ip} dev ${dev} lladdr ${mac} PERMANENT`),
    ...state.fdb.map(({ mac, dev, remote }) => `fdb ${mac} dev ${dev} dst ${remote} self permanent`),
    ...state.routes.map(({ type, dst, via, dev, src, onlink }) =>
      [
        "route",
        type === "blackhole" ? "blackhole" : undefined,
        dst,
        via && `via ${via}`,
        dev && `dev ${dev}`,
        src && `src ${src}`,
        onlink ? "onlink" : undefined,
      ]
        .filter((part) => part !== undefined)
        .join(" "),
    ),
    ...state.firewall.map((row) =>
      row.kind === "jump"
        ? `jump ipv${row.family} ${row.table} ${row.from} (${row.position}): ${row.rule.join(" ")}`
        : [
            `chain ipv${row.family} ${row.table} ${row.name}`,
            ...row.rules.map((rule) => `  ${rule.join(" ")}`),
          ].join("\n"),
    ),
  ];
  return `${lines.join("\n")}\n`;
}
