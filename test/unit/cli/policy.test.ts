// `flanneld-ts policy apply|get|delete`: what is read, refused and written; the transcript in test/golden shows the rest.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import { splitPolicyFlags } from "../../../src/cli/policy-flags.ts";
import { parseDocuments } from "../../../src/cli/policy-parse.ts";
import { planChange } from "../../../src/cli/policy-store.ts";
import { validateObject } from "../../../src/cli/policy-validate.ts";
import { runPolicyCommand } from "../../../src/cli/policy.ts";
import { EtcdCallError } from "../../../src/etcd/client.ts";
import type { EtcdClient, KeyValue } from "../../../src/etcd/client.ts";
import { formatProblem } from "../../../src/policy/problems.ts";
import { createFakeEtcd } from "../../support/fake-etcd-client.ts";

const folders: string[] = [];
afterEach(() => {
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

function folderWith(files: Readonly<Record<string, string>>): string {
  const folder = mkdtempSync(path.join(tmpdir(), "so-policy-"));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) writeFileSync(path.join(folder, name), text);
  return folder;
}

async function run(client: EtcdClient, argv: readonly string[], input = "") {
  const written = { stdout: "", stderr: "" };
  async function* stdin() {
    yield await Promise.resolve(input);
  }
  const openEtcd = () => Promise.resolve(client);
  const environment = { store: "etcd", etcdPrefix: "/net", statusSocket: "", openEtcd } as const;
  const code = await runPolicyCommand(argv, (operands) => ({ environment, operands }), {
    stdin: stdin(),
    stdout: { write: (text) => (written.stdout += text) },
    stderr: { write: (text) => (written.stderr += text) },
  });
  return { code, ...written };
}

const policy = (name: string, spec = "{podSelector: {}}", namespace = "shop"): string =>
  `{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: ${name}, namespace: ${namespace}}, spec: ${spec}}\n`;

describe("flags", () => {
  it.each([
    {
      argv: ["apply", "-f", "a", "-f=b", "--filename=c", "--filename", "d"],
      flags: { filename: ["a", "b", "c", "d"] },
    },
    { argv: ["get", "-A", "-o", "yaml"], flags: { "all-namespaces": true, output: "yaml" } },
    {
      argv: ["get", "-n=shop", "--etcd-prefix=/x"],
      flags: { namespace: "shop" },
      rest: ["get", "--etcd-prefix=/x"],
    },
    { argv: ["apply", "-f", "-"], flags: { filename: ["-"] } },
  ])("$argv", ({ argv, flags, rest }) => {
    expect(splitPolicyFlags(argv)).toMatchObject({ flags, ...(rest && { rest }) });
  });

  it("a flag without its value, or of another sub-command, is named", async () => {
    const etcd = createFakeEtcd();
    expect(await run(etcd, ["apply", "-f"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("-f needs a value") as string,
    });
    expect(await run(etcd, ["get", "-f", "a.yml"])).toMatchObject({
      code: 2,
      stderr: expect.stringContaining("policy get has no flag --filename") as string,
    });
  });

  it("help names every sub-command", async () => {
    const { code, stdout } = await run(createFakeEtcd(), ["--help"]);
    expect(code).toBe(0);
    for (const word of ["apply", "get", "delete", "explain", "matrix", "status"])
      expect(stdout).toContain(` policy ${word} `);
  });
});

describe("documents", () => {
  it("several in one text, empty ones left out, lists unfolded, JSON too", () => {
    const text = "---\na: 1\n---\n# nothing\n---\nkind: List\nitems: [{b: 1}, {b: 2}]\n";
    expect(parseDocuments(text, "f").map(({ source, input }) => [source, input])).toEqual([
      ["f, document 1", { a: 1 }],
      ["f, document 3, items[0]", { b: 1 }],
      ["f, document 3, items[1]", { b: 2 }],
    ]);
    expect(parseDocuments('{"kind": "NetworkPolicyList", "items": []}', "f")).toEqual([]);
    expect(parseDocuments('\t{"a": [1,\n\t2]}', "f")).toEqual([{ source: "f", input: { a: [1, 2] } }]);
  });

  it("bare words mean what they mean to Kubernetes", () => {
    expect(parseDocuments("{a: yes, b: 0777, c: 2001-01-01, d: 'yes', e: ~}", "f")[0]?.input).toEqual({
      a: true,
      b: 511,
      c: "2001-01-01",
      d: "yes",
      e: null,
    });
  });

  it.each([
    ["a: 1\na: 2", /unique at line 2/],
    ["a: [1", /line 1|line 2/],
    ["a: *nobody", /nobody/],
    ["\ta: 1", /line 1/],
  ])("%j is refused with its place", (text, message) => {
    expect(parseDocuments(text, "f")[0]?.problem).toMatch(message);
  });
});

describe("validation", () => {
  const problems = (object: object, namespace?: string): readonly string[] =>
    validateObject(object, namespace).problems.map(formatProblem);
  const meta = { name: "web", namespace: "shop" };

  it("keeps of a pod what policy reads, and drops what the store says itself", () => {
    const pod = {
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...meta, labels: { app: "web" }, uid: "u", resourceVersion: "7", managedFields: [] },
      spec: {
        nodeName: "n1",
        containers: [
          { name: "c", image: "nginx", ports: [{ name: "http", containerPort: 80 }] },
          { name: "d" },
        ],
        initContainers: [{ name: "e", restartPolicy: "Always", ports: [{ containerPort: 9000 }] }],
      },
      status: { phase: "Running", podIPs: [{ ip: "10.0.0.1" }] },
    };
    expect(validateObject(pod, undefined)).toMatchObject({ problems: [] });
    expect(validateObject(pod, undefined).manifest).toEqual({
      apiVersion: "v1",
      kind: "Pod",
      metadata: { ...meta, labels: { app: "web" } },
      spec: {
        containers: [{ name: "c", ports: [{ name: "http", containerPort: 80 }] }],
        initContainers: [{ name: "e", restartPolicy: "Always", ports: [{ containerPort: 9000 }] }],
      },
      status: { podIPs: [{ ip: "10.0.0.1" }] },
    });
  });

  it("fills in policyTypes as the API server does", () => {
    const types = (spec: object): unknown =>
      validateObject(
        { apiVersion: "networking.k8s.io/v1", kind: "NetworkPolicy", metadata: meta, spec },
        undefined,
      ).manifest?.spec?.["policyTypes"];
    expect(types({ podSelector: {} })).toEqual(["Ingress"]);
    expect(types({ podSelector: {}, egress: [] })).toEqual(["Ingress"]);
    expect(types({ podSelector: {}, egress: [{}] })).toEqual(["Ingress", "Egress"]);
    expect(types({ podSelector: {}, egress: [{}], policyTypes: ["Egress"] })).toEqual(["Egress"]);
  });

  it.each([
    ["text", /must be an object/],
    [{}, /kind: must be one of NetworkPolicy, Namespace, Pod/],
    [{ apiVersion: "v1", kind: "Namespace" }, /metadata.name: is required/],
    [{ apiVersion: "v2", kind: "Namespace", metadata: { name: "a" } }, /apiVersion: must be v1/],
    [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "a", labels: { "a b": "c" } } },
      /metadata.labels.a b: .*no label key/,
    ],
    [
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "a", annotations: { a: 1 } } },
      /metadata.annotations.a: must be a string/,
    ],
    [
      { apiVersion: "v1", kind: "Pod", metadata: meta, status: { podIPs: [{ ip: "10.0.0" }] } },
      /status.podIPs\[0\].ip/,
    ],
    [
      { apiVersion: "v1", kind: "Pod", metadata: meta, spec: { containers: {} } },
      /spec.containers: must be a list/,
    ],
    [
      { apiVersion: "v1", kind: "Pod", metadata: meta, specs: {} },
      /specs: is no field here; did you mean spec/,
    ],
  ])("%j is refused by name", (object, message) => {
    expect(problems(object as object).join("\n")).toMatch(message);
  });

  it("-n is for objects that name no namespace, and contradicts none that do", () => {
    const pod = { apiVersion: "v1", kind: "Pod", metadata: { name: "web" } };
    expect(validateObject(pod, "bank").manifest?.metadata.namespace).toBe("bank");
    expect(validateObject(pod, undefined).manifest?.metadata.namespace).toBe("default");
    expect(problems({ ...pod, metadata: meta }, "bank")).toEqual([
      'metadata.namespace: is "shop", but -n says bank',
    ]);
  });
});

