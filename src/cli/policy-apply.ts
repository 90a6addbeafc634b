// `policy apply`: checks every object of the input, and writes all of them in one transaction or none.
import type { EtcdClient } from "../etcd/client.ts";
import { leaseKeyPrefix } from "../ipam/etcd-lease-codec.ts";
import { printable } from "../net/printable.ts";
import { policyKeyPrefix } from "../policy/etcd-keys.ts";
import { formatProblem } from "../policy/problems.ts";
import { describeUncovered } from "./policy-coverage.ts";
import { readInputs } from "./policy-input.ts";
import { describeObject } from "./policy-kinds.ts";
import type { InputDocument } from "./policy-parse.ts";
import { planChange, readStored, tooMany, withEtcd } from "./policy-store.ts";
import { validateObject } from "./policy-validate.ts";
import type { Manifest, Validated } from "./policy-validate.ts";
import type { Identity } from "./policy-kinds.ts";
import { DONE, FAILED, MISUSED } from "./policy.ts";
import type { PolicyCall } from "./policy.ts";

/** Somebody else wrote one of the objects between our reading and writing; more often than this is not chance. */
const ATTEMPTS = 5;

interface Wanted {
  readonly identity: Identity;
  readonly manifest: Manifest;
}

export async function runPolicyApply(call: PolicyCall): Promise<number> {
  const { flags, operands, stderr, stdin } = call;
  if (flags.filename === undefined || operands.length > 0) {
    stderr.write("Usage: flanneld-ts policy apply -f FILE|FOLDER|- [-n NAMESPACE]\n");
    return MISUSED;
  }
  const documents = await readInputs(flags.filename, stdin);
  const checked = documents.map((document) => ({ document, validated: validate(document, flags.namespace) }));
  const wanted = checked.flatMap(({ validated: { identity, manifest } }) =>
    identity && manifest ? [{ identity, manifest }] : [],
  );
  const refusals = [
    ...checked.filter(({ validated }) => validated.problems.length > 0).map(describeRefusal),
    ...describeRepeated(wanted),
    ...(documents.length === 0 ? ["no objects in the input\n"] : []),
    ...[tooMany(wanted.length) ?? []].flat().map((text) => `${text}\n`),
  ];
  if (refusals.length > 0) {
    stderr.write(`${refusals.join("")}Nothing was written.\n`);
    return FAILED;
  }
  return withEtcd(call, async (client) => {
    const code = await write(client, wanted, call);
    if (code === DONE) await warnOfUncovered(client, call);
    return code;
  });
}

async function warnOfUncovered(client: EtcdClient, { etcdPrefix, stderr }: PolicyCall): Promise<void> {
  const [registered, leased] = await Promise.all([
    client.list(`${policyKeyPrefix(etcdPrefix)}nodes/`),
    client.list(leaseKeyPrefix(etcdPrefix)),
  ]);
  const warning = describeUncovered(etcdPrefix, { registered: registered.kvs, leased: leased.kvs });
  if (warning !== undefined) stderr.write(`${printable(warning)}\n`);
}

function validate({ input, problem }: InputDocument, namespace: string | undefined): Validated {
  if (problem !== undefined) return { problems: [{ path: "", message: problem }] };
  return validateObject(input, namespace);
}

/** Worded as the API server words it. */
function describeRefusal({
  document,
  validated: { identity, problems },
}: {
  readonly document: InputDocument;
  readonly validated: Validated;
}): string {
  const who = identity ? `The ${identity.kind.kind} "${identity.name}" is invalid` : "An object is invalid";
  const lines = problems.map((problem) => `* ${printable(formatProblem(problem))}\n`);
  return `${printable(who)} (${printable(document.source)}):\n${lines.join("")}`;
}

function describeRepeated(wanted: readonly Wanted[]): readonly string[] {
  const names = wanted.map(
    ({ identity }) => `${describeObject(identity)} of ${identity.namespace ?? "the cluster"}`,
  );
  const repeated = new Set(names.filter((name, index) => names.indexOf(name) !== index));
  return [...repeated].map((name) => `${name} is given more than once\n`);
}

async function write(client: EtcdClient, wanted: readonly Wanted[], call: PolicyCall): Promise<number> {
  for (let attempt = 1; attempt <= ATTEMPTS; attempt += 1) {
    const changes = await Promise.all(
      wanted.map(async ({ identity, manifest }) => ({
        identity,
        ...planChange(manifest, await readStored(client, call.etcdPrefix, identity)),
      })),
    );
    const writes = changes.flatMap((change) => change.writes);
    const conditions = changes.flatMap((change) => change.conditions);
    if (writes.length > 0 && !(await client.transact(writes, conditions))) continue;
    for (const { identity, outcome } of changes)
      call.stdout.write(`${describeObject(identity)} ${outcome}\n`);
    return DONE;
  }
  call.stderr.write("Somebody else changes the same objects all the time; nothing was written. Try again.\n");
  return FAILED;
}
