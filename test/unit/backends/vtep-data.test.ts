// What counts as a peer's tunnel end point.
import { expect, test } from "vitest";
import { parseVtepData } from "../../../src/backends/vtep-data.ts";

const parse = (backendData: unknown) =>
  parseVtepData({ nodeName: "n", backendType: "vxlan", backendData }, 4);

test.each([
  ["today's flannel", { VNI: 7, VtepMAC: "0A:00:00:00:00:01" }, { vni: 7, mac: "0a:00:00:00:00:01" }],
  ["flannel 0.11", { VtepMAC: "0a:00:00:00:00:01" }, { vni: undefined, mac: "0a:00:00:00:00:01" }],
])("%s", (_, data, expected) => {
  expect(parse(data)).toEqual(expected);
});

test.each([
  [{ VNI: "7", VtepMAC: "0a:00:00:00:00:01" }, /VNI/],
  [{ VNI: 2 ** 24, VtepMAC: "0a:00:00:00:00:01" }, /VNI/],
  [{ VNI: null, VtepMAC: "0a:00:00:00:00:01" }, /VNI/],
  [{ VNI: 7, VtepMAC: "01:00:5e:00:00:01" }, /VtepMAC/],
  [{ VNI: 7 }, /VtepMAC/],
  [undefined, /no BackendData/],
])("%j is refused", (data, problem) => {
  expect(parse(data)).toEqual({ problem: expect.stringMatching(problem) as unknown });
});
