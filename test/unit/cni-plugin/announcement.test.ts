// What the daemon is told of a new pod, from every shape of result and argument.
import { describe, expect, it } from "vitest";
import { planAnnouncement } from "../../../cni-plugin/announcement.ts";
import { parseNetConf } from "../../../cni-plugin/config.ts";
import type { CniRequest } from "../../../cni-plugin/protocol.ts";

function announce(args: string, conf: object, result: object) {
  const request: CniRequest = {
    verb: "ADD",
    containerId: "c1",
    ifName: "eth0",
    netns: "/n",
    pluginPath: [],
    environment: { CNI_ARGS: args },
  };
  const parsed = parseNetConf({ name: "net", cniVersion: "1.0.0", ...conf }, "ADD");
  return planAnnouncement(request, parsed, JSON.stringify(result));
}

const POD = "IgnoreUnknown=1;K8S_POD_NAMESPACE=a;K8S_POD_NAME=web-0;K8S_POD_UID=u-1";

it("names the pod, its addresses and the wire's end in the host", () => {
  const result = {
    interfaces: [{ name: "cni0" }, { name: "veth12" }, { name: "eth0", sandbox: "/n" }],
    ips: [{ address: "10.244.1.2/24", interface: 2 }, { address: "fd00::2/64" }],
  };
  expect(announce(POD, {}, result)).toEqual({
    network: "net",
    containerId: "c1",
    ifName: "eth0",
    namespace: "a",
    name: "web-0",
    uid: "u-1",
    ips: ["10.244.1.2", "fd00::2"],
    hostIfName: "veth12",
    labels: {},
    ports: [],
  });
});

it("reads results of the first versions", () => {
  const result = { ip4: { ip: "10.244.1.2/24" }, ip6: { ip: "fd00::2/64" } };
  expect(announce("", {}, result)).toMatchObject({ ips: ["10.244.1.2", "fd00::2"] });
});

it("names no host interface where the delegate tells only of a bridge", () => {
  expect(announce("", {}, { interfaces: [{ name: "cni0" }] }).hostIfName).toBeUndefined();
});

describe("labels and ports of a pod that no API knows", () => {
  it.each<[string, string, object, object]>([
    [
      "CNI_ARGS",
      "POD_LABELS=app:web,example.com/tier:db;POD_PORTS=http:80,dns:53/UDP",
      {},
      {
        labels: { app: "web", "example.com/tier": "db" },
        ports: [
          { name: "http", port: 80, protocol: "TCP" },
          { name: "dns", port: 53, protocol: "UDP" },
        ],
      },
    ],
    [
      "capabilities",
      "",
      { runtimeConfig: { labels: { app: "web" }, ports: [{ name: "http", port: 80 }] } },
      { labels: { app: "web" }, ports: [{ name: "http", port: 80 }] },
    ],
    [
      "the convention of args.cni",
      "",
      { args: { cni: { labels: [{ key: "app", value: "web" }] } } },
      { labels: { app: "web" }, ports: [] },
    ],
  ])("come from %s", (_, args, conf, expected) => {
    expect(announce(args, conf, {})).toMatchObject(expected);
  });
});
