// An esbuild plugin: inlines etcd3's .proto files as JSON, since in a bundle there is no file to read them from.
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import type { Plugin } from "esbuild";

/** The call in etcd3 1.1.2's connection-pool.js that reads the file when the program starts. */
const LOAD_CALL = "(0, proto_loader_1.loadSync)(`${__dirname}/../proto/rpc.proto`, {";

/** Etcd3 comes from the node_modules that the importing file sees. */
export function etcdProtoPlugin(): Plugin {
  return {
    name: "etcd-proto",
    setup(build) {
      build.onLoad({ filter: /[\\/]etcd3[\\/]lib[\\/]connection-pool\.js$/ }, async ({ path }) => {
        const source = await readFile(path, "utf8");
        if (!source.includes(LOAD_CALL)) {
          throw new Error(
            `${path} does not load its .proto as etcd3 1.1.2 does; adapt scripts/etcd-proto-plugin.ts`,
          );
        }
        const json = readProtoAsJson(path, join(dirname(path), "../proto/rpc.proto"));
        return {
          contents: source.replace(LOAD_CALL, () => `(0, proto_loader_1.fromJSON)(${json}, {`),
          loader: "js",
        };
      });
    },
  };
}

/** The shape of protobufjs that we use; it is a dependency of @grpc/proto-loader, which is one of etcd3. */
interface Protobuf {
  Root: new () => {
    loadSync(path: string, options: { keepCase: boolean }): { resolveAll(): { toJSON(): unknown } };
  };
}

function readProtoAsJson(etcd3File: string, protoFile: string): string {
  const protoLoader = createRequire(etcd3File).resolve("@grpc/proto-loader");
  const protobuf = createRequire(protoLoader)("protobufjs") as Protobuf;
  // keepCase: etcd3 calls the fields by the names that the file has.
  return JSON.stringify(new protobuf.Root().loadSync(protoFile, { keepCase: true }).resolveAll().toJSON());
}
