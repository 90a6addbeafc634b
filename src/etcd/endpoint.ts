// One etcd server: its gRPC channels, with the options that etcd3's defaults lack.
import { noop } from "cockatiel";
import { Etcd3 } from "etcd3";
import type { EtcdEndpoint } from "./connection.ts";
import { TOKEN_REFUSED } from "./call-errors.ts";
import { sameTlsMaterial } from "./tls-files.ts";
import type { TlsMaterial } from "./tls-files.ts";

/** gRPC's call options and interceptors, named through etcd3, which does not export them. */
export type CallOptions = NonNullable<Parameters<Etcd3["watchClient"]["watch"]>[0]>;
type Interceptor = NonNullable<CallOptions["interceptors"]>[number];

const CHANNEL_OPTIONS = {
  // A range of more than 4 MB is refused otherwise.
  "grpc.max_receive_message_length": -1,
  // A peer that is gone without a word is noticed after 15 s. Not below 5 s: etcd then answers too_many_pings.
  "grpc.keepalive_time_ms": 10_000,
  "grpc.keepalive_timeout_ms": 5_000,
  // gRPC waits up to 120 s between attempts to connect by default; we pace the calls ourselves.
  "grpc.initial_reconnect_backoff_ms": 100,
  "grpc.max_reconnect_backoff_ms": 1_000,
  // etcd3 answers a failed call with a new channel; out of the shared pool it would get the same dead connection.
  "grpc.use_local_subchannel_pool": 1,
  // etcd is inside the cluster: a proxy of the environment must not see it (Go's etcd client ignores it too).
  "grpc.enable_http_proxy": 0,
};

/** Owns the channels to one server. */
export class Endpoint {
  readonly url: string;
  /** True once a call succeeded here and none has failed since. */
  proven = false;
  readonly #address: EtcdEndpoint;
  #tls: TlsMaterial | undefined;
  #unary: Etcd3;
  /** Apart from the unary calls, since etcd3 closes every channel of a host when one call there fails. */
  #streams: Etcd3;

  constructor(address: EtcdEndpoint, tls: TlsMaterial | undefined) {
    this.url = address.url;
    this.#address = address;
    this.#tls = tls;
    this.#unary = this.#connect();
    this.#streams = this.#connect();
  }

  get unary(): Etcd3 {
    return this.#unary;
  }

  get streams(): Etcd3 {
    return this.#streams;
  }

  /** Connects anew if the certificates have changed on disk. Returns whether they had. */
  renewTls(tls: TlsMaterial): boolean {
    if (this.#tls === undefined || sameTlsMaterial(this.#tls, tls)) return false;
    this.close();
    this.#tls = tls;
    this.#unary = this.#connect();
    this.#streams = this.#connect();
    return true;
  }

  close(): void {
    this.#unary.close();
    this.#streams.close();
  }

  #connect(): Etcd3 {
    return new Etcd3({
      hosts: this.#address.url,
      ...(this.#tls === undefined ? {} : { credentials: this.#tls }),
      grpcOptions: CHANNEL_OPTIONS,
      // etcd3's circuit breaker keeps failing calls for seconds after etcd is back; retries are ours.
      faultHandling: { host: () => noop, global: noop },
    });
  }
}

/**
 * Sends headers with a call, and hides etcd's "invalid auth token" from etcd3, which would answer it by repeating the call
 * without end. `TOKEN_REFUSED` in its place reaches us.
 */
export function withHeaders(headers: Readonly<Record<string, string>>): Interceptor {
  const interceptor = (options: Parameters<Interceptor>[0], nextCall: Parameters<Interceptor>[1]) => {
    const call = nextCall(options);
    const start = call.start.bind(call);
    call.start = (metadata, listener) => {
      for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
      start(metadata, {
        onReceiveMetadata: (received) => listener?.onReceiveMetadata?.(received),
        onReceiveMessage: (message: unknown) => listener?.onReceiveMessage?.(message),
        onReceiveStatus: (status) =>
          listener?.onReceiveStatus?.(
            status.details.includes("invalid auth token") ? { ...status, details: TOKEN_REFUSED } : status,
          ),
      });
    };
    return call;
  };
  // gRPC declares a class with private members as the result, but only ever uses its interface.
  return interceptor as unknown as Interceptor;
}
