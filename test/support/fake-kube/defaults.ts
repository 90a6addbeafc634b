// What the server makes of an object before it stores it: nothing empty is kept, and a few fields have defaults.
import { isJsonObject } from "./objects.ts";
import type { JsonObject, KubeObject } from "./objects.ts";
import type { ResourceType } from "./resources.ts";

/**
 * Objects are stored as protobuf, which knows neither null nor an empty list: `egress: []` is as if it were not there.
 * Fields that the type does not have are dropped by the real server and kept by this one, which knows no types.
 */
export function withoutEmpty(value: JsonObject): JsonObject {
  const kept: Record<string, unknown> = {};
  for (const [field, child] of Object.entries(value)) {
    if (child === null || child === undefined) continue;
    if (Array.isArray(child)) {
      if (child.length > 0)
        kept[field] = child.map((item: unknown) => (isJsonObject(item) ? withoutEmpty(item) : item));
    } else if (!isJsonObject(child)) {
      kept[field] = child;
    } else {
      const isEmptyMap = (field === "labels" || field === "annotations") && Object.keys(child).length === 0;
      if (!isEmptyMap) kept[field] = withoutEmpty(child);
    }
  }
  return kept;
}

const NODE_INFO = [
  "machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion", "kubeletVersion",
  "kubeProxyVersion", "operatingSystem", "architecture",
]; // prettier-ignore

const EVENT_FIELDS = {
  eventTime: null,
  firstTimestamp: null,
  lastTimestamp: null,
  reportingComponent: "",
  reportingInstance: "",
};

/** Only the defaults that clients of network daemons look at. */
export function withDefaults(type: ResourceType, object: KubeObject): KubeObject {
  const spec: JsonObject = isJsonObject(object["spec"]) ? object["spec"] : {};
  const status: JsonObject = isJsonObject(object["status"]) ? object["status"] : {};
  switch (type.resource) {
    case "nodes": {
      const nodeInfo = Object.fromEntries(NODE_INFO.map((field) => [field, ""]));
      const required = { daemonEndpoints: { kubeletEndpoint: { Port: 0 } }, nodeInfo };
      const full = withConditionTimes({ ...required, ...status }, [
        "lastHeartbeatTime",
        "lastTransitionTime",
      ]);
      return { ...object, spec: withPodCidrs(spec), status: full };
    }
    case "namespaces":
      return {
        ...object,
        spec: { finalizers: ["kubernetes"], ...spec },
        status: { phase: "Active", ...status },
      };
    case "pods": {
      const defaults = { restartPolicy: "Always", terminationGracePeriodSeconds: 30 };
      const full = withConditionTimes({ phase: "Pending", ...status }, [
        "lastProbeTime",
        "lastTransitionTime",
      ]);
      return { ...object, spec: { ...defaults, ...spec }, status: full };
    }
    case "networkpolicies": {
      const policyTypes = spec["egress"] === undefined ? ["Ingress"] : ["Ingress", "Egress"];
      return { ...object, spec: { policyTypes, ...spec } };
    }
    case "events":
      return { ...EVENT_FIELDS, ...object };
    case "configmaps":
    case "daemonsets":
    case "leases":
    case "services":
      return object;
  }
}

/** A node that joins is not ready until its kubelet says so (admission plugin TaintNodesByCondition). */
export function withAdmission(type: ResourceType, object: KubeObject): KubeObject {
  if (type.resource !== "nodes") return object;
  const spec: JsonObject = isJsonObject(object["spec"]) ? object["spec"] : {};
  const taints: readonly unknown[] = Array.isArray(spec["taints"]) ? spec["taints"] : [];
  const notReady = { key: "node.kubernetes.io/not-ready", effect: "NoSchedule" };
  return { ...object, spec: { ...spec, taints: [...taints, notReady] } };
}

function withConditionTimes(status: JsonObject, times: readonly string[]): JsonObject {
  const { conditions } = status;
  if (!Array.isArray(conditions)) return status;
  const unset = Object.fromEntries(times.map((time) => [time, null]));
  return {
    ...status,
    conditions: conditions.map((condition: JsonObject) => Object.assign({}, unset, condition)),
  };
}

/** podCIDR and the first of podCIDRs are one field to the server; where they differ, podCIDR is believed. */
function withPodCidrs(spec: JsonObject): JsonObject {
  const { podCIDR, podCIDRs, ...others } = spec;
  const list: readonly unknown[] = Array.isArray(podCIDRs) ? podCIDRs : [];
  const first = typeof podCIDR === "string" && podCIDR !== "" ? podCIDR : list[0];
  if (first === undefined) return others;
  return { ...others, podCIDR: first, podCIDRs: first === list[0] ? list : [first] };
}
