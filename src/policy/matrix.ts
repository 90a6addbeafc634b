// Who reaches whom: the evaluator's verdict on every pair of pods, row by row. Pure.
import { familyOf } from "../net/ip.ts";
import type { Ip } from "../net/ip.ts";
import { indexCluster } from "./cluster-index.ts";
import type { AddressedPod } from "./cluster-index.ts";
import { createEvaluator } from "./evaluate.ts";
import type { Service } from "./explain-question.ts";
import type { Reachability } from "./explain-report.ts";
import { formatService } from "./explain.ts";
import { echoPacket, joinReachability, newPacket, policiesByKey, reachOf } from "./reach.ts";
import type { ReachInput } from "./reach.ts";
import type { PolicySemantics } from "./settings.ts";
import { objectKey } from "./snapshot.ts";
import type { PolicySnapshot } from "./snapshot.ts";

export interface MatrixQuestion {
  /** Only pods of this namespace. */
  readonly namespace?: string;
  /** Absent: every protocol and port. */
  readonly service?: Service;
}

/** `none`: no address of one family, or no port of that name. */
export type MatrixCell = Reachability | "none";

export interface MatrixReport {
  readonly node: string;
  readonly namespace?: string;
  /** In words. */
  readonly asked: string;
  /** `namespace/name`: rows from and columns to, in this order. */
  readonly pods: readonly string[];
  /** Pods that would be in it, had it no bound. */
  readonly total: number;
  /** `cells[from][to]` */
  readonly cells: readonly (readonly MatrixCell[])[];
}

/** A table of more is neither read nor quickly made. */
const MAX_PODS = 50;

export interface MatrixPlan extends Omit<MatrixReport, "cells"> {
  /** One row of cells for each pod; each is as much work as a daemon should do without a pause. */
  readonly rows: Iterable<readonly MatrixCell[]>;
}

export function planMatrix(
  snapshot: PolicySnapshot,
  semantics: PolicySemantics,
  { namespace, service }: MatrixQuestion,
): MatrixPlan {
  const { podsByNamespace } = indexCluster(snapshot);
  const all = [...podsByNamespace].flatMap(([name, pods]) =>
    namespace === undefined || name === namespace ? pods : [],
  );
  const shown = all
    .map((addressed) => ({ key: objectKey(addressed.pod), addressed }))
    .sort((a, b) => (a.key < b.key ? -1 : 1))
    .slice(0, MAX_PODS);
  const pods = shown.map(({ addressed }) => addressed);
  return {
    node: snapshot.nodeName,
    ...(namespace !== undefined && { namespace }),
    asked: formatService(service),
    pods: shown.map(({ key }) => key),
    total: all.length,
    rows: rowsOf(pods, service, inputOf(snapshot, semantics, pods)),
  };
}

/** Policies of other namespaces select none of the pods. */
function inputOf(
  snapshot: PolicySnapshot,
  semantics: PolicySemantics,
  pods: readonly AddressedPod[],
): Omit<ReachInput, "namedPorts"> {
  const namespaces = new Set(pods.map(({ pod }) => pod.namespace));
  const policies = snapshot.policies.filter((policy) => namespaces.has(policy.namespace));
  return {
    evaluate: createEvaluator({ ...snapshot, policies }, semantics),
    policies: policiesByKey(policies),
  };
}

function* rowsOf(
  pods: readonly AddressedPod[],
  service: Service | undefined,
  input: Omit<ReachInput, "namedPorts">,
): Iterable<readonly MatrixCell[]> {
  for (const from of pods) yield pods.map((to) => cellOf(from, to, service, input));
}

function cellOf(
  from: AddressedPod,
  to: AddressedPod,
  service: Service | undefined,
  input: Omit<ReachInput, "namedPorts">,
): MatrixCell {
  const answers = from.ips.flatMap((src) =>
    to.ips
      .filter((dst) => familyOf(dst) === familyOf(src))
      .flatMap((dst) => answersOf(src, dst, to, service, input)),
  );
  return answers.length === 0 ? "none" : joinReachability(answers);
}

function answersOf(
  src: Ip,
  dst: Ip,
  { pod }: AddressedPod,
  service: Service | undefined,
  input: Omit<ReachInput, "namedPorts">,
): readonly Reachability[] {
  if (service === undefined)
    return [reachOf(src, dst, { ...input, namedPorts: pod.ports }, true).reachability];
  const packets =
    service.protocol === "ICMP"
      ? [echoPacket(src, dst)]
      : portsOf(service, pod.ports).map((port) => newPacket(src, dst, { protocol: service.protocol, port }));
  return packets.map((packet) => (input.evaluate(packet).verdict === "accept" ? "allowed" : "denied"));
}

function portsOf(
  { protocol, port }: Exclude<Service, { protocol: "ICMP" }>,
  declared: AddressedPod["pod"]["ports"],
): readonly number[] {
  if (typeof port === "number") return [port];
  return declared.flatMap((one) => (one.name === port && one.protocol === protocol ? one.port : []));
}
