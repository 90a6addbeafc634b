// `policy delete`: takes objects out of etcd, by name or as a file names them; a namespace goes with what is in it.
import { MAX_TRANSACTION_SIZE } from "../etcd/client.ts";
import type { EtcdClient, EtcdWrite } from "../etcd/client.ts";
import { printable } from "../net/printable.ts";
import { formatPolicyKey, parsePolicyKey, policyKeyPrefix } from "../policy/etcd-keys.ts";
import { isObject } from "../policy/problems.ts";
import { readInputs } from "./policy-input.ts";
import { NAMESPACE, POD, policyKeyOf, WRITABLE_KINDS } from "./policy-kinds.ts";
import type { Identity } from "./policy-kinds.ts";
import { describeAbsent, identify, parseSelections } from "./policy-operands.ts";
import { withEtcd } from "./policy-store.ts";
import { identityOf } from "./policy-validate.ts";
import { DONE, FAILED, MISUSED } from "./policy.ts";
import type { PolicyCall } from "./policy.ts";

const USAGE = `Usage: flanneld-ts policy delete KIND NAME... [-n NAMESPACE] [--ignore-not-found]
       flanneld-ts policy delete -f FILE|FOLDER|- [-n NAMESPACE] [--ignore-not-found]
`;

export async function runPolicyDelete(call: PolicyCall): Promise<number> {
  const { flags, operands, stderr } = call;
  if ((flags.filename === undefined) === (operands.length === 0)) {
    stderr.write(USAGE);
    return MISUSED;
  }
  const chosen = flags.filename === undefined ? named(call) : await fromFiles(flags.filename, call);
  if (typeof chosen === "string") {
    stderr.write(`${printable(chosen)}\n${flags.filename === undefined ? USAGE : "Nothing was deleted.\n"}`);
    return flags.filename === undefined ? MISUSED : FAILED;
  }
  return withEtcd(call, async (client) => {
    let missing = 0;
    for (const identity of chosen) {
      const problem = await remove(client, identity, call.etcdPrefix);
      if (problem === undefined) {
        call.stdout.write(`${identity.kind.singular}${identity.kind.group} "${identity.name}" deleted\n`);
      } else if (flags["ignore-not-found"] !== true) {
        stderr.write(`${printable(problem)}\n`);
        missing += 1;
      }
    }
    return missing === 0 ? DONE : FAILED;
  });
}

function named({ operands, flags }: PolicyCall): readonly Identity[] | string {
  const selections = parseSelections(operands);
  if (typeof selections === "string") return selections;
  const readOnly = selections.find(({ kind }) => kind.isReadOnly);
  if (readOnly !== undefined)
    return `${readOnly.kind.plural} are registered by their daemons, and go with them`;
  const identities = selections.flatMap(({ kind, name }) =>
    name === undefined ? [] : [identify(kind, name, flags.namespace)],
  );
  return identities.length < selections.length ? "which one? Name it" : identities;
}

/** Only who the objects are counts: what was stored by other means may have faults. */
async function fromFiles(files: readonly string[], call: PolicyCall): Promise<readonly Identity[] | string> {
  const identities: Identity[] = [];
  for (const { source, input, problem } of await readInputs(files, call.stdin)) {
    if (problem !== undefined) return `${source}: ${problem}`;
    const kind = isObject(input) ? WRITABLE_KINDS.find((known) => known.kind === input["kind"]) : undefined;
    const metadata = isObject(input) && isObject(input["metadata"]) ? input["metadata"] : {};
    const complaints: string[] = [];
    const report = (path: string, message: string): void => void complaints.push(`${path}: ${message}`);
    const identity = kind && identityOf(kind, metadata, call.flags.namespace, report);
    const [complaint] = complaints;
    if (complaint !== undefined) return `${source}: ${complaint}`;
    if (identity === undefined)
      return `${source}: kind and metadata.name must say which object is meant (${WRITABLE_KINDS.map((known) => known.kind).join(", ")})`;
    identities.push(identity);
  }
  return identities.length === 0 ? "no objects in the input" : identities;
}

/** @returns why it could not be deleted */
async function remove(client: EtcdClient, identity: Identity, prefix: string): Promise<string | undefined> {
  const { kind, name } = identity;
  if (kind === NAMESPACE) return removeNamespace(client, name, prefix);
  if (await client.delete(formatPolicyKey(prefix, policyKeyOf(identity)))) return undefined;
  const absent = describeAbsent(identity);
  return kind === POD ? `${absent} (a pod that a daemon has registered goes with its container)` : absent;
}

async function removeNamespace(
  client: EtcdClient,
  name: string,
  prefix: string,
): Promise<string | undefined> {
  const { kvs } = await client.list(policyKeyPrefix(prefix));
  const writes = kvs.flatMap(({ key: text }): readonly EtcdWrite[] => {
    const key = parsePolicyKey(prefix, text);
    const isInside = (key?.kind === "policies" || key?.kind === "pods") && key.namespace === name;
    return isInside || (key?.kind === "namespaces" && key.name === name)
      ? [{ type: "delete", key: text }]
      : [];
  });
  for (let from = 0; from < writes.length; from += MAX_TRANSACTION_SIZE)
    await client.transact(writes.slice(from, from + MAX_TRANSACTION_SIZE));
  return writes.length > 0 ? undefined : describeAbsent({ kind: NAMESPACE, name });
}
