// Throw-away network namespaces for kernel tests, and an `Exec` that runs inside one.
import { randomBytes } from "node:crypto";
import { exec } from "../../src/kernel/exec.ts";
import type { Exec } from "../../src/kernel/exec.ts";

export interface TestNamespace {
  readonly name: string;
  /** Runs a program inside the namespace. */
  readonly exec: Exec;
  remove(): Promise<void>;
}

/** An `Exec` that enters the namespace at `path` first. nsenter, not `ip netns exec`, which would remount /sys. */
export function execInNamespace(path: string): Exec {
  return (command, args, options) => exec("nsenter", [`--net=${path}`, "--", command, ...args], options);
}

/** Creates a namespace with its loopback up. The caller removes it in `afterEach` or `finally`. */
export async function createNamespace(prefix = "fts"): Promise<TestNamespace> {
  const name = `${prefix}-${randomBytes(4).toString("hex")}`;
  await exec("ip", ["netns", "add", name]);
  await exec("ip", ["-n", name, "link", "set", "lo", "up"]);
  return {
    name,
    exec: execInNamespace(`/run/netns/${name}`),
    remove: async () => {
      await exec("ip", ["netns", "del", name], { allowFailure: true });
    },
  };
}
