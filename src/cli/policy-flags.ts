// Flags of `flanneld-ts policy`, named and written as kubectl's; all others belong to the daemon's table. Pure.

/** Long names; the value of a flag that may be repeated is its list. */
export interface PolicyFlags {
  readonly filename?: readonly string[];
  readonly namespace?: string;
  readonly output?: string;
  readonly "all-namespaces"?: true;
  readonly "ignore-not-found"?: true;
  readonly port?: string;
}

export type PolicyFlagName = keyof PolicyFlags;

type FlagKind = "list" | "text" | "boolean";

const FLAGS: Readonly<Record<PolicyFlagName, { readonly kind: FlagKind; readonly short?: string }>> = {
  filename: { kind: "list", short: "f" },
  namespace: { kind: "text", short: "n" },
  output: { kind: "text", short: "o" },
  "all-namespaces": { kind: "boolean", short: "A" },
  "ignore-not-found": { kind: "boolean" },
  port: { kind: "text" },
};

export interface SplitFlags {
  readonly flags: PolicyFlags;
  /** All other words, in order. */
  readonly rest: readonly string[];
  readonly problem?: string;
}

/** Takes `-f FILE`, `-f=FILE`, `--filename FILE` and `--filename=FILE` out of the words. */
export function splitPolicyFlags(argv: readonly string[]): SplitFlags {
  const found = new Map<PolicyFlagName, string | true | readonly string[]>();
  const rest: string[] = [];
  const words = [...argv];
  for (let word = words.shift(); word !== undefined; word = words.shift()) {
    const [, written = "", , joined] = /^(--?[A-Za-z][a-z-]*)(=(.*))?$/s.exec(word) ?? [];
    const name = nameOf(written);
    if (name === undefined) {
      rest.push(word);
      continue;
    }
    const { kind } = FLAGS[name];
    if (kind === "boolean") {
      if (joined !== undefined && joined !== "true")
        return { flags: {}, rest, problem: `${written} takes no value` };
      found.set(name, true);
      continue;
    }
    const value = joined ?? words.shift();
    if (value === undefined || value === "") return { flags: {}, rest, problem: `${written} needs a value` };
    const before = found.get(name);
    if (kind === "list")
      found.set(name, [...(Array.isArray(before) ? (before as readonly string[]) : []), value]);
    else found.set(name, value);
  }
  return { flags: Object.fromEntries(found) as PolicyFlags, rest };
}

function nameOf(written: string): PolicyFlagName | undefined {
  const names = Object.keys(FLAGS) as readonly PolicyFlagName[];
  return names.find((name) => written === `--${name}` || written === `-${FLAGS[name].short ?? name}`);
}
