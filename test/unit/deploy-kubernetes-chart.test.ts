// The chart's rendered default is the manifest in substance; with helm in PATH the rendering itself is tested.
// After a change of the chart: UPDATE=1 vitest run --project unit test/unit/deploy-kubernetes-chart.test.ts
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { BACKEND_TYPES } from "../../src/backends/registry.ts";
import { parseNetworkConfig } from "../../src/ipam/parse-network-config.ts";

const CHART = "deploy/chart/flannel";
const GOLDEN = "test/golden/deploy/chart-default.yml";
const helm = spawnSync("helm", ["version", "--short"], { encoding: "utf8" });
const hasHelm = helm.status === 0;

function render(...settings: readonly string[]): { readonly text: string; readonly error: string } {
  const values = settings.flatMap((setting) => ["--set", setting]);
  const { stdout, stderr } = spawnSync(
    "helm",
    ["template", "flannel", CHART, "--namespace", "kube-flannel", ...values],
    { encoding: "utf8" },
  );
  return { text: stdout, error: stderr };
}

interface Manifest {
  readonly kind: string;
  readonly data: Readonly<Record<string, string>>;
}

/** Kind -> object, without what only a chart has: checksums, pull policies and the namespace that Helm leaves to its user. */
function substance(text: string): Readonly<Record<string, unknown>> {
  const manifests = parseAllDocuments(text)
    .map((document) => document.toJS() as Manifest | null)
    .filter((manifest) => manifest !== null && manifest.kind !== "Namespace") as readonly Manifest[];
  return Object.fromEntries(
    manifests.map((manifest) => {
      const plain = JSON.stringify(manifest, (key, value: unknown) =>
        key === "imagePullPolicy" || key === "annotations" ? undefined : value,
      );
      const copy = JSON.parse(plain) as Manifest;
      if (copy.kind !== "ConfigMap") return [copy.kind, copy];
      const data = Object.fromEntries(
        Object.entries(copy.data).map(([name, value]) => [name, JSON.parse(value) as unknown]),
      );
      return [copy.kind, { ...copy, data }];
    }),
  );
}

function digestOfChart(): string {
  const hash = createHash("sha256");
  for (const file of readdirSync(CHART, { recursive: true, encoding: "utf8" }).toSorted()) {
    const full = path.join(CHART, file);
    if (statSync(full).isFile()) hash.update(`${file}\0`).update(readFileSync(full)).update("\0");
  }
  return hash.digest("hex");
}

const golden = (): string => `# helm template of the chart with digest ${digestOfChart()}\n${render().text}`;
if (hasHelm && process.env["UPDATE"] === "1") writeFileSync(GOLDEN, golden());

describe("chart", () => {
  it("renders to the manifest in substance", () => {
    expect(substance(readFileSync(GOLDEN, "utf8"))).toEqual(
      substance(readFileSync("deploy/kube-flannel.yml", "utf8")),
    );
  });

  it("was rendered as it is now", () => {
    expect(readFileSync(GOLDEN, "utf8").split("\n")[0]).toContain(digestOfChart());
  });

  it("offers the backends that this version has", () => {
    const schema = JSON.parse(readFileSync(`${CHART}/values.schema.json`, "utf8")) as {
      properties: { flannel: { properties: { backend: { enum: string[] } } } };
    };
    expect(schema.properties.flannel.properties.backend.enum.toSorted()).toEqual(BACKEND_TYPES.toSorted());
  });
});

describe.skipIf(!hasHelm)("helm (needs it in PATH: go install helm.sh/helm/v3/cmd/helm@latest)", () => {
  it("finds nothing to complain of", () => {
    const { status, stdout } = spawnSync("helm", ["lint", "--strict", CHART], { encoding: "utf8" });
    expect({ status, stdout }).toMatchObject({ status: 0 });
  });

  it("renders the golden file", () => {
    expect(golden()).toBe(readFileSync(GOLDEN, "utf8"));
  });

  it.each([
    ["flannel.backend=wireguard", /at '\/flannel\/backend': value must be one of 'vxlan'/],
    ["podCidr=10.244.0.0", /podCidr is "10.244.0.0", but must be an IPv4 network such as 10.244.0.0\/16/],
    ["podCidr=10.244.0.256/16", /podCidr is .* must be an IPv4 network/],
    ["podCidr=10.244.0.0/33", /podCidr is .* must be an IPv4 network/],
    ["podCidrv6=10.0.0.0/8", /podCidrv6 is "10.0.0.0\/8", but must be an IPv6 network/],
    ["podCidr=", /set podCidr, podCidrv6 or both/],
    ["flannel.vni=0", /at '\/flannel\/vni'/],
    ["flannel.mtu=big", /at '\/flannel\/mtu'/],
    ["flannel.bakend=vxlan", /'bakend' not allowed/],
    ["netpol.enabled=true", /'netpol' not allowed/],
  ])("refuses %s", (setting, message) => {
    const { text, error } = render(setting);
    expect(text).toBe("");
    expect(error).toMatch(message);
  });

  const cniConf = [
    "flannel.cniConf.name=mine",
    "flannel.cniConf.cniVersion=1.0.0",
    "flannel.cniConf.plugins[0].type=flannel",
  ];
  it("refuses a CNI configuration by which no pod waits for its policy", () => {
    const { text, error } = render(...cniConf);
    expect(text).toBe("");
    expect(error).toMatch(
      /plugin of type flannel without networkPolicy.*add networkPolicy: \{waitSeconds: 30/,
    );
  });
  it.each(["flannel.networkPolicy=false", "flannel.cniConf.plugins[0].networkPolicy.waitSeconds=9"])(
    "takes it with %s",
    (setting) => {
      const { text } = render(...cniConf, setting);
      expect(substance(text)["ConfigMap"]).toMatchObject({ data: { "cni-conf.json": { name: "mine" } } });
    },
  );

  it("writes a configuration that the daemon reads as meant", () => {
    const settings = [
      "podCidrv6=fd00:10:244::/56",
      "flannel.vni=7",
      "flannel.backendPort=4789",
      "flannel.mtu=1400",
    ];
    const { text } = render(...settings, "flannel.directRouting=true");
    const { data } = substance(text)["ConfigMap"] as { data: Readonly<Record<string, unknown>> };
    const written = data["net-conf.json"];
    expect(written).toMatchObject({
      EnableIPv6: true,
      Backend: { Type: "vxlan", VNI: 7, Port: 4789, MTU: 1400, DirectRouting: true },
    });
    const config = parseNetworkConfig(JSON.stringify(written), { allocate: false });
    expect(config.ipv4?.network).toBe("10.244.0.0/16");
    expect(config.ipv6?.network).toBe("fd00:10:244::/56");
  });

  it("asks for no rights that only network policy needs without it", () => {
    const { text } = render("flannel.networkPolicy=false");
    expect(text).not.toMatch(/--network-policy|networkpolicies|namespaces\]/);
    expect(text).toContain("verbs: [get]");
  });

  it("leaves probes, port and CNI list out on request", () => {
    const { text } = render("flannel.healthz.port=0", "flannel.skipCNIConfigInstallation=true");
    expect(text).not.toMatch(/healthz|Probe|install-conf/);
    const { text: private_ } = render("global.imagePullSecrets[0].name=registry");
    expect(private_).toContain("imagePullSecrets:\n  - name: registry");
  });
});
