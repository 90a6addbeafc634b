// A real systemd as the first process of a PID namespace in a lab machine, with no units but those that a test gives it.
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import type { Machine } from "../../lab/machine.ts";
import { exec } from "../../src/kernel/exec.ts";
import type { ExecResult } from "../../src/kernel/exec.ts";
import { removeCgroup } from "./cgroups.ts";
import { waitFor } from "./wait.ts";

const ROOT = path.resolve(import.meta.dirname, "../..");
const UNIT_DIRECTORY = "/etc/systemd/system";
const LOG_FILE = "/run/units.log";

/** What any unit depends on by default, and an empty thing to boot into. */
const BASE_UNITS: Readonly<Record<string, string>> = {
  "basic.target": "[Unit]\nDescription=basic\n",
  "sysinit.target": "[Unit]\nDescription=sysinit\n",
  "shutdown.target": "[Unit]\nDescription=shutdown\nDefaultDependencies=no\n",
  "network.target": "[Unit]\nDescription=network\n",
  "network-online.target": "[Unit]\nDescription=network-online\n",
  "multi-user.target": "[Unit]\nDescription=multi-user\n",
  "lab.target": "[Unit]\nDescription=lab\n",
  // There is no journal here.
  "service.d/log.conf": `[Service]\nStandardOutput=append:${LOG_FILE}\nStandardError=append:${LOG_FILE}\n`,
};

/**
 * systemd gets a cgroup of its own as its root, so that it sees and touches no other: of version 2, or of the hierarchy
 * of version 1 that only systemd uses. The mounts are private to it; /run, /etc and /usr are those of the machine.
 */
const BOOT = `
set -e
[ -e /sys/fs/cgroup/cgroup.controllers ] && version=2 || version=1
[ $version = 2 ] && parent=/sys/fs/cgroup || parent=/sys/fs/cgroup/systemd
echo "$parent/$1"
mkdir -p "$parent/$1"
echo $$ >"$parent/$1/cgroup.procs"
exec unshare --fork --pid --mount --cgroup --kill-child=KILL sh -ec '
mount -t proc proc /proc
# Over what is there: the kernel mounts no file system twice in a row at one place.
mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
if [ $1 = 2 ]; then
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
else
  mkdir /sys/fs/cgroup/systemd
  mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
fi
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=lab SYSTEMD_UNIT_PATH=${UNIT_DIRECTORY} \
  /lib/systemd/systemd --system --unit=lab.target --log-target=console --log-level=notice
' boot $version
`;

export interface Systemd {
  /** Runs systemctl. @throws {ExecError} unless `allowFailure` */
  ctl(args: readonly string[], options?: { readonly allowFailure?: boolean }): Promise<ExecResult>;
  /** Properties of a unit, as \`systemctl show\` gives them. */
  show(unit: string, ...names: readonly string[]): Promise<Readonly<Record<string, string>>>;
  /** Puts a file into the machine. */
  install(file: string, content: string): void;
  /** All that the units have written. */
  log(): string;
  close(): Promise<void>;
}

/** Boots systemd in a machine where the release is installed as deploy/ says. The machine must be fresh. */
export async function startSystemd(machine: Machine): Promise<Systemd> {
  await machine.exec("mount", ["-t", "tmpfs", "tmpfs", UNIT_DIRECTORY]);
  const install = (file: string, content: string): void => {
    const target = machine.hostPath(file);
    mkdirSync(path.dirname(target), { recursive: true });
    writeFileSync(target, content, { mode: 0o755 });
  };
  for (const [name, content] of Object.entries(BASE_UNITS)) install(`${UNIT_DIRECTORY}/${name}`, content);
  await installRelease(machine);
  const name = `fts-systemd-${machine.pid}`;
  const booted = await machine.spawn("sh", ["-c", BOOT, "boot", name], { stdio: ["ignore", "pipe", "pipe"] });
  let cgroup = "";
  let said = "";
  booted.child.stdout?.on("data", (chunk: Buffer) => (cgroup += chunk.toString()));
  booted.child.stderr?.on("data", (chunk: Buffer) => (said += chunk.toString()));
  // systemctl must see systemd as process 1.
  const pid = await waitFor("systemd to start", () => {
    if (!booted.isRunning()) throw new Error(`it ended: ${said}`);
    const child = readFileSync(`/proc/${booted.pid}/task/${booted.pid}/children`, "utf8").trim();
    return readFileSync(`/proc/${child}/comm`, "utf8").trim() === "systemd" ? child : undefined;
  });
  const ctl: Systemd["ctl"] = (args, options = {}) =>
    exec("nsenter", ["--target", pid, "--all", "--", "systemctl", ...args], {
      timeoutMs: 100_000,
      ...options,
    });
  await waitFor("systemd to run", async () => {
    if (!booted.isRunning()) throw new Error(`systemd ended: ${said}`);
    return (await ctl(["is-system-running"], { allowFailure: true })).stdout.trim() === "running";
  });
  return {
    ctl,
    show: async (unit, ...names) => {
      const { stdout } = await ctl(["show", unit, `--property=${names.join(",")}`]);
      const lines = stdout.split("\n").filter((line) => line.includes("="));
      return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s, 2) as [string, string]));
    },
    install,
    log: () => readFileSync(machine.hostPath(LOG_FILE), "utf8"),
    close: async () => {
      await machine.close();
      await waitFor("systemd's cgroup to be empty", () => {
        removeCgroup(cgroup.trim());
        return true;
      });
    },
  };
}

/** /usr is shared with this computer, so the links that a package would put there go into a layer of the machine. */
async function installRelease(machine: Machine): Promise<void> {
  const script = `
layers=/run/.private/usr
mkdir -p $layers/upper $layers/work /opt/flanneld-ts
mount -t overlay overlay -o lowerdir=/usr,upperdir=$layers/upper,workdir=$layers/work /usr
cp -r "$1/dist/flanneld-ts" "$1/dist/flanneld.mjs" "$1/dist/flanneld-chunks" /opt/flanneld-ts
touch /opt/flanneld-ts/node
mount --bind "$2" /opt/flanneld-ts/node
ln -s /opt/flanneld-ts/flanneld-ts /usr/bin/flanneld
install -D "$1/deploy/mk-docker-opts.sh" /usr/libexec/flannel/mk-docker-opts.sh
`;
  await machine.exec("sh", ["-ec", script, "install", ROOT, process.execPath]);
}
