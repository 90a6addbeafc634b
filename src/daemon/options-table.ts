// The table of the daemon's flags: flannel's, with flannel's names and defaults, then ours.
import type { FlagSpec } from "../net/go-flags.ts";
import { POLICY_FLAGS } from "./options-policy.ts";

const ETCD = "etcd";
const UPLINK = "Interface and addresses";
const TRAFFIC = "Masquerade and forwarding";
const FILES = "Files";
const CLUSTER = "Cluster configuration";
const HEALTH = "Health and status";
const KUBERNETES = "Kubernetes";
const LOGS = "Logs and help";

const ETCD_FLAGS: readonly FlagSpec[] = [
  {
    kind: "text",
    name: "etcd-endpoints",
    group: ETCD,
    default: "http://127.0.0.1:4001,http://127.0.0.1:2379",
    valueName: "URLS",
    help: "comma-separated list of etcd endpoints",
  },
  {
    kind: "text",
    name: "etcd-prefix",
    group: ETCD,
    default: "/coreos.com/network",
    valueName: "KEY",
    help: "key under which configuration and leases lie",
  },
  {
    kind: "text",
    name: "etcd-keyfile",
    group: ETCD,
    default: "",
    valueName: "FILE",
    help: "private key of the TLS client certificate (PEM)",
  },
  {
    kind: "text",
    name: "etcd-certfile",
    group: ETCD,
    default: "",
    valueName: "FILE",
    help: "TLS client certificate (PEM)",
  },
  {
    kind: "text",
    name: "etcd-cafile",
    group: ETCD,
    default: "",
    valueName: "FILE",
    help: "certificate authority that signed etcd's certificate (PEM)",
  },
  {
    kind: "text",
    name: "etcd-username",
    group: ETCD,
    default: "",
    valueName: "NAME",
    help: "user for etcd's own authentication",
  },
  {
    kind: "text",
    name: "etcd-password",
    group: ETCD,
    default: "",
    valueName: "TEXT",
    secret: true,
    help: "password of that user; better given as FLANNELD_ETCD_PASSWORD, which `ps` does not show",
  },
  {
    kind: "integer",
    name: "subnet-lease-renew-margin",
    group: ETCD,
    default: 60,
    valueName: "MINUTES",
    help: "renew the lease at the latest this long before it ends, 1 to 1439",
  },
];

const CLUSTER_FLAGS: readonly FlagSpec[] = [
  {
    kind: "text",
    name: "backend",
    group: CLUSTER,
    default: "",
    valueName: "TYPE",
    help: "backend type to create the cluster's configuration with, if there is none yet",
  },
  {
    kind: "text",
    name: "network",
    group: CLUSTER,
    default: "",
    valueName: "CIDR",
    help: "pod network to create the cluster's configuration with, if there is none yet",
  },
  {
    kind: "integer",
    name: "subnet-len",
    group: CLUSTER,
    default: 0,
    valueName: "BITS",
    help: "prefix length of a node's subnet in that configuration; 0 leaves it to the network's size",
  },
];

const UPLINK_FLAGS: readonly FlagSpec[] = [
  {
    kind: "list",
    name: "iface",
    group: UPLINK,
    default: [],
    valueName: "NAME|IP",
    help: "interface for traffic between nodes; may be repeated, the first that exists is taken",
  },
  {
    kind: "list",
    name: "iface-regex",
    group: UPLINK,
    default: [],
    valueName: "REGEX",
    help: "the same as a regular expression on addresses, then on names; may be repeated, tried after --iface",
  },
  {
    kind: "text",
    name: "iface-can-reach",
    group: UPLINK,
    default: "",
    valueName: "IP",
    help: "the interface that leads to this address; tried last",
  },
  {
    kind: "text",
    name: "public-ip",
    group: UPLINK,
    default: "",
    valueName: "IP",
    help: "IPv4 address that other nodes send to; behind NAT give --iface too",
  },
  {
    kind: "text",
    name: "public-ipv6",
    group: UPLINK,
    default: "",
    valueName: "IP",
    help: "IPv6 address that other nodes send to",
  },
];

const TRAFFIC_FLAGS: readonly FlagSpec[] = [
  {
    kind: "boolean",
    name: "ip-masq",
    group: TRAFFIC,
    default: false,
    help: "masquerade traffic that leaves the pod network",
  },
  {
    kind: "boolean",
    name: "ip-masq-fully-random-disable",
    group: TRAFFIC,
    default: false,
    help: "do not use --random-fully in masquerade rules",
  },
  {
    kind: "boolean",
    name: "iptables-forward-rules",
    group: TRAFFIC,
    default: true,
    help: "accept forwarding of traffic from and to the pod network",
  },
  {
    kind: "integer",
    name: "iptables-resync",
    group: TRAFFIC,
    default: 5,
    valueName: "SECONDS",
    help: "how often the rules are compared with what should be",
  },
  {
    kind: "boolean",
    name: "ip-blackhole-route",
    group: TRAFFIC,
    default: false,
    help: "keep a blackhole route for the own subnet, so that packets to absent pods do not loop",
  },
];

const FILE_FLAGS: readonly FlagSpec[] = [
  {
    kind: "text",
    name: "subnet-file",
    group: FILES,
    default: "/run/flannel/subnet.env",
    valueName: "FILE",
    help: "where subnet, MTU and masquerade are written to; each daemon of a host has a file name of its own",
  },
  {
    kind: "text",
    name: "cni-conf-file",
    group: FILES,
    default: "",
    valueName: "FILE",
    help: "write the CNI configuration here once the network is ready, e.g. /etc/cni/net.d/10-flannel.conflist",
  },
  {
    kind: "text",
    name: "cni-conf-template",
    group: FILES,
    default: "",
    valueName: "FILE",
    help: "the CNI configuration to write; without it flannel's default",
  },
];

