// Every address of this host by which others may know it, kept by events of the kernel.
import { isHostAddress } from "../../net/ip.ts";
import type { HostInterface } from "../../host/uplink.ts";
import type { Ip } from "../../net/ip.ts";
import { LIST_ADDRESSES, parseInterfaces } from "../../kernel/address-codec.ts";
import type { Exec } from "../../kernel/exec.ts";
import type { KernelEvent } from "../../kernel/monitor-codec.ts";

export interface HostNow {
  readonly addresses: readonly Ip[];
  readonly interfaces: readonly HostInterface[];
}

export interface HostAddresses {
  /** Asks the kernel. @throws {ExecError} */
  read(): Promise<HostNow>;
  /** The addresses after the event; undefined if it changed none. `everything` needs a `read`. */
  onKernelEvent(event: KernelEvent): readonly Ip[] | undefined;
}

/** Without loopback and link-local addresses: they mean another node on every node, and each new pod's veth has one. */
export function createHostAddresses({ exec }: { readonly exec: Exec }): HostAddresses {
  let known = new Map<string, Ip>();
  const counts = isHostAddress;
  const list = (): readonly Ip[] => [...new Set(known.values())];
  return {
    async read() {
      const interfaces = parseInterfaces((await exec("ip", LIST_ADDRESSES)).stdout);
      known = new Map(
        interfaces.flatMap(({ name, addresses }) =>
          addresses.filter(({ ip }) => counts(ip)).map(({ ip }) => [`${name} ${ip}`, ip] as const),
        ),
      );
      return { addresses: list(), interfaces };
    },
    onKernelEvent(event) {
      if (event.kind !== "address" || !counts(event.ip)) return undefined;
      const key = `${event.dev} ${event.ip}`;
      if (known.has(key) !== event.deleted) return undefined;
      if (event.deleted) known.delete(key);
      else known.set(key, event.ip);
      return list();
    },
  };
}
