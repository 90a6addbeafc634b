// containerd in a lab machine, with an image made on the spot from a static busybox.
import { existsSync, readFileSync } from "node:fs";
import type { MachineProcess } from "../../lab/machine.ts";
import type { LabNode } from "../../lab/node.ts";
import type { ExecResult } from "../../src/kernel/exec.ts";
import { removeCgroup } from "./cgroups.ts";
import { waitFor } from "./wait.ts";

export const IMAGE = "localhost/busybox:1";
/** On the machine's tmpfs: an overlay cannot lie on an overlay, as /var is one. */
const DIRECTORY = "/run/containerd-lab";
const SOCKET = `${DIRECTORY}/containerd.sock`;

const CONFIG = `version = 2
root = "${DIRECTORY}/root"
state = "${DIRECTORY}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "${SOCKET}"
[ttrpc]
  address = "${SOCKET}.ttrpc"
`;

/** A Docker archive of one layer: what \`ctr images import\` takes, and a registry is not needed for. */
const MAKE_IMAGE = `
cd "$1"
mkdir -p rootfs/bin image
busybox=$(command -v busybox)
if ldd "$busybox" >/dev/null 2>&1; then
  echo "$busybox is not static; install the package busybox-static" >&2
  exit 1
fi
cp "$busybox" rootfs/bin/busybox
for applet in sh sleep ping ip cat httpd wget; do ln -sf busybox rootfs/bin/$applet; done
tar -C rootfs --numeric-owner --owner=0 --group=0 -cf image/layer.tar .
layer=$(sha256sum image/layer.tar | cut -d' ' -f1)
printf '{"architecture":"%s","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \\
  "$(dpkg --print-architecture)" "$layer" >image/config.json
printf '[{"Config":"config.json","RepoTags":["${IMAGE}"],"Layers":["layer.tar"]}]' >image/manifest.json
tar -C image -cf image.tar manifest.json config.json layer.tar
`;

export interface Containerd {
  /** Runs ctr. @throws {ExecError} unless \`allowFailure\` */
  ctr(args: readonly string[], options?: { readonly allowFailure?: boolean }): Promise<ExecResult>;
  /** A container that sleeps. */
  run(id: string): Promise<void>;
  /** A container that ends with its program. */
  runToEnd(id: string, ...command: readonly string[]): Promise<ExecResult>;
  /** Runs a program in a container. */
  exec(id: string, ...command: readonly string[]): Promise<ExecResult>;
  /** Kills a container; ctr then removes it, with a DEL without a namespace. */
  remove(id: string): Promise<void>;
  log(): string;
  stop(): Promise<void>;
}

/** Starts containerd on a node and imports the image. It looks for plugins in /opt/cni/bin, for networks in /etc/cni/net.d. */
export async function startContainerd(node: LabNode): Promise<Containerd> {
  const log = `${DIRECTORY}/log`;
  await node.exec("mkdir", ["-p", DIRECTORY]);
  await node.exec("sh", ["-c", 'cat >"$1"', "write", `${DIRECTORY}/config.toml`], { input: CONFIG });
  await node.exec("sh", ["-ec", MAKE_IMAGE, "image", DIRECTORY]);
  const daemon = await node.spawn("sh", [
    "-c",
    'exec containerd --config "$1" >"$2" 2>&1',
    "containerd",
    `${DIRECTORY}/config.toml`,
    log,
  ]);
  const ctr: Containerd["ctr"] = (args, options = {}) =>
    node.exec("ctr", ["--address", SOCKET, ...args], options);
  const readLog = (): string => readFileSync(node.machine.hostPath(log), "utf8");
  await waitFor(
    "containerd to serve",
    async () => {
      if (!daemon.isRunning()) throw new Error(`containerd ended: ${readLog()}`);
      return (await ctr(["version"], { allowFailure: true })).exitCode === 0;
    },
    { timeoutMs: 30_000 },
  );
  await ctr(["images", "import", `${DIRECTORY}/image.tar`]);
  const cgroup = `fts-containerd-${node.machine.pid}`;
  let execs = 0;
  const running = new Map<string, MachineProcess>();
  // Not --detach: ctr calls DEL only for containers that it stays with.
  const runArguments = (id: string): string[] => {
    return ["--address", SOCKET, "run", "--rm", "--cni", `--cgroup=${cgroup}/${id}`, IMAGE, id];
  };
  const remove = async (id: string): Promise<void> => {
    await ctr(["tasks", "kill", "--signal=SIGKILL", id]);
    await running.get(id)?.ended;
    running.delete(id);
  };
  return {
    ctr,
    run: async (id) => {
      const process = await node.spawn("ctr", [...runArguments(id), "/bin/sleep", "10000"], {
        stdio: "ignore",
      });
      running.set(id, process);
      await waitFor(`container ${id} to run`, async () => {
        if (!process.isRunning()) throw new Error("ctr run ended");
        return (await ctr(["tasks", "list"])).stdout
          .split("\n")
          .some((line) => line.startsWith(id) && line.includes("RUNNING"));
      });
    },
    runToEnd: (id, ...command) =>
      ctr(["run", "--rm", "--cni", `--cgroup=${cgroup}/${id}`, IMAGE, id, ...command], {
        allowFailure: true,
      }),
    exec: (id, ...command) => ctr(["tasks", "exec", `--exec-id=e${(execs += 1)}`, id, ...command]),
    remove,
    log: readLog,
    stop: async () => {
      for (const id of running.keys()) await remove(id);
      // A container whose network failed is created, and left.
      const { stdout } = await ctr(["containers", "list", "--quiet"]);
      for (const id of stdout.split("\n").filter((line) => line !== "")) {
        await ctr(["tasks", "delete", "--force", id], { allowFailure: true });
        await ctr(["containers", "delete", id]);
      }
      await daemon.stop();
      removeCgroups(cgroup);
    },
  };
}

/** The directory that held the containers' cgroups, in each hierarchy. */
function removeCgroups(name: string): void {
  for (const line of readFileSync("/proc/self/mounts", "utf8").split("\n")) {
    const [, directory = "", type = ""] = line.split(" ");
    if (type.startsWith("cgroup") && existsSync(`${directory}/${name}`)) removeCgroup(`${directory}/${name}`);
  }
}
