// Manifests, image and program agree: commands exist in the image, flags are known, rights are those that are used.
import { readdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { parseNetConf } from "../../cni-plugin/config.ts";
import { DEFAULT_CONFLIST } from "../../src/daemon/conflist.ts";
import { parseOptions } from "../../src/daemon/options.ts";
import { createBackend } from "../../src/backends/registry.ts";
import { parseNetworkConfig } from "../../src/ipam/parse-network-config.ts";
import { IMAGE_CONFIG, imagePaths } from "../../scripts/build-image-plan.ts";

interface Container {
  readonly name: string;
  readonly image: string;
  readonly command?: readonly string[];
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
  readonly securityContext?: {
    readonly privileged?: boolean;
    readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
  };
}

interface Manifest {
  readonly kind: string;
  readonly data?: Readonly<Record<string, string>>;
  readonly rules?: readonly { readonly resources: readonly string[]; readonly verbs: readonly string[] }[];
  readonly spec?: {
    readonly template: {
      readonly spec: {
        readonly hostNetwork?: boolean;
        readonly initContainers?: readonly Container[];
        readonly containers: readonly Container[];
        readonly volumes?: readonly { readonly name: string }[];
      };
    };
  };
}

const OURS = "deploy/kube-flannel.yml";
const V0_11 = "test/golden/deploy/kube-flannel-v0.11.yml";
const UPSTREAM = "test/golden/deploy/kube-flannel-upstream.yml";
const MANIFESTS = [OURS, V0_11, UPSTREAM];

function load(file: string): readonly Manifest[] {
  return parseAllDocuments(readFileSync(file, "utf8")).map((document) => {
    expect(document.errors, file).toEqual([]);
    return document.toJS() as Manifest;
  });
}

function find(file: string, kind: string): Manifest {
  const found = load(file).find((manifest) => manifest.kind === kind);
  if (found === undefined) throw new Error(`${file} has no ${kind}`);
  return found;
}

function podOf(file: string) {
  const pod = find(file, "DaemonSet").spec?.template.spec;
  if (pod === undefined) throw new Error(`${file}: the DaemonSet has no pod`);
  return { ...pod, all: [...(pod.initContainers ?? []), ...pod.containers] };
}

/** "verb resource" of every rule. */
function rightsOf(file: string): readonly string[] {
  const rules = find(file, "ClusterRole").rules ?? [];
  return rules
    .filter(({ resources }) => !resources.includes("podsecuritypolicies"))
    .flatMap(({ resources, verbs }) =>
      resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)),
    )
    .toSorted();
}

/** What reflectors are asked to mirror. */
function reflectedResources(): readonly string[] {
  const files = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((file) =>
    file.endsWith(".ts"),
  );
  return files.flatMap((file) =>
    [...readFileSync(path.join("src", file), "utf8").matchAll(/^ +resource: "([a-z]+)"/gm)].map(
      ([, name = ""]) => name,
    ),
  );
}

