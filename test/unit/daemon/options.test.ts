// Every flag on the command line and in the environment, defaults, bounds and redaction.
import { describe, expect, it } from "vitest";
import { environmentName } from "../../../src/net/go-flags.ts";
import { FLAG_TABLE } from "../../../src/daemon/options-table.ts";
import { parseOptions, redactOptions, redactUrl } from "../../../src/daemon/options.ts";
import type { Options } from "../../../src/daemon/options.ts";
import type { PolicyOptions } from "../../../src/daemon/options-policy.ts";

function optionsOf(argv: readonly string[], env: Record<string, string> = {}): Options {
  const parsed = parseOptions(argv, env);
  if (parsed.kind !== "run") throw new Error(`expected options, got ${JSON.stringify(parsed)}`);
  return parsed.options;
}

function errorOf(argv: readonly string[], env: Record<string, string> = {}): string {
  const parsed = parseOptions(argv, env);
  return parsed.kind === "error" ? parsed.message : `no error, but ${parsed.kind}`;
}

const POLICY_DEFAULTS: PolicyOptions = {
  podInterfaces: ["cni0"],
  denyWith: "drop",
  established: "end",
  icmp: "policy",
  podToNode: "policy",
  hairpin: "allow",
  addWait: 30,
  addFailure: "error",
};

function policyWith(changed: Partial<PolicyOptions>): PolicyOptions {
  return { ...POLICY_DEFAULTS, ...changed };
}

/** flannel's defaults (its flags, v0.28.9) and ours. */
const DEFAULTS = {
  etcdEndpoints: ["http://127.0.0.1:4001", "http://127.0.0.1:2379"],
  etcdPrefix: "/coreos.com/network",
  etcdKeyfile: undefined,
  etcdCertfile: undefined,
  etcdCafile: undefined,
  etcdUsername: undefined,
  etcdPassword: undefined,
  subnetLeaseRenewMargin: 60,
  backend: undefined,
  network: undefined,
  subnetLen: undefined,
  iface: [],
  ifaceRegex: [],
  ifaceCanReach: undefined,
  publicIp: undefined,
  publicIpv6: undefined,
  ipMasq: false,
  ipMasqFullyRandomDisable: false,
  iptablesForwardRules: true,
  iptablesResync: 5,
  ipBlackholeRoute: false,
  networkPolicy: false,
  policy: POLICY_DEFAULTS,
  subnetFile: "/run/flannel/subnet.env",
  cniConfFile: undefined,
  cniConfTemplate: undefined,
  healthzIp: "0.0.0.0",
  healthzPort: 0,
  statusSocket: "/run/flannel/flanneld.sock",
  resync: 300,
  probeInterval: 0,
  kubeSubnetMgr: false,
  kubeApiUrl: undefined,
  kubeconfigFile: undefined,
  kubeAnnotationPrefix: "flannel.alpha.coreos.com",
  netConfigPath: "/etc/kube-flannel/net-conf.json",
  setNodeNetworkUnavailable: true,
  v: 0,
  logFormat: "auto",
};

