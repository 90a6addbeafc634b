// The etcd client in an esbuild bundle, where etcd3 finds no .proto file beside itself.
import { build } from "esbuild";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test } from "vitest";
import { etcdProtoPlugin } from "../../scripts/etcd-proto-plugin.ts";
import { exec } from "../../src/kernel/exec.ts";
import { startEtcd } from "../support/etcd.ts";

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

test("a bundled client puts, gets, watches and authenticates", async () => {
  const dir = mkdtempSync(path.join(tmpdir(), "fts-bundle-"));
  cleanups.push(() => rmSync(dir, { recursive: true, force: true }));
  const client = path.resolve(import.meta.dirname, "../../src/etcd/etcd3-client.ts");
  writeFileSync(
    path.join(dir, "program.ts"),
    `import { createEtcdClient } from ${JSON.stringify(client)};
     const client = createEtcdClient(JSON.parse(process.argv[2]!));
     await client.put("/net/key", "value", { only: { absent: true }, leaseId: await client.grantLease(60) });
     const signal = AbortSignal.timeout(10_000);
     for await (const [event] of client.watch("/net/", 1n, { signal })) {
       console.log(event!.type, (await client.get("/net/key"))!.value);
       break;
     }
     await client.close();`,
  );
  const outfile = path.join(dir, "program.mjs");
  await build({
    entryPoints: [path.join(dir, "program.ts")],
    outfile,
    bundle: true,
    platform: "node",
    format: "esm",
    plugins: [etcdProtoPlugin()],
    banner: {
      js: `import { createRequire as r } from "node:module"; const require = r(import.meta.url);
           const __filename = "/nonexistent/program.mjs", __dirname = "/nonexistent";`,
    },
    logLevel: "silent",
  });
  const etcd = await startEtcd();
  cleanups.push(() => etcd.close());
  const connection = await etcd.enableAuth("/net/");
  const { stdout } = await exec(process.execPath, [outfile, JSON.stringify(connection)]);
  expect(stdout.trim()).toBe("put value");
});
