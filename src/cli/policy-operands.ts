// Words of the command line that name objects: `netpol web`, `networkpolicy/web`, `ns a b`. Pure.
import { explainUnknownKind, findKind } from "./policy-kinds.ts";
import type { Identity, ObjectKind } from "./policy-kinds.ts";

export interface Selection {
  readonly kind: ObjectKind;
  /** Absent: all. */
  readonly name?: string;
}

/** What the operands name, or why they name nothing. */
export function parseSelections(operands: readonly string[]): readonly Selection[] | string {
  const [first = "", ...names] = operands;
  if (operands.some((operand) => operand.includes("/"))) {
    const pairs = operands.map((operand) => operand.split("/"));
    const odd = operands.find((_, index) => pairs[index]?.length !== 2 || pairs[index]?.includes(""));
    if (odd !== undefined) return `"${odd}" is not KIND/NAME; write all objects so, or KIND NAME...`;
    const unknown = pairs.map(([word = ""]) => word).find((word) => findKind(word) === undefined);
    if (unknown !== undefined) return explainUnknownKind(unknown);
    return pairs.flatMap(([word = "", name = ""]) => {
      const kind = findKind(word);
      return kind ? [{ kind, name }] : [];
    });
  }
  const kind = findKind(first);
  if (kind === undefined) return explainUnknownKind(first);
  return names.length === 0 ? [{ kind }] : names.map((name) => ({ kind, name }));
}

export function identify(kind: ObjectKind, name: string, namespace = "default"): Identity {
  return kind.isNamespaced ? { kind, name, namespace } : { kind, name };
}

/** As kubectl says it. */
export function describeAbsent({ kind, name }: Identity): string {
  return `Error (NotFound): ${kind.plural}${kind.group} "${name}" not found`;
}