describe("apply", () => {
  it("counts generations, keeps uid and age, and writes nothing that is there already", async () => {
    const etcd = createFakeEtcd();
    const read = async () =>
      JSON.parse((await etcd.get("/net/policy/policies/shop/web"))!.value) as {
        metadata: Record<string, unknown>;
        spec: object;
      };
    expect(await run(etcd, ["apply", "-f", "-"], policy("web"))).toMatchObject({
      code: 0,
      stdout: "networkpolicy.networking.k8s.io/web created\n",
    });
    const first = await read();
    const { put } = etcd.calls;
    // Another order of fields is no change.
    const same = `{"kind":"NetworkPolicy","apiVersion":"networking.k8s.io/v1","spec":{"policyTypes":["Ingress"],"podSelector":{}},"metadata":{"namespace":"shop","name":"web"}}`;
    expect(await run(etcd, ["apply", "-f", "-"], same)).toMatchObject({
      stdout: "networkpolicy.networking.k8s.io/web unchanged\n",
    });
    expect(etcd.calls.put).toBe(put);
    await run(etcd, ["apply", "-f", "-"], policy("web", "{podSelector: {}, policyTypes: [Egress]}"));
    const second = await read();
    expect(second.metadata).toEqual({ ...first.metadata, generation: 2 });
    const labelled = policy("web", "{podSelector: {}, policyTypes: [Egress]}").replace(
      "metadata: {",
      "metadata: {labels: {a: b}, ",
    );
    expect(await run(etcd, ["apply", "-f", "-"], labelled)).toMatchObject({
      stdout: "networkpolicy.networking.k8s.io/web configured\n",
    });
    expect((await read()).metadata).toEqual({ ...first.metadata, generation: 2, labels: { a: "b" } });
  });

  it("all files of a folder, or nothing of them", async () => {
    const etcd = createFakeEtcd();
    const good = { "a.yml": policy("a"), "b.json": policy("b"), "c.txt": "no manifest" };
    expect(await run(etcd, ["apply", "-f", folderWith(good)])).toMatchObject({ code: 0 });
    expect(etcd.entries().map(([key]) => key)).toEqual([
      "/net/policy/policies/shop/a",
      "/net/policy/policies/shop/b",
    ]);
    const bad = { "c.yml": policy("c"), "d.yaml": policy("d", "{podSelectors: {}}") };
    const refused = await run(etcd, ["apply", "-f", folderWith(bad)]);
    expect(refused).toMatchObject({ code: 1, stdout: "" });
    expect(refused.stderr).toContain("spec.podSelectors: is no field here; did you mean podSelector?");
    expect(etcd.entries()).toHaveLength(2);
  });

  it("one transaction for all: whoever comes between is seen, and comes first", async () => {
    const etcd = createFakeEtcd();
    const transact: EtcdClient["transact"] = (writes, conditions) => etcd.transact(writes, conditions);
    let rivals = 1;
    const client = {
      ...etcd,
      transact: async (...args: Parameters<EtcdClient["transact"]>) => {
        if (rivals > 0) await etcd.put("/net/policy/policies/shop/b", '{"metadata":{"uid":"rival"}}');
        rivals -= 1;
        return transact(...args);
      },
    };
    const answer = await run(client, ["apply", "-f", "-"], `${policy("a")}---\n${policy("b")}`);
    expect(answer.stdout).toBe(
      "networkpolicy.networking.k8s.io/a created\nnetworkpolicy.networking.k8s.io/b configured\n",
    );
    expect((await etcd.get("/net/policy/policies/shop/b"))?.value).toContain('"uid":"rival"');
    rivals = 100;
    const given = await run(client, ["apply", "-f", "-"], `${policy("c")}---\n${policy("b", "{}")}`);
    expect(given).toMatchObject({ code: 1, stdout: "" });
    expect(await etcd.get("/net/policy/policies/shop/c")).toBeUndefined();
  });

  it.each([
    [["-f", "absent.yml"], "", /absent.yml.*\n\* cannot be read: ENOENT/],
    [["-f", "https://example.com/a.yml"], "", /an address is not fetched/],
    [["-f", "-"], "# nothing", /no objects in the input/],
    [
      ["-f", "-"],
      `${policy("a")}---\n${policy("a")}`,
      /networkpolicy.networking.k8s.io\/a of shop is given more than once/,
    ],
    [
      ["-f", "-"],
      Array.from({ length: 129 }, (_, i) => policy(`a${i}`)).join("---\n"),
      /129 objects are more than the 128/,
    ],
    [["-f", "-"], policy("a", "{}", "../../subnets"), /metadata.namespace: .* is no namespace/],
  ])("%j refuses, and writes nothing", async (words, input, message) => {
    const etcd = createFakeEtcd();
    const { code, stderr } = await run(etcd, ["apply", ...words], input);
    expect(code).toBe(1);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/Nothing was written\.\n$/);
    expect(etcd.entries()).toEqual([]);
  });

  it("says what etcd says when it is away", async () => {
    const etcd = createFakeEtcd();
    etcd.failure = new EtcdCallError("etcd get: http://192.0.2.1:2379: connection refused", true);
    expect(await run(etcd, ["apply", "-f", "-"], policy("a"))).toEqual({
      code: 1,
      stdout: "",
      stderr: "etcd get: http://192.0.2.1:2379: connection refused\n",
    });
  });

  it("says which nodes do not enforce it: those of a Go flannel, or without --network-policy", async () => {
    const lease = (ip: string): string => `{"PublicIP":"${ip}","PublicIPv6":null,"BackendType":"vxlan"}`;
    const etcd = createFakeEtcd({
      "/net/subnets/10.5.1.0-24": lease("192.0.2.1"),
      "/net/policy/nodes/192.0.2.1": '{"spec":{"podCIDRs":["10.5.1.0/24"]}}',
      "/net/policy/nodes/192.0.2.1/pods/shop/web": "{}",
    });
    expect(await run(etcd, ["apply", "-f", "-"], policy("a"))).toMatchObject({ code: 0, stderr: "" });
    await etcd.put("/net/subnets/10.5.2.0-24", lease("192.0.2.2"));
    expect(await run(etcd, ["apply", "-f", "-"], policy("a"))).toMatchObject({
      code: 0,
      stderr:
        "Warning: not enforced on 192.0.2.2 (10.5.2.0/24): no daemon with --network-policy has registered there.\n",
    });
  });

  it("replaces what cannot be read", () => {
    const kv: KeyValue = { key: "k", value: "{", createRevision: 1n, modRevision: 2n, leaseId: "0" };
    const { manifest } = validateObject(
      { apiVersion: "v1", kind: "Namespace", metadata: { name: "a" } },
      undefined,
    );
    const change = planChange(manifest!, { key: "k", kv, object: undefined });
    expect(change).toMatchObject({ outcome: "configured", conditions: [{ key: "k", unchangedSince: 2n }] });
  });
});