/** Flag, text, the option it sets, its value. */
const CASES: readonly (readonly [string, string, keyof Options, unknown])[] = [
  [
    "etcd-endpoints",
    "https://a:2379, http://[fd00::1]:2379,b:2379,",
    "etcdEndpoints",
    ["https://a:2379", "http://[fd00::1]:2379", "b:2379"],
  ],
  ["etcd-prefix", "/kube-centos/network", "etcdPrefix", "/kube-centos/network"],
  ["etcd-prefix", "//a//b/", "etcdPrefix", "/a/b"],
  ["etcd-prefix", "a/b", "etcdPrefix", "a/b"],
  ["etcd-keyfile", "/k.pem", "etcdKeyfile", "/k.pem"],
  ["etcd-certfile", "/c.pem", "etcdCertfile", "/c.pem"],
  ["etcd-cafile", "/ca.pem", "etcdCafile", "/ca.pem"],
  ["etcd-username", "root", "etcdUsername", "root"],
  ["etcd-password", "p=w", "etcdPassword", "p=w"],
  ["subnet-lease-renew-margin", "1439", "subnetLeaseRenewMargin", 1439],
  ["backend", "Host-GW", "backend", "host-gw"],
  ["network", "10.1.2.3/16", "network", "10.1.0.0/16"],
  ["subnet-len", "26", "subnetLen", 26],
  ["iface", "eth2", "iface", ["eth2"]],
  ["iface-regex", "^eth[0-9]$", "ifaceRegex", [/^eth[0-9]$/]],
  ["iface-regex", "(?i)^ETH", "ifaceRegex", [/^ETH/i]],
  ["iface-regex", "^10\\.[[:digit:]]+\\z", "ifaceRegex", [/^10\.[0-9]+$/]],
  ["iface-can-reach", "192.0.2.1", "ifaceCanReach", "192.0.2.1"],
  ["public-ip", "192.0.2.7", "publicIp", "192.0.2.7"],
  ["public-ipv6", "FD00::0:7", "publicIpv6", "fd00::7"],
  ["ip-masq", "true", "ipMasq", true],
  ["ip-masq-fully-random-disable", "1", "ipMasqFullyRandomDisable", true],
  ["iptables-forward-rules", "false", "iptablesForwardRules", false],
  ["iptables-resync", "60", "iptablesResync", 60],
  ["ip-blackhole-route", "T", "ipBlackholeRoute", true],
  ["network-policy", "true", "networkPolicy", true],
  ["policy-pod-interface", "br+", "policy", policyWith({ podInterfaces: ["br+"] })],
  ["policy-deny-with", "reject", "policy", policyWith({ denyWith: "reject" })],
  ["policy-established", "keep", "policy", policyWith({ established: "keep" })],
  ["policy-icmp", "allow-echo", "policy", policyWith({ icmp: "allow-echo" })],
  ["policy-pod-to-node", "allow", "policy", policyWith({ podToNode: "allow" })],
  ["policy-hairpin", "policy", "policy", policyWith({ hairpin: "policy" })],
  ["policy-log-group", "100", "policy", policyWith({ logGroup: 100 })],
  ["policy-add-wait", "5", "policy", policyWith({ addWait: 5 })],
  ["policy-add-failure", "proceed", "policy", policyWith({ addFailure: "proceed" })],
  ["subnet-file", "/run/x/subnet.env", "subnetFile", "/run/x/subnet.env"],
  [
    "cni-conf-file",
    "/etc/cni/net.d/10-flannel.conflist",
    "cniConfFile",
    "/etc/cni/net.d/10-flannel.conflist",
  ],
  ["cni-conf-template", "/etc/t.json", "cniConfTemplate", "/etc/t.json"],
  ["healthz-ip", "::1", "healthzIp", "::1"],
  ["healthz-port", "8081", "healthzPort", 8081],
  ["status-socket", "/run/s.sock", "statusSocket", "/run/s.sock"],
  ["resync", "30", "resync", 30],
  ["probe-interval", "20", "probeInterval", 20],
  ["kube-subnet-mgr", "true", "kubeSubnetMgr", true],
  ["kube-api-url", "https://192.0.2.1:6443", "kubeApiUrl", "https://192.0.2.1:6443"],
  ["kubeconfig-file", "/k", "kubeconfigFile", "/k"],
  ["kube-annotation-prefix", "my.org/", "kubeAnnotationPrefix", "my.org/"],
  ["net-config-path", "/n.json", "netConfigPath", "/n.json"],
  ["set-node-network-unavailable", "false", "setNodeNetworkUnavailable", false],
  ["v", "10", "v", 10],
  ["log-format", "json", "logFormat", "json"],
];

it("has flannel's defaults", () => expect(optionsOf([])).toEqual(DEFAULTS));

