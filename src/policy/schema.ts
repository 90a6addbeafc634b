// Finds fields that a NetworkPolicy does not have, and says which field was meant or where it belongs.
import { isGiven, isObject } from "./problems.ts";
import type { JsonObject, Report } from "./problems.ts";

/** Shape of the API object: only names of fields; values are checked elsewhere. */
export type Schema =
  | { readonly kind: "object"; readonly fields: Readonly<Record<string, Schema>> }
  | { readonly kind: "list"; readonly item: Schema }
  | { readonly kind: "value" };

const value: Schema = { kind: "value" };
const object = (fields: Readonly<Record<string, Schema>>): Schema => ({ kind: "object", fields });
const list = (item: Schema): Schema => ({ kind: "list", item });
const values = (...names: readonly string[]): Schema =>
  object(Object.fromEntries(names.map((name) => [name, value])));

const SELECTOR = object({
  matchLabels: value,
  matchExpressions: list(values("key", "operator", "values")),
});
const PEER = object({
  podSelector: SELECTOR,
  namespaceSelector: SELECTOR,
  ipBlock: values("cidr", "except"),
});
const PORT = values("protocol", "port", "endPort");

/** networking.k8s.io/v1 NetworkPolicy, and ObjectMeta of meta/v1. */
export const NETWORK_POLICY_SCHEMA: Schema = object({
  apiVersion: value,
  kind: value,
  metadata: values(
    "name", "generateName", "namespace", "labels", "annotations", "uid", "resourceVersion", "generation", "selfLink",
    "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "ownerReferences", "finalizers", "managedFields",
  ), // prettier-ignore
  spec: object({
    podSelector: SELECTOR,
    policyTypes: value,
    ingress: list(object({ from: list(PEER), ports: list(PORT) })),
    egress: list(object({ to: list(PEER), ports: list(PORT) })),
  }),
  status: value,
});

/** A place of the schema on the way from the root to the object at hand, with the path it has or ought to have. */
interface Place {
  readonly schema: Schema;
  readonly path: string;
}

/**
 * Reports every unknown field of `input`. A misplaced field is then read as if it stood where it belongs, so that what is
 * wrong inside it is reported too.
 */
export function reportUnknownFields(input: unknown, schema: Schema, report: Report): void {
  visit(input, "", [{ schema, path: "" }], report);
}

function visit(input: unknown, path: string, places: readonly Place[], report: Report): void {
  const place = places.at(-1);
  if (place === undefined) return;
  const { schema } = place;
  if (schema.kind === "list" && Array.isArray(input)) {
    for (const [index, item] of input.entries()) {
      const step = { schema: schema.item, path: `${place.path}[${index}]` };
      visit(item, `${path}[${index}]`, [...places, step], report);
    }
  }
  if (schema.kind !== "object" || !isObject(input)) return;
  for (const [name, field] of Object.entries(input)) {
    const known = Object.hasOwn(schema.fields, name) ? schema.fields[name] : undefined;
    const at = joinPath(path, name);
    if (known) {
      visit(field, at, [...places, { schema: known, path: joinPath(place.path, name) }], report);
      continue;
    }
    const target = findTarget(name, input, places);
    report(at, target?.message ?? `is no field here; fields are ${Object.keys(schema.fields).join(", ")}`);
    if (target) visit(field, at, target.places, report);
  }
}

interface Target {
  readonly message: string;
  readonly places: readonly Place[];
}

function findTarget(name: string, input: JsonObject, places: readonly Place[]): Target | undefined {
  const here = places.at(-1);
  return (
    (here && sameLevel(name, here, places)) ??
    (here && oneDeeper(name, input, here, places)) ??
    further(name, places)
  );
}

function sameLevel(name: string, here: Place, places: readonly Place[]): Target | undefined {
  const near = nearestField(name, here.schema);
  if (near === undefined) return undefined;
  return { message: `is no field here; did you mean ${near.name}?`, places: extend(places, near) };
}

/** The field belongs into a neighbour: a list item with `ipBlock:` and, wrongly indented, `cidr:` beside it. */
function oneDeeper(
  name: string,
  input: JsonObject,
  here: Place,
  places: readonly Place[],
): Target | undefined {
  if (here.schema.kind !== "object") return undefined;
  const hosts = Object.entries(here.schema.fields).flatMap(([host, schema]) => {
    const near = nearestField(name, schema);
    return near ? [{ host, schema, near }] : [];
  });
  const empty = hosts.filter(({ host }) => Object.hasOwn(input, host) && !isGiven(input[host]));
  const present = hosts.filter(({ host }) => Object.hasOwn(input, host));
  const chosen = [empty, present, hosts].find((some) => some.length > 0);
  const [first] = chosen ?? [];
  if (chosen === undefined || first === undefined) return undefined;
  const where = chosen.map(({ host, near }) => joinPath(joinPath(here.path, host), near.name)).join(" or ");
  const inside = extend(places, { name: first.host, schema: first.schema });
  return {
    message: `belongs inside ${chosen.map(({ host }) => host).join(" or ")}: ${where}${indentHint(input, first.host)}`,
    places: extend(inside, first.near),
  };
}

function indentHint(input: JsonObject, host: string): string {
  return Object.hasOwn(input, host) && !isGiven(input[host]) ? " (indent it further)" : "";
}

/** The field belongs to an object around this one, or somewhere else altogether. */
function further(name: string, places: readonly Place[]): Target | undefined {
  for (let depth = places.length - 2; depth >= 0; depth -= 1) {
    const around = places.slice(0, depth + 1);
    const near = nearestField(name, places[depth]?.schema ?? value);
    if (near) {
      const target = extend(around, near);
      return { message: `belongs at ${target.at(-1)?.path}`, places: target };
    }
  }
  const [root] = places;
  const found = root && searchBelow(name, [root]);
  return found && { message: `belongs at ${found.at(-1)?.path}`, places: found };
}

function searchBelow(name: string, places: readonly Place[]): readonly Place[] | undefined {
  const schema = places.at(-1)?.schema;
  if (schema?.kind === "list")
    return searchBelow(name, [...places, { schema: schema.item, path: `${places.at(-1)?.path}[]` }]);
  if (schema?.kind !== "object") return undefined;
  const near = nearestField(name, schema);
  if (near) return extend(places, near);
  for (const [field, child] of Object.entries(schema.fields)) {
    const found = searchBelow(name, extend(places, { name: field, schema: child }));
    if (found) return found;
  }
  return undefined;
}

interface Field {
  readonly name: string;
  readonly schema: Schema;
}

function extend(places: readonly Place[], field: Field): readonly Place[] {
  return [...places, { schema: field.schema, path: joinPath(places.at(-1)?.path ?? "", field.name) }];
}

function joinPath(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}

/** The field whose name differs by a slip of the pen: case, a plural, up to two letters. */
function nearestField(name: string, schema: Schema): Field | undefined {
  if (schema.kind !== "object") return undefined;
  const lower = name.toLowerCase();
  const ranked = Object.entries(schema.fields)
    .map(([known, child]) => ({
      name: known,
      schema: child,
      distance: editDistance(lower, known.toLowerCase()),
    }))
    .filter((field) => field.distance <= Math.min(2, Math.floor(field.name.length / 3)))
    .sort((a, b) => a.distance - b.distance);
  return ranked[0];
}

/** Levenshtein. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i += 1) {
    const next = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const replaced = (row[j - 1] ?? 0) + Number(a[i - 1] !== b[j - 1]);
      next.push(Math.min(replaced, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}
