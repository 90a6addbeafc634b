// Create, update, patch and delete: what the server sets, keeps, checks and refuses before it stores an object.
import { randomUUID } from "node:crypto";
import { alreadyExists, ApiError, badRequest, conflict, invalid, notFound, unforeseen } from "./api-error.ts";
import type { StatusBody } from "./api-error.ts";
import { withAdmission, withDefaults, withoutEmpty } from "./defaults.ts";
import { isEqualJson, isJsonObject, objectKey, valueAt } from "./objects.ts";
import type { JsonObject, KubeObject, ObjectMeta } from "./objects.ts";
import { invalidPatch } from "./patch.ts";
import type { Patch } from "./patch.ts";
import { apiVersionOf, qualifiedName, resourceType } from "./resources.ts";
import type { ResourcePath, ResourceType } from "./resources.ts";
import type { Store } from "./store.ts";
import { checkObject, checkUpdate, wrongMapValue } from "./validate.ts";

/** The object that a write is for: `name` is always there but for a create. */
export type WriteTarget = ResourcePath;

function timestamp(): string {
  return new Date().toISOString().replace(/\.\d+Z$/, "Z");
}

/** POST to a collection. @throws {ApiError} 400, 404 for the namespace, 409, 422 */
export function createObject(store: Store, { type, namespace }: WriteTarget, body: unknown): KubeObject {
  const object = decodeObject(type, body);
  const { resourceVersion, ...metadata } = withNamespace(type, object.metadata, namespace);
  const name = metadata.name ?? generateName(type, metadata);
  if (type.namespaced) checkNamespace(store, type, namespace ?? "", name);
  const created = withServerFields(type, withAdmission(type, { ...object, metadata: { ...metadata, name } }));
  checkObject(type, created);
  const key = objectKey(created.metadata);
  if (resourceVersion !== undefined && resourceVersion !== "") {
    throw unforeseen("resourceVersion should not be set on objects to be created");
  }
  if (store.get(type.resource, key) !== undefined) throw alreadyExists(type, name);
  return store.put(type.resource, key, created);
}

/** Things are created only in namespaces that are there and stay (admission plugin NamespaceLifecycle). */
function checkNamespace(store: Store, type: ResourceType, namespace: string, name: string): void {
  const found = store.get("namespaces", namespace);
  if (found === undefined) throw notFound(resourceType("namespaces"), namespace);
  if (found.metadata.deletionTimestamp === undefined) return;
  const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
  const message = `namespace ${namespace} is being terminated`;
  const causes = [{ reason: "NamespaceTerminating", message, field: "metadata.namespace" }];
  throw new ApiError(403, "Forbidden", `${qualifiedName(type)} "${name}" is forbidden: ${why}`, {
    details: { name, ...(type.group === "" ? {} : { group: type.group }), kind: type.resource, causes },
  });
}

function generateName(type: ResourceType, { generateName: prefix }: ObjectMeta): string {
  if (prefix !== undefined && prefix !== "") return `${prefix}${randomUUID().slice(-5)}`;
  const message = "Required value: name or generateName is required";
  throw invalid(type, "", [{ reason: "FieldValueRequired", message, field: "metadata.name" }]);
}

/** What the server adds to a new object, whatever the client said. */
export function withServerFields(type: ResourceType, object: KubeObject): KubeObject {
  const { kind: _kind, apiVersion: _apiVersion, ...fields } = withoutEmpty(object) as KubeObject;
  const { metadata } = fields;
  return withDefaults(type, {
    ...fields,
    metadata: {
      ...metadata,
      uid: metadata.uid ?? randomUUID(),
      creationTimestamp: metadata.creationTimestamp ?? timestamp(),
      ...(type.hasGeneration ? { generation: metadata.generation ?? 1 } : {}),
    },
  });
}

/** PUT of an object or of its status. @throws {ApiError} 400, 404, 409, 422 */
export function updateObject(store: Store, target: WriteTarget, body: unknown): KubeObject {
  const object = decodeObject(target.type, body);
  const name = object.metadata.name ?? "";
  if (name !== target.name) throw wrongName(name, target.name ?? "");
  if (target.type.resource === "leases" && (object.metadata.resourceVersion ?? "") === "") {
    const message = "Invalid value: 0x0: must be specified for an update";
    const problem = { reason: "FieldValueInvalid", message, field: "metadata.resourceVersion" } as const;
    throw invalid({ ...target.type, kind: "leases" }, name, [problem]);
  }
  return replaceObject(store, target, currentObject(store, target), object);
}