const HEALTH_FLAGS: readonly FlagSpec[] = [
  {
    kind: "text",
    name: "healthz-ip",
    group: HEALTH,
    default: "0.0.0.0",
    valueName: "IP",
    help: "address of the health server",
  },
  {
    kind: "integer",
    name: "healthz-port",
    group: HEALTH,
    default: 0,
    valueName: "PORT",
    help: "port of the health server (/healthz, /readyz); 0 turns it off",
  },
  {
    kind: "text",
    name: "status-socket",
    group: HEALTH,
    default: "",
    valueName: "FILE",
    help: "unix socket for the status command; empty: beside --subnet-file",
  },
  {
    kind: "integer",
    name: "resync",
    group: HEALTH,
    default: 300,
    valueName: "SECONDS",
    help: "how often the whole host is compared with what should be, besides after every change that is seen",
  },
  {
    kind: "integer",
    name: "probe-interval",
    group: HEALTH,
    default: 0,
    valueName: "SECONDS",
    help: "how often each peer is pinged, below and through the overlay, small and with packets of full size, for round trip, loss and path MTU in status, metrics and log; 0 turns it off",
  },
];

const KUBERNETES_FLAGS: readonly FlagSpec[] = [
  {
    kind: "boolean",
    name: "kube-subnet-mgr",
    group: KUBERNETES,
    default: false,
    help: "take subnets from the Kubernetes API instead of etcd",
  },
  {
    kind: "text",
    name: "kube-api-url",
    group: KUBERNETES,
    default: "",
    valueName: "URL",
    help: "address of the API server; empty together with --kubeconfig-file: that of the cluster this runs in",
  },
  {
    kind: "text",
    name: "kubeconfig-file",
    group: KUBERNETES,
    default: "",
    valueName: "FILE",
    help: "kubeconfig with address and credentials of the API server",
  },
  {
    kind: "text",
    name: "kube-annotation-prefix",
    group: KUBERNETES,
    default: "flannel.alpha.coreos.com",
    valueName: "PREFIX",
    help: "prefix of the node annotations that carry leases",
  },
  {
    kind: "text",
    name: "net-config-path",
    group: KUBERNETES,
    default: "/etc/kube-flannel/net-conf.json",
    valueName: "FILE",
    help: "the cluster's configuration in Kubernetes mode",
  },
  {
    kind: "boolean",
    name: "set-node-network-unavailable",
    group: KUBERNETES,
    default: true,
    help: "set the node's NetworkUnavailable condition to false once ready",
  },
];

const LOG_FLAGS: readonly FlagSpec[] = [
  {
    kind: "integer",
    name: "v",
    group: LOGS,
    default: 0,
    valueName: "N",
    help: "verbosity; 2 and more logs debug lines",
  },
  {
    kind: "text",
    name: "log-format",
    group: LOGS,
    default: "auto",
    valueName: "auto|json|text",
    help: "format of the log on standard error; auto is text on a terminal, else JSON",
  },
  {
    kind: "text",
    name: "vmodule",
    group: LOGS,
    default: "",
    valueName: "LIST",
    help: "accepted for flannel's sake and ignored",
  },
  {
    kind: "text",
    name: "log_backtrace_at",
    group: LOGS,
    default: "",
    valueName: "FILE:LINE",
    help: "accepted for flannel's sake and ignored",
  },
  {
    kind: "boolean",
    name: "version",
    group: LOGS,
    default: false,
    fromEnvironment: false,
    help: "print the version and exit",
  },
  {
    kind: "boolean",
    name: "help",
    group: LOGS,
    default: false,
    fromEnvironment: false,
    help: "print this text and exit",
  },
];

/** All flags, in the order of `--help`. */
export const FLAG_TABLE: readonly FlagSpec[] = [
  ...ETCD_FLAGS,
  ...CLUSTER_FLAGS,
  ...UPLINK_FLAGS,
  ...TRAFFIC_FLAGS,
  ...POLICY_FLAGS,
  ...FILE_FLAGS,
  ...HEALTH_FLAGS,
  ...KUBERNETES_FLAGS,
  ...LOG_FLAGS,
];

const LOG_TO_STDERR =
  "the log goes to standard error, where systemd or the container runtime keeps it; remove the flag";
const ONE_NETWORK =
  "flannel itself dropped it; run one daemon per network, each with its own --etcd-prefix and --subnet-file";

/** Flags of old flannel versions that old units still carry, and what to do about each. */
export const REMOVED_FLAGS: Readonly<Record<string, string>> = {
  alsologtostderr: LOG_TO_STDERR,
  logtostderr: LOG_TO_STDERR,
  log_dir: LOG_TO_STDERR,
  log_file: LOG_TO_STDERR,
  stderrthreshold: LOG_TO_STDERR,
  networks: ONE_NETWORK,
  "subnet-dir": ONE_NETWORK,
  remote: "flannel itself dropped client-server mode; point every node at etcd with --etcd-endpoints",
  listen: "flannel itself dropped client-server mode; point every node at etcd with --etcd-endpoints",
  "auto-detect-ipv4": "the address is always detected; remove the flag",
  "auto-detect-ipv6": "the address is always detected; remove the flag",
  "use-multi-cluster-cidr": "Kubernetes dropped the ClusterCIDR API; remove the flag",
};
