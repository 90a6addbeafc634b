// From flags to the connection of the store.
import type { EtcdConnection } from "../etcd/connection.ts";
import type { Options } from "./options.ts";

export function etcdConnection(options: Options): EtcdConnection {
  return {
    endpoints: options.etcdEndpoints,
    ...(options.etcdKeyfile !== undefined && { keyFile: options.etcdKeyfile }),
    ...(options.etcdCertfile !== undefined && { certFile: options.etcdCertfile }),
    ...(options.etcdCafile !== undefined && { caFile: options.etcdCafile }),
    ...(options.etcdUsername !== undefined && { username: options.etcdUsername }),
    ...(options.etcdPassword !== undefined && { password: options.etcdPassword }),
  };
}