describe("delete", () => {
  it("takes a namespace away with what is in it, and leaves what daemons have registered", async () => {
    const etcd = createFakeEtcd({
      "/net/policy/namespaces/shop": "{}",
      "/net/policy/namespaces/shop-2": "{}",
      "/net/policy/policies/shop/a": "{}",
      "/net/policy/policies/shop-2/a": "{}",
      "/net/policy/pods/shop/web": "{}",
      "/net/policy/nodes/n1/pods/shop/web": "{}",
      "/net/subnets/10.5.1.0-24": "{}",
    });
    expect(await run(etcd, ["delete", "ns/shop"])).toMatchObject({
      code: 0,
      stdout: 'namespace "shop" deleted\n',
    });
    expect(etcd.entries().map(([key]) => key)).toEqual([
      "/net/policy/namespaces/shop-2",
      "/net/policy/nodes/n1/pods/shop/web",
      "/net/policy/policies/shop-2/a",
      "/net/subnets/10.5.1.0-24",
    ]);
  });

  it("goes on after what is absent, and says so in the end", async () => {
    const etcd = createFakeEtcd({ "/net/policy/policies/default/b": "{}" });
    const answer = await run(etcd, ["delete", "netpol", "a", "b"]);
    expect(answer).toMatchObject({ code: 1, stdout: 'networkpolicy.networking.k8s.io "b" deleted\n' });
    expect(etcd.entries()).toEqual([]);
  });

  it("reads of a file only who is meant", async () => {
    const etcd = createFakeEtcd({ "/net/policy/policies/shop/a": "{}" });
    const broken = policy("a", "{podSelectors: 7}");
    expect(await run(etcd, ["delete", "-f", "-"], broken)).toMatchObject({ code: 0 });
    const nameless = await run(etcd, ["delete", "-f", "-"], "kind: NetworkPolicy");
    expect(nameless).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("metadata.name must say which") as string,
    });
  });
});