/** What the program asks of the API, by the name that each call bears in errors (`CallRequest.what`). */
function rightsUsed(): readonly string[] {
  const sources = readdirSync("src/kube").map((file) => readFileSync(path.join("src/kube", file), "utf8"));
  const calls = sources.flatMap((text) =>
    [
      ...text.matchAll(
        /what: [`"](get|list|watch|create|update|patch|delete) ([a-z]+(?:\/status)?|\$\{resource\})/g,
      ),
    ].map(([, verb, resource]) => ({ verb, resource })),
  );
  const rights = calls.flatMap(({ verb, resource }) => {
    // The reflector: it watches what it lists.
    if (resource === "${resource}") {
      return reflectedResources().flatMap((name) => [`${verb} ${name}`, `watch ${name}`]);
    }
    return [`${verb} ${resource === "pod" ? "pods" : resource}`];
  });
  return [...new Set(rights)].toSorted();
}

describe("rights", () => {
  it("are those that the program uses, and flannel's own, so that one can go back", () => {
    expect(rightsOf(OURS)).toEqual([...rightsUsed(), "get nodes"].toSorted());
  });

  it.each([V0_11, UPSTREAM])("of %s suffice, but for Events and network policy", (file) => {
    const missing = rightsUsed().filter((right) => !rightsOf(file).includes(right));
    const ofPolicy = ["namespaces", "networkpolicies", "pods"].flatMap((name) => [
      `list ${name}`,
      `watch ${name}`,
    ]);
    expect(missing).toEqual(["create events", "patch events", ...ofPolicy].toSorted());
    // Which the daemon does not ask for unless it is told to.
    expect(podOf(file).containers[0]?.args).not.toContain("--network-policy");
  });

  it("are explained one by one", () => {
    const text = readFileSync(OURS, "utf8");
    const verbs = [...text.matchAll(/^( *)(.*)\n {6}- (get|list|watch|patch|create)$/gm)];
    expect(verbs).toHaveLength(rightsOf(OURS).length);
    for (const [, , before, verb] of verbs) expect(before, verb).toMatch(/^# /);
  });
});

describe.each(MANIFESTS)("%s", (file) => {
  it("calls what the image has, with arguments that it knows", () => {
    const paths = imagePaths();
    const folders = IMAGE_CONFIG.environment.PATH.split(":");
    for (const { command = IMAGE_CONFIG.entrypoint, args = [] } of podOf(file).all) {
      const [program = ""] = command;
      const candidates = program.startsWith("/")
        ? [program]
        : folders.map((folder) => `${folder}/${program}`);
      expect(
        candidates.filter((candidate) => paths.has(candidate)),
        program,
      ).not.toEqual([]);
      if (program === "/opt/bin/flanneld") {
        expect(parseOptions(args, {})).toMatchObject({ kind: "run", warnings: [], positionals: [] });
      }
    }
  });

  it("copies only files of the image or of a mount, and only to mounts", () => {
    for (const { command = [], args = [], volumeMounts = [] } of podOf(file).all) {
      if (command[0] === "/opt/bin/flanneld") continue;
      const operands = args.filter((word) => word.startsWith("/"));
      const mounts = volumeMounts.map(({ mountPath }) => mountPath.replace(/\/$/, ""));
      const isMounted = (name: string): boolean =>
        mounts.some((mount) => name === mount || name.startsWith(`${mount}/`));
      expect(operands.slice(0, -1).filter((name) => !isMounted(name) && !imagePaths().has(name))).toEqual([]);
      expect(isMounted(operands.at(-1) ?? "")).toBe(true);
    }
  });

  it("configures a network and a CNI list that this version can use", () => {
    const { data = {} } = find(file, "ConfigMap");
    const config = parseNetworkConfig(data["net-conf.json"] ?? "", { allocate: false });
    expect(createBackend(config).type).toBe("vxlan");
    expect(withoutPolicy(data["cni-conf.json"] ?? "")).toEqual(DEFAULT_CONFLIST);
  });

  it("gives the daemon its node's name, its files and the network", () => {
    const { hostNetwork, containers } = podOf(file);
    const [daemon] = containers;
    const names = daemon?.env?.map(({ name }) => name) ?? [];
    expect(
      names.includes("NODE_NAME") || (names.includes("POD_NAME") && names.includes("POD_NAMESPACE")),
    ).toBe(true);
    expect(daemon?.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual(
      expect.arrayContaining(["/run/flannel", "/etc/kube-flannel/"]),
    );
    expect(hostNetwork).toBe(true);
    expect(daemon?.securityContext?.privileged).toBe(false);
    expect(daemon?.securityContext?.capabilities?.add).toContain("NET_ADMIN");
  });
});

/** The list for clusters where nobody enforces policy. */
function withoutPolicy(text: string): unknown {
  return JSON.parse(text, (key, value: unknown) => (key === "networkPolicy" ? undefined : value));
}

describe(OURS, () => {
  const pod = podOf(OURS);

  it("enforces network policy", () => {
    const parsed = parseOptions(pod.containers[0]?.args ?? [], {});
    expect(parsed).toMatchObject({ kind: "run", options: { networkPolicy: true } });
  });

  it("drops every capability but the two that rules and devices need", () => {
    for (const { name, securityContext } of pod.all) {
      expect(securityContext?.capabilities?.drop, name).toEqual(["ALL"]);
    }
    expect(pod.containers[0]?.securityContext?.capabilities?.add).toEqual(["NET_ADMIN", "NET_RAW"]);
    expect((pod.initContainers ?? []).flatMap((c) => c.securityContext?.capabilities?.add ?? [])).toEqual([]);
  });

  it("mounts only volumes that it has", () => {
    const volumes = new Set(pod.volumes?.map(({ name }) => name));
    for (const { volumeMounts = [] } of pod.all) {
      for (const { name } of volumeMounts) expect(volumes).toContain(name);
    }
  });

  it("names the image of this version, as the image build and the kustomization do", () => {
    const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
    expect(new Set(pod.all.map(({ image }) => image))).toEqual(new Set([`localhost/flanneld-ts:${version}`]));
    expect(readFileSync("deploy/kustomization.yaml", "utf8")).toContain(`newTag: "${version}"`);
    expect(readFileSync("deploy/chart/flannel/Chart.yaml", "utf8")).toContain(`appVersion: "${version}"`);
  });

  it("has the CNI list of deploy/, with pods that wait for their policy", () => {
    const text = find(OURS, "ConfigMap").data?.["cni-conf.json"] ?? "";
    expect(withoutPolicy(text)).toEqual(JSON.parse(readFileSync("deploy/cni-conf.json", "utf8")));
    const { plugins } = JSON.parse(text) as { plugins: readonly object[] };
    const conf = parseNetConf({ name: "cbr0", ...plugins[0] }, "ADD");
    expect(conf.networkPolicy).toEqual({
      socket: "/run/flannel/flanneld.sock",
      waitMs: 30_000,
      proceed: false,
    });
  });
});

describe("deploy/cleanup.yml", () => {
  const file = "deploy/cleanup.yml";

  it("runs cleanup of this version with the daemon's rights, where the daemon's files are", () => {
    const [cleanup] = podOf(file).initContainers ?? [];
    const daemon = podOf(OURS).containers[0];
    expect(cleanup?.image).toBe(daemon?.image);
    expect(cleanup?.args?.[0]).toBe("cleanup");
    expect(cleanup?.securityContext?.capabilities).toEqual(daemon?.securityContext?.capabilities);
    expect(cleanup?.volumeMounts?.map(({ mountPath }) => mountPath)).toEqual([
      "/run/flannel",
      "/etc/cni/net.d",
      "/run/xtables.lock",
    ]);
  });
});
