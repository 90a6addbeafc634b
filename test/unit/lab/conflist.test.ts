import { describe, expect, test } from "vitest";
import { isAtLeastVersion, parseConflist, renderPluginConfig } from "../../../lab/conflist.ts";
import type { PluginConfig } from "../../../lab/conflist.ts";

const LIST = JSON.stringify({
  cniVersion: "1.0.0",
  name: "cbr0",
  plugins: [{ type: "flannel", delegate: { isDefaultGateway: true } }, { type: "portmap" }],
});

describe("parseConflist", () => {
  test("a list", () => {
    expect(parseConflist(LIST, "x")).toEqual({
      cniVersion: "1.0.0",
      name: "cbr0",
      disableCheck: false,
      plugins: [{ type: "flannel", delegate: { isDefaultGateway: true } }, { type: "portmap" }],
    });
  });
  test("a single plugin's .conf is a list of one; without a version it is 0.1.0", () => {
    const conf = { name: "net", type: "bridge" };
    expect(parseConflist(JSON.stringify(conf), "x")).toMatchObject({ cniVersion: "0.1.0", plugins: [conf] });
  });
  test.each([
    { text: "{", says: "x.conflist: not JSON" },
    { text: "[]", says: "x.conflist: not a JSON object" },
    { text: '{"plugins":[{"type":"a"}]}', says: 'x.conflist: no "name"' },
    { text: '{"name":"a","plugins":[]}', says: 'x.conflist: "plugins" is not a filled list' },
    { text: '{"name":"a","plugins":[{}]}', says: 'x.conflist: plugins[0] has no "type"' },
  ])("$text: $says", ({ text, says }) => {
    expect(() => parseConflist(text, "x.conflist")).toThrow(says);
  });
});

describe("renderPluginConfig", () => {
  const list = parseConflist(LIST, "x");
  const render = (plugin: PluginConfig, call: Parameters<typeof renderPluginConfig>[2] = {}): unknown =>
    JSON.parse(renderPluginConfig(list, plugin, call));

  test("name and version of the list are injected, over those of the plugin", () => {
    expect(render({ type: "bridge", name: "other", cniVersion: "0.1.0", mtu: 1400 })).toEqual({
      type: "bridge",
      mtu: 1400,
      name: "cbr0",
      cniVersion: "1.0.0",
    });
  });

  test("a plugin gets the capability arguments that it declares, and only those", () => {
    const capabilityArgs = { portMappings: [{ hostPort: 80 }], bandwidth: { ingressRate: 1 } };
    const portmap = { type: "portmap", capabilities: { portMappings: true, bandwidth: false } };
    expect(render(portmap, { capabilityArgs })).toMatchObject({
      runtimeConfig: { portMappings: [{ hostPort: 80 }] },
    });
    expect(render({ type: "flannel" }, { capabilityArgs })).not.toHaveProperty("runtimeConfig");
  });

  test("prevResult is passed on as it is", () => {
    const prevResult = { cniVersion: "1.0.0", ips: [{ address: "10.1.1.2/24" }] };
    expect(render({ type: "portmap" }, { prevResult })).toMatchObject({ prevResult });
    expect(render({ type: "portmap" })).not.toHaveProperty("prevResult");
  });

  test("GC names the attachments that are still wanted, in the spelling of the spec", () => {
    const validAttachments = [{ containerID: "c1", ifname: "eth0" }];
    expect(render({ type: "flannel" }, { validAttachments })).toMatchObject({
      "cni.dev/valid-attachments": validAttachments,
    });
  });
});

test.each([
  ["0.4.0", "0.4.0", true],
  ["0.3.1", "0.4.0", false],
  ["1.0.0", "0.4.0", true],
  ["0.10.0", "0.4.0", true],
  ["1.0.0", "1.1.0", false],
])("%s is at least %s: %s", (a, b, expected) => {
  expect(isAtLeastVersion(a, b)).toBe(expected);
});
