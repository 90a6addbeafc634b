// What must become of each probe: by `evaluate`, and by the words in which upstream states it; pure.
import type { PolicyProtocol, Pod, PolicySnapshot, Verdict } from "../../../src/policy/snapshot.ts";
import { createEvaluator } from "../../../src/policy/evaluate.ts";
import { objectKey } from "../../../src/policy/snapshot.ts";

export interface Service {
  readonly port: number;
  readonly protocol: PolicyProtocol;
}

export interface Cell extends Service {
  readonly from: Pod;
  readonly to: Pod;
}

export const formatCell = ({ from, to, port, protocol }: Cell): string =>
  `${objectKey(from)} -> ${objectKey(to)} ${port}/${protocol}`;

/** All pairs, without a pod to itself: that stays in the pod, and upstream's suite leaves it out too. */
export function cellsOf(pods: readonly Pod[], services: readonly Service[]): readonly Cell[] {
  return pods.flatMap((from) =>
    pods
      .filter((to) => to !== from)
      .flatMap((to) => services.map((service): Cell => ({ from, to, ...service }))),
  );
}

export function evaluateCells(snapshot: PolicySnapshot, cells: readonly Cell[]): ReadonlyMap<Cell, Verdict> {
  const evaluate = createEvaluator(snapshot);
  return new Map(
    cells.map((cell) => {
      const { from, to, port, protocol } = cell;
      const [src, dst] = [from.ips[0], to.ips[0]];
      if (src === undefined || dst === undefined) throw new Error("a pod without address");
      return [cell, evaluate({ src, dst, port, protocol, state: "new" }).verdict];
    }),
  );
}

/**
 * Upstream's way to say it: everything is allowed, then statements change that, one after the other. `deny * -> x/a`,
 * `allow y/* -> x/a 80/TCP`, `deny * -> * 81/*`.
 * @throws {Error} for a statement that says nothing of any cell
 */
export function statedVerdicts(
  statements: readonly string[],
  cells: readonly Cell[],
): ReadonlyMap<Cell, Verdict> {
  const verdicts = new Map<Cell, Verdict>(cells.map((cell) => [cell, "accept"]));
  for (const statement of statements) {
    const match = /^(allow|deny) (\S+) -> (\S+)(?: (\d+|\*)\/(\w+|\*))?$/.exec(statement);
    if (match === null) throw new Error(`cannot read "${statement}"`);
    const [, verb, from = "", to = "", port = "*", protocol = "*"] = match;
    const about = cells.filter(
      (cell) =>
        isMeant(from, cell.from) &&
        isMeant(to, cell.to) &&
        (port === "*" || Number(port) === cell.port) &&
        (protocol === "*" || protocol === cell.protocol),
    );
    if (about.length === 0) throw new Error(`"${statement}" is about nothing that is probed`);
    for (const cell of about) verdicts.set(cell, verb === "allow" ? "accept" : "deny");
  }
  return verdicts;
}

function isMeant(pattern: string, { namespace, name }: Pod): boolean {
  if (pattern === "*") return true;
  const [wantedNamespace, wantedName] = pattern.split("/");
  return (
    (wantedNamespace === "*" || wantedNamespace === namespace) && (wantedName === "*" || wantedName === name)
  );
}
