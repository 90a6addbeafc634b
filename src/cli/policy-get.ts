// `policy get`: shows the objects in etcd, as tables or as kubectl's YAML and JSON.
import type { EtcdClient, KeyValue } from "../etcd/client.ts";
import { SILENT_LOGGER } from "../net/logger.ts";
import { printable } from "../net/printable.ts";
import { parsePolicyKey, policyKeyPrefix } from "../policy/etcd-keys.ts";
import { EtcdPolicyState } from "../policy/etcd-policy-state.ts";
import { ObjectFeed } from "../policy/object-feed.ts";
import type { JsonObject } from "../policy/problems.ts";
import type { PolicyEvent } from "../policy/source.ts";
import { describeObject, NAMESPACE, NETWORK_POLICY, NODE, POD } from "./policy-kinds.ts";
import type { Identity, ObjectKind } from "./policy-kinds.ts";
import { describeAbsent, identify, parseSelections } from "./policy-operands.ts";
import type { Selection } from "./policy-operands.ts";
import { parseObject, withEtcd } from "./policy-store.ts";
import { manifestOfNamespace, manifestOfNode, manifestOfPod, renderTable } from "./policy-table.ts";
import type { Shown } from "./policy-table.ts";
import { DONE, FAILED, MISUSED } from "./policy.ts";
import type { PolicyCall } from "./policy.ts";

const USAGE = `Usage: flanneld-ts policy get [KIND [NAME...]] [-n NAMESPACE | -A] [-o yaml|json|name]
KIND is one of networkpolicies (which is meant without one), namespaces, pods, nodes.
Without any of these words it says what is in force on this node, as policy status does.
`;
const OUTPUTS: ReadonlySet<string | undefined> = new Set([undefined, "yaml", "json", "name"]);

export async function runPolicyGet(call: PolicyCall): Promise<number> {
  const { flags, operands, stderr } = call;
  const selections = operands.length === 0 ? [{ kind: NETWORK_POLICY }] : parseSelections(operands);
  if (typeof selections === "string" || !OUTPUTS.has(flags.output)) {
    const problem =
      typeof selections === "string" ? selections : `-o takes yaml, json or name, not ${flags.output}`;
    stderr.write(`${printable(problem)}\n${USAGE}`);
    return MISUSED;
  }
  return withEtcd(call, async (client) => {
    const objects = await readObjects(client, call.etcdPrefix);
    const found: Shown[] = [];
    let missing = 0;
    for (const selection of selections) {
      const matches = select(objects, selection, call);
      found.push(...matches);
      if (selection.name === undefined || matches.length > 0 || flags["ignore-not-found"]) continue;
      stderr.write(
        `${printable(describeAbsent(identify(selection.kind, selection.name, flags.namespace)))}\n`,
      );
      missing += 1;
    }
    if (found.length === 0 && missing === 0) stderr.write(`${describeNothing(selections, call)}\n`);
    if (found.length > 0) call.stdout.write(await render(found, selections, call));
    return missing > 0 ? FAILED : DONE;
  });
}

function select(
  objects: readonly Shown[],
  { kind, name }: Selection,
  { flags }: PolicyCall,
): readonly Shown[] {
  const namespace = flags["all-namespaces"] ? undefined : (flags.namespace ?? "default");
  return objects.filter(
    ({ identity }) =>
      identity.kind === kind &&
      (name === undefined || identity.name === name) &&
      (!kind.isNamespaced || namespace === undefined || identity.namespace === namespace),
  );
}

function describeNothing([selection]: readonly Selection[], { flags }: PolicyCall): string {
  const { kind } = selection ?? { kind: NETWORK_POLICY };
  if (!kind.isNamespaced || flags["all-namespaces"]) return "No resources found";
  const namespace = flags.namespace ?? "default";
  return `No resources found in ${namespace} namespace${flags.namespace === undefined ? " (-A shows those of all)" : ""}.`;
}

async function render(
  found: readonly Shown[],
  selections: readonly Selection[],
  { flags }: PolicyCall,
): Promise<string> {
  const manifests = found.map(({ manifest }) => manifest);
  const isOne = manifests.length === 1 && selections.every(({ name }) => name !== undefined);
  const whole = isOne ? manifests[0] : { apiVersion: "v1", kind: "List", items: manifests };
  if (flags.output === "json") return `${JSON.stringify(whole, undefined, 4)}\n`;
  if (flags.output === "name")
    return found.map(({ identity }) => `${printable(describeObject(identity))}\n`).join("");
  if (flags.output === "yaml") {
    const { stringify } = await import("yaml");
    return stringify(whole, { indentSeq: false, version: "1.1" });
  }
  const kinds = [...new Set(selections.map(({ kind }) => kind))];
  const settings = { withNamespace: flags["all-namespaces"] === true, now: Date.now() };
  const tables = kinds.map((kind) =>
    renderTable(
      kind,
      found.filter(({ identity }) => identity.kind === kind),
      settings,
    ),
  );
  return tables.filter((table) => table !== "").join("\n");
}

/** Everything below the prefix, as daemons see it: pods with what their nodes have registered, namespaces that are only implied. */
async function readObjects(client: EtcdClient, prefix: string): Promise<readonly Shown[]> {
  const { kvs } = await client.list(policyKeyPrefix(prefix));
  const stored = new Map(kvs.flatMap((kv) => identityOfKey(prefix, kv)));
  const shown: Shown[] = [];
  const add = (identity: Identity, fallback: JsonObject): void => {
    shown.push({ identity, manifest: stored.get(idOf(identity)) ?? fallback });
  };
  const onEvent = (event: PolicyEvent): void => {
    if (event.type !== "snapshot") return;
    if (event.kind === "policies")
      for (const { name, namespace } of event.objects) add({ kind: NETWORK_POLICY, name, namespace }, {});
    else if (event.kind === "namespaces")
      for (const object of event.objects)
        add({ kind: NAMESPACE, name: object.name }, manifestOfNamespace(object));
    else if (event.kind === "pods")
      for (const pod of event.objects)
        shown.push({
          identity: { kind: POD, name: pod.name, namespace: pod.namespace },
          manifest: manifestOfPod(pod),
        });
    else
      for (const node of event.objects)
        shown.push({ identity: { kind: NODE, name: node.name }, manifest: manifestOfNode(node) });
  };
  const feed = new ObjectFeed({ onEvent, log: SILENT_LOGGER });
  new EtcdPolicyState(prefix, feed).replace(kvs, { rewound: false });
  const order = (identity: Identity): string => idOf(identity);
  return shown.toSorted((a, b) => (order(a.identity) < order(b.identity) ? -1 : 1));
}

/** The stored object, where there is one of its own and it can be read. */
function identityOfKey(
  prefix: string,
  { key: text, value }: KeyValue,
): readonly (readonly [string, JsonObject])[] {
  const key = parsePolicyKey(prefix, text);
  const object = parseObject(value);
  if (object === undefined) return [];
  if (key?.kind === "policies") return [[idOf({ ...key, kind: NETWORK_POLICY }), object]];
  return key?.kind === "namespaces" ? [[idOf({ kind: NAMESPACE, name: key.name }), object]] : [];
}

function idOf({
  kind,
  namespace = "",
  name,
}: {
  readonly kind: ObjectKind;
  readonly namespace?: string;
  readonly name: string;
}): string {
  return `${kind.plural}/${namespace}/${name}`;
}