/** PATCH of an object or of its status. @throws {ApiError} 400, 404, 409, 422 */
export function patchObject(store: Store, target: WriteTarget, patch: Patch): KubeObject {
  const { type, namespace, name = "" } = target;
  const isThere = store.get(type.resource, objectKey({ namespace, name })) !== undefined;
  if (!isThere && patch.created !== undefined) {
    const { metadata } = patch.created;
    const named = { ...(isJsonObject(metadata) ? metadata : {}), name };
    return createObject(store, target, { ...patch.created, metadata: named });
  }
  const current = currentObject(store, target);
  const patched = patch.apply({ kind: type.kind, apiVersion: apiVersionOf(type), ...current });
  const wrong = isJsonObject(patched) ? wrongMapValue(patched["metadata"]) : undefined;
  if (wrong !== undefined && patch.type === "application/apply-patch+yaml") {
    throw unforeseen(`failed to create typed patch object: .metadata.${wrong.path}: expected string`);
  }
  if (wrong !== undefined) throw invalidPatch(JSON.stringify(patched), "cannot convert to string");
  const asked = decodeObject(type, patched);
  if (asked.metadata.name !== name) throw wrongName(asked.metadata.name, name);
  return replaceObject(store, target, current, asked);
}

function wrongName(said: string, name: string): ApiError {
  return badRequest(`the name of the object (${said}) does not match the name on the URL (${name})`);
}

function currentObject(store: Store, { type, namespace, name = "" }: WriteTarget): KubeObject {
  const current = store.get(type.resource, objectKey({ namespace, name }));
  if (current === undefined) throw notFound(type, name);
  return current;
}

function replaceObject(
  store: Store,
  target: WriteTarget,
  current: KubeObject,
  asked: KubeObject,
): KubeObject {
  const { type, name = "" } = target;
  const metadata = withNamespace(type, asked.metadata, target.namespace);
  const { resourceVersion: seen = "", uid = current.metadata.uid } = metadata;
  if (!/^\d*$/.test(seen)) {
    throw unforeseen(`strconv.ParseUint: parsing ${JSON.stringify(seen)}: invalid syntax`);
  }
  if (uid !== current.metadata.uid) {
    const why = `Precondition failed: UID in precondition: ${uid}, UID in object meta: ${current.metadata.uid}`;
    throw conflict(type, name, why);
  }
  if (seen !== "" && seen !== "0" && seen !== current.metadata.resourceVersion) throw conflict(type, name);
  const updated = keepWhatIsNotTheirs(target, current, withoutEmpty({ ...asked, metadata }) as KubeObject);
  const complete = withDefaults(type, updated);
  checkObject(type, complete);
  checkUpdate(type, current, complete);
  const key = objectKey(complete.metadata);
  // A pod in its grace period stays for its kubelet.
  const isGoing =
    complete.metadata.deletionTimestamp !== undefined &&
    (complete.metadata.deletionGracePeriodSeconds ?? 0) === 0;
  const hadFinalizers = (current.metadata.finalizers ?? []).length > 0;
  // The last finalizer is gone: now the object goes too.
  if (isGoing && hadFinalizers && (complete.metadata.finalizers ?? []).length === 0) {
    store.remove(type.resource, key);
    return complete;
  }
  return store.put(type.resource, key, complete);
}

/** The status is written through /status alone and the spec never through it; labels and annotations go either way. */
function keepWhatIsNotTheirs(
  { type, subresource }: WriteTarget,
  current: KubeObject,
  asked: KubeObject,
): KubeObject {
  const { kind: _kind, apiVersion: _apiVersion, ...fields } = asked;
  const kept = subresource === "status" ? ["spec"] : type.hasStatus ? ["status"] : [];
  const merged: Record<string, unknown> = { ...fields };
  for (const field of kept) {
    if (field in current) merged[field] = current[field];
    else delete merged[field];
  }
  const { uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds, generation } =
    current.metadata;
  const isNewSpec = type.hasGeneration && !isEqualJson(merged["spec"], current["spec"]);
  const metadata = {
    ...asked.metadata,
    ...definedOnly({ uid, creationTimestamp, deletionTimestamp, deletionGracePeriodSeconds }),
    ...(generation === undefined ? {} : { generation: generation + (isNewSpec ? 1 : 0) }),
  };
  return { ...merged, metadata };
}

/**
 * DELETE of an object; `options` is the body, a DeleteOptions. A pod on a node, and an object with finalizers, is only
 * marked as going. @throws {ApiError} 404, 409 for a failed precondition
 */
