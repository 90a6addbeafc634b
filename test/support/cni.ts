// A node for CNI tests: a network namespace, a subnet file, and the built executable called as a container runtime does.
import {
  existsSync,
  mkdtempSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { exec } from "../../src/kernel/exec.ts";
import type { ExecResult } from "../../src/kernel/exec.ts";
import { createNamespace } from "./netns.ts";
import type { TestNamespace } from "./netns.ts";

export const CNI_EXECUTABLE = path.resolve(import.meta.dirname, "../../dist/flannel");
/** Debian's containernetworking-plugins. */
export const STANDARD_PLUGINS = "/usr/lib/cni";

export const SUBNET_ENV = {
  ipv4: "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
  ipv6: "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
  dual:
    "FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\n" +
    "FLANNEL_IPV6_NETWORK=fc00::/48\nFLANNEL_IPV6_SUBNET=fc00::1/64\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
  twoNetworks:
    "FLANNEL_NETWORK=10.1.0.0/16,192.168.0.0/16\nFLANNEL_SUBNET=10.1.17.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=true\n",
} as const;

export type Json = Record<string, unknown>;

export interface CniCall {
  readonly verb?: string;
  readonly containerId?: string;
  /** Path; "" leaves CNI_NETNS empty. */
  readonly netns?: string;
  readonly ifName?: string;
  readonly cniPath?: string;
  readonly cniArgs?: string;
  /** More variables; undefined removes one of those above. */
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Replaces the configuration's text. */
  readonly stdin?: string;
  readonly executable?: string;
  /** Working directory; the root by default. */
  readonly cwd?: string;
}

export interface CniOutcome extends ExecResult {
  /** Standard output as JSON; undefined when it is empty. */
  readonly json: CniJson | undefined;
}

/** The members of results and errors that tests look at. */
export interface CniJson {
  readonly cniVersion?: string;
  readonly code?: number;
  readonly msg?: string;
  readonly details?: string;
  readonly supportedVersions?: readonly string[];
  readonly interfaces?: readonly { readonly name: string; readonly sandbox?: string }[];
  readonly ips?: readonly { readonly address: string; readonly gateway?: string }[];
  readonly routes?: readonly { readonly dst: string; readonly gw?: string }[];
  readonly ip4?: { readonly ip: string };
}

/** Reads standard output, which must be empty or JSON: never a stack trace. */
export function outcomeOf(result: ExecResult): CniOutcome {
  if (result.stdout.trim() === "") return { ...result, json: undefined };
  try {
    return { ...result, json: JSON.parse(result.stdout) as CniJson };
  } catch {
    throw new Error(
      `standard output is no JSON: ${result.stdout.slice(0, 500)}\n${result.stderr.slice(0, 500)}`,
    );
  }
}

/** One machine with pods. Everything it makes goes with `remove`. */
export class CniNode {
  readonly namespace: TestNamespace;
  readonly directory: string;
  readonly #pods: TestNamespace[] = [];

  private constructor(namespace: TestNamespace, directory: string) {
    this.namespace = namespace;
    this.directory = directory;
  }

  static async create(subnetEnv: string | undefined = SUBNET_ENV.ipv4): Promise<CniNode> {
    const node = new CniNode(await createNamespace("ftscni"), mkdtempSync(path.join(os.tmpdir(), "ftscni-")));
    if (subnetEnv !== "") writeFileSync(node.subnetFile, subnetEnv);
    return node;
  }

  get subnetFile(): string {
    return path.join(this.directory, "subnet.env");
  }

  get dataDir(): string {
    return path.join(this.directory, "data");
  }

  /** Addresses that host-local has given out and not taken back. */
  reservedAddresses(network = "cni-flannel"): readonly string[] {
    const directory = path.join(this.directory, "ipam", network);
    if (!existsSync(directory)) return [];
    return readdirSync(directory).filter((name) => /^[0-9a-f]*[.:]/i.test(name) && !name.startsWith("last"));
  }

  /** State files that a person sees in dataDir, ours and flannel's. */
  stateFiles(): readonly string[] {
    const list = (directory: string) => (existsSync(directory) ? readdirSync(directory) : []);
    return [
      ...list(this.dataDir).filter((name) => !name.startsWith(".")),
      ...["attachments", "locks"].flatMap((name) =>
        list(path.join(this.dataDir, `.${name}`)).map((file) => `.${name}/${file}`),
      ),
    ].toSorted();
  }

  /** A network configuration of type flannel for this node. */
  conf(more: Json = {}): Json {
    const { ipam, ...rest } = more;
    return {
      cniVersion: "1.0.0",
      name: "cni-flannel",
      type: "flannel",
      subnetFile: this.subnetFile,
      dataDir: this.dataDir,
      ipam: { dataDir: path.join(this.directory, "ipam"), ...(ipam as Json | undefined) },
      ...rest,
    };
  }

  async addPod(): Promise<TestNamespace & { readonly path: string }> {
    const pod = await createNamespace("ftscni-pod");
    this.#pods.push(pod);
    return { ...pod, path: `/run/netns/${pod.name}` };
  }

  /** Makes an executable plugin of shell lines; returns its directory. Its standard input is $CONF. */
  fakePlugin(name: string, lines: string): string {
    const directory = path.join(this.directory, "plugins");
    mkdirSync(directory, { recursive: true });
    writeFileSync(path.join(directory, name), `#!/bin/sh\nCONF=$(cat)\n${lines}\n`, { mode: 0o755 });
    return directory;
  }

  /** Runs the executable with nothing else in its environment, in the root directory. */
  async call(conf: Json, call: CniCall = {}): Promise<CniOutcome> {
    const env: Record<string, string | undefined> = {
      CNI_COMMAND: call.verb ?? "ADD",
      CNI_CONTAINERID: call.containerId ?? "container-1",
      CNI_NETNS: call.netns ?? "",
      CNI_IFNAME: call.ifName ?? "eth0",
      CNI_PATH: call.cniPath ?? STANDARD_PLUGINS,
      CNI_ARGS: call.cniArgs,
      ...call.env,
    };
    const assignments = Object.entries(env)
      .filter(([, value]) => value !== undefined)
      .map(([key, value]) => `${key}=${value}`);
    const result = await exec(
      "nsenter",
      [
        `--net=/run/netns/${this.namespace.name}`,
        `--wd=${call.cwd ?? "/"}`,
        "--",
        "env",
        "-i",
        ...assignments,
        call.executable ?? CNI_EXECUTABLE,
      ],
      { input: call.stdin ?? JSON.stringify(conf), allowFailure: true },
    );
    return outcomeOf(result);
  }

  /** As `call`, and fails the test when the executable fails. */
  async succeed(conf: Json, call: CniCall = {}): Promise<CniJson> {
    const outcome = await this.call(conf, call);
    if (outcome.exitCode !== 0) throw new Error(`${call.verb ?? "ADD"}: ${outcome.stdout}${outcome.stderr}`);
    return outcome.json ?? {};
  }

  stateText(name: string): string {
    return readFileSync(path.join(this.dataDir, name), "utf8");
  }

  async remove(): Promise<void> {
    for (const pod of this.#pods) await pod.remove();
    await this.namespace.remove();
    rmSync(this.directory, { recursive: true, force: true });
  }
}
