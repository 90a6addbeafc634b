// What a daemon on Kubernetes must not load: memory that it never uses.
import { readFileSync } from "node:fs";
import path from "node:path";
import { expect, test } from "vitest";

const ROOT = path.resolve(import.meta.dirname, "../../..");

/** Everything that importing a file loads at once: static imports that are not of types alone. */
function loadedBy(file: string, seen = new Set<string>()): ReadonlySet<string> {
  if (seen.has(file)) return seen;
  seen.add(file);
  const text = readFileSync(path.join(ROOT, file), "utf8");
  for (const [, target = ""] of text.matchAll(/^(?:import|export) (?!type)[^;]*?from "([^"]+)";/gm)) {
    if (target.startsWith(".")) loadedBy(path.join(path.dirname(file), target), seen);
    else seen.add(target);
  }
  return seen;
}

test.each([
  // 60 MB and 14 MB: only for a kubeconfig with a plugin, and for a kubeconfig.
  ["src/daemon/connect-store-kube.ts", ["@kubernetes/client-node", "yaml", "etcd3"]],
  ["src/daemon/main.ts", ["@kubernetes/client-node", "yaml", "etcd3"]],
  ["src/kube/kubeconfig.ts", ["@kubernetes/client-node"]],
])("%s loads none of %j", (file, banned) => {
  const loaded = loadedBy(file);
  expect(loaded.size).toBeGreaterThan(5);
  expect(banned.filter((name) => loaded.has(name))).toEqual([]);
});