export function deleteObject(store: Store, target: WriteTarget, options: unknown): KubeObject | StatusBody {
  const { type, name = "" } = target;
  const current = currentObject(store, target);
  checkPreconditions(type, current, options);
  const graceSeconds = gracePeriodSeconds(type, current, options);
  const key = objectKey(current.metadata);
  const hasFinalizers = (current.metadata.finalizers ?? []).length > 0 || type.resource === "namespaces";
  if (graceSeconds > 0 || hasFinalizers) {
    const { deletionGracePeriodSeconds: leftSeconds } = current.metadata;
    if (leftSeconds !== undefined && graceSeconds >= leftSeconds) return current;
    return store.put(type.resource, key, markDeleted(type, current, graceSeconds));
  }
  if (type.resource === "pods") {
    // Their end is told twice: that they go now, and that they are gone.
    const going = store.put(type.resource, key, markDeleted(type, current, 0));
    store.remove(type.resource, key);
    return going;
  }
  store.remove(type.resource, key);
  const { uid } = current.metadata;
  const group = type.group === "" ? {} : { group: type.group };
  const details = { name, ...group, kind: type.resource, ...(uid === undefined ? {} : { uid }) };
  return { kind: "Status", apiVersion: "v1", metadata: {}, status: "Success", details };
}

function gracePeriodSeconds(type: ResourceType, current: KubeObject, options: unknown): number {
  // Only pods that a kubelet may be running go gracefully.
  const phase = valueAt(current, "status.phase");
  const isRunning = type.resource === "pods" && (valueAt(current, "spec.nodeName") ?? "") !== "";
  if (!isRunning || phase === "Succeeded" || phase === "Failed") return 0;
  const asked =
    valueAt(options, "gracePeriodSeconds") ?? valueAt(current, "spec.terminationGracePeriodSeconds");
  return typeof asked === "number" ? asked : 30;
}

function markDeleted(type: ResourceType, current: KubeObject, graceSeconds: number): KubeObject {
  const deletionTimestamp = current.metadata.deletionTimestamp ?? timestamp();
  const metadata = { ...current.metadata, deletionTimestamp, deletionGracePeriodSeconds: graceSeconds };
  if (type.resource !== "namespaces") return { ...current, metadata };
  const { deletionGracePeriodSeconds: _, ...withoutGrace } = metadata;
  return { ...current, metadata: withoutGrace, status: { phase: "Terminating" } };
}

function checkPreconditions({ kind }: ResourceType, { metadata }: KubeObject, options: unknown): void {
  const asked = valueAt(options, "preconditions");
  const refuse = (why: string): ApiError =>
    new ApiError(409, "Conflict", `Operation cannot be fulfilled on ${kind} "${metadata.name}": ${why}`, {
      details: { name: metadata.name, kind },
    });
  const uid = valueAt(asked, "uid");
  if (typeof uid === "string" && uid !== metadata.uid) {
    throw refuse(
      `the UID in the precondition (${uid}) does not match the UID in record (${metadata.uid}). The object might have been deleted and then recreated`,
    );
  }
  const revision = valueAt(asked, "resourceVersion");
  if (typeof revision === "string" && revision !== metadata.resourceVersion) {
    throw refuse(
      `the ResourceVersion in the precondition (${revision}) does not match the ResourceVersion in record (${metadata.resourceVersion}). The object might have been modified`,
    );
  }
}

function decodeObject(type: ResourceType, body: unknown): KubeObject {
  if (!isJsonObject(body))
    throw badRequest(`the object provided is unrecognized (must be of type ${type.kind})`);
  const { kind = type.kind, apiVersion = apiVersionOf(type), metadata } = body;
  const said = `${String(kind)} in version "${String(apiVersion)}" cannot be handled as a ${type.kind}`;
  if (apiVersion !== apiVersionOf(type)) {
    throw badRequest(
      `${said}: no kind "${String(kind)}" is registered for version "${String(apiVersion)}" in scheme "k8s.io/kubernetes/pkg/api/legacyscheme/scheme.go:30"`,
    );
  }
  if (kind !== type.kind) {
    throw badRequest(`${said}: converting (v1.${String(kind)}) to (core.${type.kind}): unknown conversion`);
  }
  const wrong = wrongMapValue(metadata);
  if (wrong !== undefined) {
    const field = `v1.${type.kind}.ObjectMeta: v1.ObjectMeta.${wrong.goName}`;
    throw badRequest(`${said}: ${field}: ReadString: expects " or n, but found ${wrong.found}, error found`);
  }
  return { ...body, metadata: (isJsonObject(metadata) ? metadata : {}) as ObjectMeta };
}

function withNamespace(type: ResourceType, metadata: ObjectMeta, namespace: string | undefined): ObjectMeta {
  const { namespace: said = "", ...rest } = metadata;
  if (!type.namespaced) return rest;
  if (said !== "" && said !== namespace) {
    throw badRequest("the namespace of the provided object does not match the namespace sent on the request");
  }
  return { ...rest, namespace: namespace ?? "" };
}

function definedOnly(fields: JsonObject): JsonObject {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));
}
