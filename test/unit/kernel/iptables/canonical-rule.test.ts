// Which spellings of a rule are the same rule, and which are not.
import { describe, expect, test } from "vitest";
import { canonicalRule, rulesEqual } from "../../../../src/kernel/iptables/canonical-rule.ts";
import type { Family } from "../../../../src/net/ip.ts";

const words = (text: string): string[] => text.split(" ");

describe("same rule", () => {
  test.each([
    ["-s 10.0.0.1 -j ACCEPT", "-s 10.0.0.1/32 -j ACCEPT"],
    ["-s 10.1.2.3/255.255.0.0 -j ACCEPT", "-s 10.1.0.0/16 -j ACCEPT"],
    ["-s 0.0.0.0/0 -j ACCEPT", "-j ACCEPT"],
    ["--source 10.0.0.0/8 --jump ACCEPT", "-s 10.0.0.0/8 -j ACCEPT"],
    ["-d 10.0.0.1/32 -s 10.0.0.2/32 -j DROP", "-s 10.0.0.2/32 -d 10.0.0.1/32 -j DROP"],
    ["-j RETURN -m comment --comment x", "-m comment --comment x -j RETURN"],
    [
      "-m mark --mark 0x4000/0x4000 -m comment --comment x",
      "-m comment --comment x -m mark --mark 16384/16384",
    ],
    ["-m mark --mark 0x10/0xffffffff", "-m mark --mark 16"],
    ["-j MARK --set-mark 0x4000/0x4000", "-j MARK --set-xmark 0x4000/0x4000"],
    ["-j MARK --set-mark 0x1", "-j MARK --set-xmark 0x1/0xffffffff"],
    ["-j MARK --or-mark 0x8000", "-j MARK --set-xmark 0x8000/0x8000"],
    ["-j MARK --and-mark 0xffff7fff", "-j MARK --set-xmark 0x0/0x8000"],
    ["-p TCP --dport 80 -j DROP", "-p tcp -m tcp --dport 80 -j DROP"],
    ["-p 6 -m tcp --dport 80:80 -j DROP", "-p tcp -m tcp --destination-port 80 -j DROP"],
    ["-p tcp -m tcp -j DROP", "-p tcp -j DROP"],
    [
      "-p tcp -m comment --comment x --dport 80 -j DROP",
      "-p tcp -m comment --comment x -m tcp --dport 80 -j DROP",
    ],
    ["-p tcp -m tcp --syn", "-p tcp -m tcp --tcp-flags FIN,SYN,RST,ACK SYN"],
    ["-p tcp -m tcp --sport 1024: --dport 80", "-p tcp -m tcp --dport 80 --sport 1024:65535"],
    ["-m conntrack --ctstate RELATED,ESTABLISHED", "-m conntrack --ctstate ESTABLISHED,RELATED"],
    ["-j REJECT", "-j REJECT --reject-with icmp-port-unreachable"],
    ["-i + -j DROP", "-j DROP"],
    ["-p tcp -m tcp --dport ! 80", "-p tcp -m tcp ! --dport 80"],
  ])("%s == %s", (a, b) => {
    expect(rulesEqual(4, words(a), words(b))).toBe(true);
  });

  test.each([
    ["-s FD00:0:0::1 -j ACCEPT", "-s fd00::1/128 -j ACCEPT"],
    ["-s ::/0 -j ACCEPT", "-j ACCEPT"],
    ["-p icmpv6 -m icmpv6 --icmpv6-type 128", "-p ipv6-icmp -m icmp6 --icmpv6-type 128"],
    ["-j REJECT", "-j REJECT --reject-with icmp6-port-unreachable"],
  ])("IPv6: %s == %s", (a, b) => {
    expect(rulesEqual(6, words(a), words(b))).toBe(true);
  });
});

describe("another rule", () => {
  test.each([
    ["-s 10.0.0.1/32 -j ACCEPT", "-d 10.0.0.1/32 -j ACCEPT"],
    ["! -s 10.0.0.0/8 -j ACCEPT", "-s 10.0.0.0/8 -j ACCEPT"],
    ["! -s 0.0.0.0/0 -j ACCEPT", "-j ACCEPT"],
    ["-s 10.0.0.0/8 -j ACCEPT", "-s 10.0.0.0/9 -j ACCEPT"],
    ["-m mark --mark 0x1/0x1", "-m mark ! --mark 0x1/0x1"],
    ["-m mark --mark 0x1/0x1", "-m mark --mark 0x1"],
    ["-m comment --comment a -j X", "-m comment --comment b -j X"],
    ["-m comment --comment a -j X", "-j X"],
    ["-j MASQUERADE", "-j MASQUERADE --random-fully"],
    ["-j X", "-g X"],
    [
      "-m set --match-set a src -m set --match-set b dst",
      "-m set --match-set a dst -m set --match-set b src",
    ],
    ["-p tcp -m tcp --dport 80", "-p udp -m udp --dport 80"],
    ["-p tcp", "! -p tcp"],
  ])("%s != %s", (a, b) => {
    expect(rulesEqual(4, words(a), words(b))).toBe(false);
  });

  test("text that spells an option is text", () => {
    const quoted = ["-m", "comment", "--comment", "x -s 10.0.0.0/8", "-j", "X"];
    expect(rulesEqual(4, quoted, words("-s 10.0.0.0/8 -m comment --comment x -j X"))).toBe(false);
  });
});

test("the canonical text can be read by a person, since failures are reported under it", () => {
  const rule = ["-m", "comment", "--comment", "flanneld masq", "-j", "FLANNEL-POSTRTG"];
  const family: Family = 4;
  expect(canonicalRule(family, rule)).toBe('-m comment --comment "flanneld masq" -j FLANNEL-POSTRTG');
});