describe("each flag", () => {
  it.each(CASES)("--%s=%s sets %s", (flag, text, option, expected) => {
    expect(optionsOf([`--${flag}=${text}`])[option]).toEqual(expected);
    expect(optionsOf([`-${flag}=${text}`])[option]).toEqual(expected);
    expect(optionsOf([], { [environmentName("FLANNELD_", flag)]: text })[option]).toEqual(expected);
  });

  it("is covered by this table", () => {
    const silent = ["vmodule", "log_backtrace_at", "version", "help"];
    const covered = new Set([...CASES.map(([flag]) => flag), ...silent]);
    expect(FLAG_TABLE.map(({ name }) => name).filter((name) => !covered.has(name))).toEqual([]);
  });
});

describe("repeatable flags", () => {
  it("keep their order", () => {
    const options = optionsOf(["-iface=eth2", "--iface", "192.0.2.1", "--iface-regex=a", "--iface-regex=b"]);
    expect(options.iface).toEqual(["eth2", "192.0.2.1"]);
    expect(options.ifaceRegex.map(String)).toEqual(["/a/", "/b/"]);
  });
});

describe("the status socket", () => {
  it.each([
    [["--subnet-file=/run/blue/subnet.env"], "/run/blue/flanneld.sock"],
    [["--subnet-file=/run/flannel/blue.env"], "/run/flannel/flanneld-blue.sock"],
    [["--subnet-file=/run/blue/subnet.env", "--status-socket=/run/s"], "/run/s"],
  ])("%j is at %s", (argv, path) => expect(optionsOf(argv).statusSocket).toBe(path));
});

describe("refuses", () => {
  it.each<[readonly string[], string]>([
    [
      ["--subnet-lease-renew-margin=0"],
      "--subnet-lease-renew-margin: 0 is out of range; it must be 1 to 1439",
    ],
    [["--subnet-lease-renew-margin=1440"], "1440 is out of range"],
    [["--healthz-port=65536"], "--healthz-port: 65536 is out of range"],
    [["--healthz-port=-1"], "--healthz-port: -1 is out of range"],
    [["--healthz-ip=localhost"], '--healthz-ip: "localhost" is not an IP address'],
    [["--healthz-ip="], '--healthz-ip: "" is not an IP address'],
    [["--public-ip=fd00::1"], "--public-ip: fd00::1 is not an IPv4 address"],
    [["--public-ipv6=192.0.2.1"], "--public-ipv6: 192.0.2.1 is not an IPv6 address"],
    [["--public-ip=010.0.0.1"], '--public-ip: "010.0.0.1" is not an IP address'],
    [["--iface-can-reach=gw"], '--iface-can-reach: "gw" is not an IP address'],
    [["--iface-regex=eth["], '--iface-regex: "eth[" is not a regular expression'],
    [["--network=10.0.0.0"], '--network: "10.0.0.0" is not a CIDR'],
    [["--subnet-len=127"], "--subnet-len: 127 is out of range"],
    [["--iptables-resync=0"], "--iptables-resync: 0 is out of range"],
    [["--resync=0"], "--resync: 0 is out of range"],
    [["--policy-deny-with=accept"], '--policy-deny-with: "accept" is unknown; it must be drop or reject'],
    [["--policy-pod-interface="], "--policy-pod-interface must name the bridge of the pods"],
    [["--policy-pod-interface=a b"], '--policy-pod-interface: "a b" is no name of an interface'],
    [["--policy-pod-interface=+"], '--policy-pod-interface: "+" is no name of an interface'],
    [["--policy-log-group=65536"], "--policy-log-group: 65536 is out of range"],
    [
      ["--network-policy", "--subnet-file=/run/flannel/blue.env"],
      "--network-policy is for one daemon of a host, the one whose --subnet-file is called subnet.env",
    ],
    [["--policy-add-wait=0"], "--policy-add-wait: 0 is out of range; it must be 1 to 600"],
    [["--etcd-endpoints=,"], "--etcd-endpoints names no endpoint"],
    [["--etcd-endpoints=ftp://a:1"], '--etcd-endpoints: "ftp://a:1" is not an endpoint'],
    [["--etcd-endpoints=http://u:secret@a b"], '--etcd-endpoints: "http://a b" is not an endpoint'],
    [["--etcd-prefix="], "--etcd-prefix must name a key"],
    [["--subnet-file="], "--subnet-file must not be empty"],
    [["--log-format=xml"], '--log-format: "xml" is not a log format; it must be auto, json or text'],
    [["--ip-masq", "false"], 'unexpected argument "false": write --ip-masq=false'],
    [["--iface=eth0", "run"], 'unexpected argument "run"'],
    [["--ipmasq"], "unknown flag --ipmasq; did you mean --ip-masq?"],
    [["--etcd-endpoint=x"], "did you mean --etcd-endpoints?"],
    [["--logtostderr=false"], "unknown flag --logtostderr: the log goes to standard error"],
    [["--networks=a,b"], "unknown flag --networks: flannel itself dropped it"],
    [["--constructor"], "unknown flag --constructor"],
  ])("%j", (argv, message) => expect(errorOf(argv)).toContain(message));

  it("a bad variable, by its name", () => {
    expect(errorOf([], { FLANNELD_HEALTHZ_PORT: "http" })).toContain(
      "environment variable FLANNELD_HEALTHZ_PORT",
    );
  });
});

