// The flags of NetworkPolicy: their table, and their values as settings. Pure.
import { InvalidValueError } from "../net/errors.ts";
import type { FlagSpec } from "../net/go-flags.ts";
import { DEFAULT_POLICY_SETTINGS } from "../policy/settings.ts";
import type { PolicySettings } from "../policy/settings.ts";

export interface PolicyOptions extends Pick<
  PolicySettings,
  "icmp" | "podToNode" | "hairpin" | "podInterfaces" | "denyWith" | "logGroup"
> {
  /** What becomes of established connections that a changed policy denies. */
  readonly established: "keep" | "end";
  /** Seconds for which CNI ADD waits for the pod's rules. */
  readonly addWait: number;
  /** What CNI ADD does when they do not come: fail, or go on with a pod whose traffic is closed until they do. */
  readonly addFailure: "error" | "proceed";
}

const POLICY = "Network policy";

export const POLICY_FLAGS: readonly FlagSpec[] = [
  {
    kind: "boolean",
    name: "network-policy",
    group: POLICY,
    default: false,
    help: "enforce NetworkPolicy on the pods of this node; false removes what an earlier start has set up for it",
  },
  {
    kind: "list",
    name: "policy-pod-interface",
    group: POLICY,
    default: DEFAULT_POLICY_SETTINGS.podInterfaces,
    valueName: "NAME",
    help: "bridge that pods are attached to; may be repeated, a + at the end stands for any ending",
  },
  {
    kind: "text",
    name: "policy-deny-with",
    group: POLICY,
    default: DEFAULT_POLICY_SETTINGS.denyWith,
    valueName: "drop|reject",
    help: "drop denied packets silently, or refuse them so that clients fail at once",
  },
  {
    kind: "text",
    name: "policy-established",
    group: POLICY,
    default: "end",
    valueName: "end|keep",
    help: "established connections that a changed policy denies: end them, or let them go on until they end",
  },
  {
    kind: "text",
    name: "policy-icmp",
    group: POLICY,
    default: DEFAULT_POLICY_SETTINGS.icmp,
    valueName: "policy|allow-echo",
    help: "ping of isolated pods: only where a rule without ports allows the peer, or always",
  },
  {
    kind: "text",
    name: "policy-pod-to-node",
    group: POLICY,
    default: DEFAULT_POLICY_SETTINGS.podToNode,
    valueName: "policy|allow",
    help: "traffic of pods to their own node: as to any other address, or always allowed",
  },
  {
    kind: "text",
    name: "policy-hairpin",
    group: POLICY,
    default: DEFAULT_POLICY_SETTINGS.hairpin,
    valueName: "allow|policy",
    help: "a pod that reaches itself through a service: always allowed, or as its own rules say",
  },
  {
    kind: "integer",
    name: "policy-log-group",
    group: POLICY,
    default: 0,
    valueName: "N",
    help: "log each denied packet with its pod and the policies that isolate it, at most ten a second: through this NFLOG group, which nobody else may read; 0 turns it off",
  },
  {
    kind: "integer",
    name: "policy-add-wait",
    group: POLICY,
    default: 30,
    valueName: "SECONDS",
    help: "how long CNI ADD waits for the new pod's rules to be in force, 1 to 600",
  },
  {
    kind: "text",
    name: "policy-add-failure",
    group: POLICY,
    default: "error",
    valueName: "error|proceed",
    help: "when they are not by then: fail, so that the runtime tries again, or start the pod, closed until they are",
  },
];

/** The reader of options.ts, as much of it as is used here. Its errors name the flag. */
export interface FlagReader {
  readonly text: (name: string) => string;
  readonly list: (name: string) => readonly string[];
  readonly integer: (name: string, min: number, max: number) => number;
}

/** @throws {InvalidValueError} */
export function readPolicyOptions(read: FlagReader): PolicyOptions {
  const oneOf = <const Choice extends string>(name: string, choices: readonly Choice[]): Choice => {
    const given = read.text(name);
    const choice = choices.find((known) => known === given);
    if (choice === undefined)
      throw new InvalidValueError(`--${name}: "${given}" is unknown; it must be ${choices.join(" or ")}`);
    return choice;
  };
  const logGroup = read.integer("policy-log-group", 0, 65_535);
  return {
    podInterfaces: readInterfaces(read.list("policy-pod-interface")),
    denyWith: oneOf("policy-deny-with", ["drop", "reject"]),
    established: oneOf("policy-established", ["end", "keep"]),
    icmp: oneOf("policy-icmp", ["policy", "allow-echo"]),
    podToNode: oneOf("policy-pod-to-node", ["policy", "allow"]),
    hairpin: oneOf("policy-hairpin", ["allow", "policy"]),
    ...(logGroup !== 0 && { logGroup }),
    addWait: read.integer("policy-add-wait", 1, 600),
    addFailure: oneOf("policy-add-failure", ["error", "proceed"]),
  };
}

/** IFNAMSIZ is 16 with the closing zero; iptables reads a + at the end as a beginning of names. */
function readInterfaces(names: readonly string[]): readonly string[] {
  const given = [...new Set(names.filter((name) => name !== ""))];
  const flag = "--policy-pod-interface";
  if (given.length === 0)
    throw new InvalidValueError(`${flag} must name the bridge of the pods, for example cni0`);
  for (const name of given) {
    if (!/^[A-Za-z0-9_.:@-]{1,15}$/.test(name.replace(/\+$/, "")) || name === "." || name === "..")
      throw new InvalidValueError(
        `${flag}: "${name}" is no name of an interface (at most 15 letters, digits, "_", ".", "-"; a "+" only at its end)`,
      );
  }
  return given;
}
