// Bundles the daemon and its commands into one file for Node 24.
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { build } from "esbuild";
import { rawSocketPlugin } from "./build-raw-socket.ts";
import { etcdProtoPlugin } from "./etcd-proto-plugin.ts";

/**
 * A small young generation and a heap that shrinks again keep the resident set low; see bench/RESULTS.md. DEP0123: grpc-js
 * names an IP endpoint in TLS, which Node 24 only warns of.
 */
const NODE_FLAGS = "--max-semi-space-size=1 --optimize-for-size --disable-warning=DEP0123";

/** Folder beside dist/flanneld.mjs for what it imports on demand. */
const CHUNKS = "flanneld-chunks";

/** Writes dist/flanneld.mjs with its chunks, and the start script dist/flanneld-ts beside it. */
export async function buildDaemon(version: string): Promise<void> {
  mkdirSync("dist", { recursive: true });
  const { metafile } = await build({
    entryPoints: { flanneld: "src/daemon/main.ts" },
    outdir: "dist",
    outExtension: { ".js": ".mjs" },
    // What is imported on demand (a store's client, credential plugins) is not even read where it is not needed.
    splitting: true,
    chunkNames: `${CHUNKS}/[name]-[hash]`,
    loader: { ".node": "copy" },
    assetNames: `${CHUNKS}/[name]-[hash]`,
    bundle: true,
    platform: "node",
    target: "node24",
    format: "esm",
    minify: true,
    keepNames: true,
    legalComments: "none",
    define: { FLANNELD_TS_VERSION: JSON.stringify(version) },
    plugins: [etcdProtoPlugin(), rawSocketPlugin()],
    // CommonJS dependencies expect these three in an ES module.
    banner: {
      js: [
        'import { createRequire as __createRequire } from "node:module";',
        'import { fileURLToPath as __fileURLToPath } from "node:url";',
        "const require = __createRequire(import.meta.url);",
        "const __filename = __fileURLToPath(import.meta.url);",
        'const __dirname = __fileURLToPath(new URL(".", import.meta.url));',
      ].join("\n"),
    },
    metafile: true,
    logLevel: "warning",
  });
  // Chunks of earlier builds go last, so that no moment is without those that flanneld.mjs names.
  for (const chunk of readdirSync(`dist/${CHUNKS}`)) {
    if (metafile.outputs[`dist/${CHUNKS}/${chunk}`] === undefined) rmSync(`dist/${CHUNKS}/${chunk}`);
  }
  // The start script prefers a node shipped beside it (the tarball for bare metal), then the one of this checkout.
  writeFileSync(
    "dist/flanneld-ts",
    `#!/bin/sh
here=$(dirname "$(readlink -f "$0")")
for node in "$here/node" "$here/../node_modules/.bin/node" node; do
  command -v "$node" >/dev/null 2>&1 && break
done
exec env MALLOC_ARENA_MAX=1 "$node" ${NODE_FLAGS} "$here/flanneld.mjs" "$@"
`,
  );
  chmodSync("dist/flanneld-ts", 0o755);
}