describe("other outcomes", () => {
  it.each([["--help"], ["-help"], ["-h"]])("%s is help", (word) =>
    expect(parseOptions([word], {}).kind).toBe("help"),
  );
  it("--version is version", () => expect(parseOptions(["--version"], {}).kind).toBe("version"));
  it("FLANNELD_VERSION, which images set, is nothing", () =>
    expect(parseOptions([], { FLANNELD_VERSION: "v0.28.9" }).kind).toBe("run"));

  it("warns about what does nothing", () => {
    const parsed = parseOptions(["--vmodule=a=2"], {
      FLANNELD_IFACES: "eth0",
      FLANNELD_SERVICE_HOST: "10.0.0.1",
    });
    expect(parsed).toMatchObject({
      warnings: [
        "--vmodule is accepted but does nothing here; use -v=2 for debug lines",
        "environment variable FLANNELD_IFACES is not read; did you mean FLANNELD_IFACE?",
      ],
    });
  });

  it("gives commands their words", () => {
    expect(parseOptions(["get", "--etcd-prefix=/x", "y"], {}, { positionals: true })).toMatchObject({
      kind: "run",
      positionals: ["get", "y"],
      options: { etcdPrefix: "/x" },
    });
  });
});

it("hands a command's own flags on", () => {
  const settings = { positionals: true, passThrough: ["force"] };
  expect(parseOptions(["set", "--force", "{}", "-v=2"], {}, settings)).toMatchObject({
    kind: "run",
    positionals: ["set", "{}", "--force"],
    options: { v: 2 },
  });
});

describe("what is logged", () => {
  it("has no secret in it", () => {
    const options = optionsOf(
      ["--etcd-endpoints=https://root:hunter2@a:2379,hunter3@b:2379", "--kube-api-url=https://u:hunter4@k"],
      { FLANNELD_ETCD_PASSWORD: "hunter5" },
    );
    const text = JSON.stringify(redactOptions(options));
    expect(text).not.toContain("hunter");
    expect(JSON.parse(text)).toMatchObject({
      etcdPassword: "(set)",
      etcdEndpoints: ["https://a:2379", "b:2379"],
    });
  });

  it.each([
    ["https://a:2379", "https://a:2379"],
    ["https://u:p@ss@a:2379", "https://a:2379"],
  ])("%s becomes %s", (url, expected) => expect(redactUrl(url)).toBe(expected));
});
