// The kernel's switches that send traffic between pods of one node through iptables: set, and watched.
import type { Family } from "../../net/ip.ts";
import type { Exec } from "../../kernel/exec.ts";
import { PROC_SYS_FILES } from "../../kernel/sysctls.ts";
import type { SysctlFiles } from "../../kernel/sysctls.ts";

/** Documentation/networking/ip-sysctl.rst; since Linux 5.3 each network namespace has its own. */
export const BRIDGE_SWITCHES: Readonly<Record<Family, string>> = {
  4: "net/bridge/bridge-nf-call-iptables",
  6: "net/bridge/bridge-nf-call-ip6tables",
};

export interface BridgeCheck {
  /** Why traffic between pods of this node is not enforced, with the cure. */
  readonly problem?: string;
  /** Switches that somebody had turned off since the last check, and that are on again. */
  readonly repaired: readonly string[];
}

export interface BridgeSwitches {
  check(): Promise<BridgeCheck>;
}

const ON = "1";

export function createBridgeSwitches(
  { families }: { readonly families: readonly Family[] },
  { exec, files = PROC_SYS_FILES }: { readonly exec: Exec; readonly files?: SysctlFiles },
): BridgeSwitches {
  const wasOn = new Set<string>();
  let triedModule = false;

  /** Once: where it cannot be loaded from here, an administrator must do it, and the next check sees it. */
  async function loadModule(): Promise<void> {
    if (triedModule) return;
    triedModule = true;
    await exec("modprobe", ["br_netfilter"], { allowFailure: true }).catch(() => undefined);
  }

  async function read(key: string): Promise<string> {
    try {
      return (await files.read(key)).trim();
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
      await loadModule();
      return (await files.read(key)).trim();
    }
  }

  /** @returns true if it had to be turned on */
  async function turnOn(key: string): Promise<boolean> {
    if ((await read(key)) === ON) return false;
    await files.write(key, ON);
    return (await files.read(key)).trim() === ON;
  }

  return {
    async check() {
      const repaired: string[] = [];
      let problem: string | undefined;
      for (const key of families.map((family) => BRIDGE_SWITCHES[family])) {
        try {
          if ((await turnOn(key)) && wasOn.has(key)) repaired.push(key);
          wasOn.add(key);
        } catch (error) {
          problem ??= explain(key, error);
        }
      }
      return { repaired, ...(problem !== undefined && { problem }) };
    },
  };
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && "code" in error ? error.code : undefined;
}

function explain(key: string, error: unknown): string {
  const effect = "network policy between pods of this node cannot be enforced";
  const code = codeOf(error);
  if (code === "ENOENT")
    return (
      `the kernel module br_netfilter is not loaded, so ${effect}; run modprobe br_netfilter on the node and name it in ` +
      "/etc/modules-load.d/"
    );
  if (code === "EROFS" || code === "EACCES" || code === "EPERM") {
    const name = key.replaceAll("/", ".");
    return (
      `${key} is 0 and cannot be written from here, so ${effect}; run sysctl -w ${name}=1 on the node and set it in ` +
      "/etc/sysctl.d/, or let the daemon write to /proc/sys (a privileged container)"
    );
  }
  return `${key}: ${error instanceof Error ? error.message : String(error)}; ${effect}`;
}
