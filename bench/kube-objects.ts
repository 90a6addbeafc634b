// Nodes and pods as large as real ones are: what a kubelet, a controller manager and flannel write about them.
import type { KubeObject } from "../test/support/fake-kube/objects.ts";
import { peer } from "./many-leases.ts";

const PREFIX = "flannel.alpha.coreos.com/";
/** A kubelet reports up to 50 images. */
const IMAGES = 40;

/** Node `n` of many-leases.ts, some 10 kB. */
export function bigNode(n: number, heartbeat = "2026-11-21T00:00:00Z"): KubeObject {
  const { subnet, publicIp, backendData } = peer(n);
  return {
    ...bigBareNode(`n${n}`, subnet, heartbeat, publicIp),
    metadata: {
      name: `n${n}`,
      labels: labelsOf(`n${n}`),
      annotations: {
        "node.alpha.kubernetes.io/ttl": "0",
        "volumes.kubernetes.io/controller-managed-attach-detach": "true",
        [`${PREFIX}kube-subnet-manager`]: "true",
        [`${PREFIX}backend-type`]: "vxlan",
        [`${PREFIX}backend-data`]: JSON.stringify(backendData),
        [`${PREFIX}public-ip`]: publicIp,
      },
      managedFields: managedFields(6),
    },
  };
}

/** A node without flannel's annotations. */
export function bigBareNode(
  name: string,
  podCidr: string,
  heartbeat = "2026-11-21T00:00:00Z",
  address = "192.0.2.11",
): KubeObject {
  const condition = (type: string, status: string): object => ({
    type,
    status,
    lastHeartbeatTime: heartbeat,
    lastTransitionTime: "2026-11-01T00:00:00Z",
    reason: `Kubelet${type}`,
    message: `kubelet reports ${type} as ${status} on this node`,
  });
  return {
    metadata: { name, labels: labelsOf(name) },
    spec: { podCIDR: podCidr, podCIDRs: [podCidr] },
    status: {
      capacity: { cpu: "16", memory: "65836984Ki", pods: "110", "ephemeral-storage": "203056560Ki" },
      allocatable: { cpu: "15900m", memory: "65734584Ki", pods: "110", "ephemeral-storage": "187136925Ki" },
      conditions: [
        condition("MemoryPressure", "False"),
        condition("DiskPressure", "False"),
        condition("PIDPressure", "False"),
        condition("Ready", "True"),
        condition("NetworkUnavailable", "False"),
      ],
      addresses: [
        { type: "InternalIP", address },
        { type: "Hostname", address: name },
      ],
      nodeInfo: {
        machineID: "0".repeat(32),
        kernelVersion: "6.1.0",
        kubeletVersion: "v1.34.1",
        architecture: "amd64",
      },
      images: Array.from({ length: IMAGES }, (_, i) => ({
        names: [`registry.example.com/team-${i}/service@sha256:${String(i).padStart(64, "0")}`],
        sizeBytes: 1_000_000 * i,
      })),
    },
  };
}

function labelsOf(name: string): Readonly<Record<string, string>> {
  return {
    "kubernetes.io/hostname": name,
    "kubernetes.io/arch": "amd64",
    "kubernetes.io/os": "linux",
    "topology.kubernetes.io/zone": "zone-1",
  };
}

/** Pod `n` in one of 100 namespaces, on a node of many-leases.ts, some 5 kB. */
export function bigPod(n: number, nodes: number): KubeObject {
  const node = 1 + (n % nodes);
  const base = peer(node).subnet.replace(/\.0\/24$/, "");
  const ip = `${base}.${2 + (Math.floor(n / nodes) % 250)}`;
  return {
    metadata: {
      namespace: `namespace-${n % 100}`,
      name: `app-${n % 50}-${n}`,
      labels: {
        app: `app-${n % 50}`,
        tier: n % 2 === 0 ? "front" : "back",
        "pod-template-hash": String(n % 50),
      },
      managedFields: managedFields(4),
    },
    spec: {
      nodeName: `n${node}`,
      containers: [
        {
          name: "main",
          image: "registry.example.com/team/service:1",
          ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
          env: Array.from({ length: 12 }, (_, i) => ({ name: `SETTING_${i}`, value: "x".repeat(60) })),
        },
      ],
    },
    status: { phase: "Running", podIP: ip, podIPs: [{ ip }] },
  };
}

function managedFields(count: number): readonly object[] {
  return Array.from({ length: count }, (_, i) => ({
    manager: `manager-${i}`,
    operation: "Update",
    apiVersion: "v1",
    time: "2026-11-01T00:00:00Z",
    fieldsType: "FieldsV1",
    fieldsV1: {
      "f:status": {
        "f:conditions": { 'k:{"type":"Ready"}': { ".": {}, "f:lastHeartbeatTime": {}, "f:status": {} } },
      },
    },
  }));
}
