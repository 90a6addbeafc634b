import { describe, expect, test } from "vitest";
import { planRelays } from "../../../lab/plan-relay.ts";
import { planNodeAttachment } from "../../../lab/plan-topology.ts";

describe("planNodeAttachment", () => {
  test.each([
    { topology: "flat", index: 1, address: "192.0.2.11", address6: "2001:db8:1::b", router: "192.0.2.1" },
    { topology: "flat", index: 240, address: "192.0.2.250", address6: "2001:db8:1::fa", router: "192.0.2.1" },
    { topology: "routed", index: 1, address: "192.0.2.11", address6: "2001:db8:1::b", router: "192.0.2.1" },
    {
      topology: "routed",
      index: 2,
      address: "198.51.100.12",
      address6: "2001:db8:2::c",
      router: "198.51.100.1",
    },
  ] as const)("node $index, $topology: $address", ({ topology, index, address, address6, router }) => {
    const attachment = planNodeAttachment(topology, index);
    expect(attachment).toMatchObject({ address, address6, segment: { router } });
  });
  test.each([0, 241, 1.5])("there is no node %s", (index) => {
    expect(() => planNodeAttachment("flat", index)).toThrow(`there is no node ${index}`);
  });
});

describe("planRelays", () => {
  test("a literal address keeps its URL, so that its certificate stays right", () => {
    expect(planRelays(["https://10.7.0.5:2379"], "192.0.2.1")).toEqual([
      {
        host: "10.7.0.5",
        port: 2379,
        address: "10.7.0.5",
        addressPort: 2379,
        endpoint: "https://10.7.0.5:2379",
      },
    ]);
  });
  test("loopback and names become the underlay's address, on ports of their own", () => {
    const endpoints = ["http://127.0.0.1:2379", "http://localhost:2379", "http://[::1]:4001"];
    expect(planRelays(endpoints, "192.0.2.1").map(({ host, endpoint }) => [host, endpoint])).toEqual([
      ["127.0.0.1", "http://192.0.2.1:2379"],
      ["localhost", "http://192.0.2.1:2380"],
      ["::1", "http://192.0.2.1:4001"],
    ]);
  });
  test.each(["127.0.0.1:2379", "ftp://a", ""])("%j is no endpoint", (endpoint) => {
    expect(() => planRelays([endpoint], "192.0.2.1")).toThrow("is no URL such as http://192.0.2.5:2379");
  });
});
