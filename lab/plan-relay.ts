// At which address of the lab's underlay the nodes find an etcd that runs elsewhere. Pure.
import { isIP } from "node:net";

export interface Relay {
  /** As given: what we connect to. */
  readonly host: string;
  readonly port: number;
  /** Where nodes connect to, an address of the underlay machine. */
  readonly address: string;
  readonly addressPort: number;
  /** The endpoint URL for the nodes. */
  readonly endpoint: string;
}

/**
 * A literal address keeps its URL, so that a TLS certificate for it stays right. Loopback and host names mean nothing
 * in a node: those become `ownAddress`, with the same port where it is free. @throws {Error} on what is no http(s) URL
 */
export function planRelays(endpoints: readonly string[], ownAddress: string): Relay[] {
  const taken = new Set<number>();
  return endpoints.map((endpoint) => {
    const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
    if (url === undefined || !/^https?:$/.test(url.protocol)) {
      throw new Error(`--etcd-endpoints: "${endpoint}" is no URL such as http://192.0.2.5:2379`);
    }
    const host = url.hostname.replace(/^\[|\]$/g, "");
    const port = Number(url.port || (url.protocol === "https:" ? 443 : 80));
    if (isIP(host) === 4 && !host.startsWith("127.")) {
      return { host, port, address: host, addressPort: port, endpoint: `${url.protocol}//${host}:${port}` };
    }
    let addressPort = port;
    while (taken.has(addressPort)) addressPort += 1;
    taken.add(addressPort);
    const reached = `${url.protocol}//${ownAddress}:${addressPort}`;
    return { host, port, address: ownAddress, addressPort, endpoint: reached };
  });
}
