// Lines of `ip monitor`, as iproute2 6.1 printed them, read as events.
import { expect, it } from "vitest";
import { parseMonitorLine } from "../../../src/kernel/monitor-codec.ts";

const cases: readonly { line: string; expected: unknown }[] = [
  {
    line: "4: flannel.1: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1400 qdisc noqueue state UNKNOWN group 0 \\    link/[1] 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff",
    expected: {
      kind: "link",
      deleted: false,
      name: "flannel.1",
      up: true,
      fresh: false,
      mtu: 1400,
      mac: "02:00:00:00:00:01",
    },
  },
  {
    line: "4: flannel.1: <BROADCAST,MULTICAST> mtu 1400 qdisc noop state DOWN group 0 \\    link/[1] 02:00:00:00:00:01 brd ff:ff:ff:ff:ff:ff",
    expected: { kind: "link", deleted: false, name: "flannel.1", up: false, fresh: true },
  },
  {
    line: "Deleted 6: va@NONE: <BROADCAST,MULTICAST> mtu 1500 qdisc noop state DOWN group default \\    link/ether 1e:0f:56:8e:2d:d4 brd ff:ff:ff:ff:ff:ff",
    expected: { kind: "link", deleted: true, name: "va" },
  },
  {
    line: "2: eth0p@eth0: <NO-CARRIER,BROADCAST,MULTICAST,UP,M-DOWN> mtu 1500 qdisc noqueue state LOWERLAYERDOWN group default \\    link/ether 6e:a9:bc:c0:02:ea brd ff:ff:ff:ff:ff:ff",
    expected: { kind: "link", name: "eth0p", up: true },
  },
  {
    line: "9: tun0: <POINTOPOINT,MULTICAST,NOARP,UP> mtu 1472 qdisc fq_codel state UNKNOWN group 0 \\    link/[65534] ",
    expected: { kind: "link", name: "tun0", mac: undefined, mtu: 1472 },
  },
  {
    line: "4: flannel.1    inet 10.244.1.0/32 scope 0 flannel.1\\       valid_lft forever preferred_lft forever",
    expected: { kind: "address", deleted: false, dev: "flannel.1", ip: "10.244.1.0", prefixLength: 32 },
  },
  {
    line: "Deleted 4: flannel.1    inet6 fe80::ff:fe00:1/64 scope 253 tentative \\       valid_lft forever preferred_lft forever",
    expected: { kind: "address", deleted: true, dev: "flannel.1", ip: "fe80::ff:fe00:1", prefixLength: 64 },
  },
  {
    line: "7: tun0    inet 10.8.0.1 peer 10.8.0.2/32 scope 0 tun0\\       valid_lft forever preferred_lft forever",
    expected: { kind: "address", dev: "tun0", ip: "10.8.0.1", prefixLength: 32 },
  },
  {
    line: "10.244.2.0/24 via 10.244.2.0 dev flannel.1 proto 250 onlink ",
    expected: {
      kind: "route",
      deleted: false,
      route: {
        dst: "10.244.2.0/24",
        type: "unicast",
        via: "10.244.2.0",
        dev: "flannel.1",
        onlink: true,
        metric: 0,
        protocol: 250,
        multipath: false,
      },
    },
  },
  {
    line: "Deleted fd00:1::/64 via fe80::1 dev eth0 proto 250 metric 1024 pref medium",
    expected: { kind: "route", deleted: true, route: { dst: "fd00:1::/64", via: "fe80::1", metric: 1024 } },
  },
  {
    line: "6 fd00:10::/48 dev lo proto 250 metric 1024 pref medium",
    expected: { kind: "route", route: { dst: "fd00:10::/48", type: "blackhole", protocol: 250 } },
  },
  {
    line: "blackhole 10.250.0.0/16 proto 250 ",
    expected: { kind: "route", route: { dst: "10.250.0.0/16", type: "blackhole" } },
  },
  {
    line: "default via 192.0.2.254 dev eth0 ",
    expected: { kind: "route", route: { dst: "0.0.0.0/0", via: "192.0.2.254", protocol: 3 } },
  },
  {
    line: "default via fe80::1 dev eth0 proto 9 metric 1024 expires 1798sec hoplimit 64 pref medium",
    expected: { kind: "route", route: { dst: "::/0", via: "fe80::1", protocol: 9 } },
  },
  {
    line: "default via inet6 fe80::1 dev eth0 proto 16 ",
    expected: { kind: "route", route: { via: "fe80::1" } },
  },
  {
    line: "10.99.0.0/16 \\\tnexthop via 192.0.2.7 dev eth0 weight 1 \\\tnexthop via 192.0.2.8 dev eth0 weight 1 ",
    expected: { kind: "route", route: { dst: "10.99.0.0/16", via: "192.0.2.7", multipath: true } },
  },
  {
    line: "fd00:10:: dev flannel-v6.1 proto 2 metric 256 pref medium",
    expected: { kind: "route", route: { dst: "fd00:10::/128", protocol: 2 } },
  },
  { line: "2 10.244.1.0 dev flannel.1 table 255 proto 2 scope 254 src 10.244.1.0 ", expected: undefined },
  { line: "Deleted 5 ff00::/8 dev flannel.1 table 255 proto 2 metric 256 pref medium", expected: undefined },
  {
    line: "10.244.2.0 dev flannel.1 lladdr 02:00:00:00:00:02 PERMANENT ",
    expected: {
      kind: "neighbor",
      deleted: false,
      dev: "flannel.1",
      ip: "10.244.2.0",
      mac: "02:00:00:00:00:02",
      permanent: true,
      noArp: false,
    },
  },
  {
    line: "192.0.2.2 dev flannel.1 lladdr 02:00:00:00:00:02 NOARP PERMANENT ",
    expected: { kind: "neighbor", permanent: true, noArp: true },
  },
  {
    line: "Deleted 10.244.2.0 dev flannel.1 FAILED ",
    expected: { kind: "neighbor", deleted: true, mac: undefined, permanent: false },
  },
  { line: "dev veth1 lladdr 02:00:00:00:00:02 REACHABLE ", expected: undefined },
  { line: "10.0.0.5 dev eth0 proxy ", expected: undefined },
  { line: "", expected: undefined },
  { line: "Deleted ", expected: undefined },
  { line: "Dump terminated", expected: undefined },
];

for (const { line, expected } of cases) {
  it(line === "" ? "an empty line" : line, () => {
    const event = parseMonitorLine(line);
    if (expected === undefined) expect(event).toBeUndefined();
    else expect(event).toMatchObject(expected as object);
  });
}
