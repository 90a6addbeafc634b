// Builds dist/flannel, the CNI executable: one bundle, wrapped with the bun runtime into one self-contained file.
// By hand: node scripts/build-cni-plugin.ts [--target x64|arm64] [--force]
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { build } from "esbuild";
import type { Plugin } from "esbuild";

type Architecture = "x64" | "arm64";

export interface BuildCniPluginOptions {
  /** Architecture to build for; the one this runs on by default. Another one goes to dist/flannel-ARCHITECTURE. */
  readonly target?: Architecture;
  /** Build although nothing has changed. */
  readonly force?: boolean;
}

const ROOT = path.resolve(import.meta.dirname, "..");
const DIST = path.join(ROOT, "dist");

/** Packages that carry the bun runtime as a plain file, without install scripts. */
const BUN_PACKAGES: Readonly<Record<Architecture, string>> = {
  x64: "@oven/bun-linux-x64",
  arm64: "@oven/bun-linux-aarch64",
};

function bunFile(architecture: Architecture): string {
  return path.join(ROOT, "node_modules", BUN_PACKAGES[architecture], "bin/bun");
}

function ownArchitecture(): Architecture {
  if (process.arch === "x64" || process.arch === "arm64") return process.arch;
  throw new Error(`the CNI executable is built on x64 or arm64, not on ${process.arch}`);
}

/**
 * Writes dist/flannel and dist/cni.cjs, the bundle in it. Does nothing when bundle, flags and bun are those of the last build.
 * @throws if a tool is missing or fails; the last good executable stays
 */
export async function buildCniPlugin(options: BuildCniPluginOptions = {}): Promise<void> {
  const own = ownArchitecture();
  const target = options.target ?? own;
  mkdirSync(DIST, { recursive: true });
  const bundle = await bundlePlugin();

  const bun = bunFile(own);
  if (!existsSync(bun)) throw new Error(`${bun} is missing: run npm ci`);
  const outputName = target === own ? "flannel" : `flannel-${target}`;
  const output = path.join(DIST, outputName);
  const flags = compileFlags(own, target);
  const stamp = path.join(DIST, `.${outputName}.stamp`);
  const inputs = createHash("sha256")
    .update(bundle)
    .update(JSON.stringify([flags, readBunVersion(own)]))
    .digest("hex");
  if (!options.force && existsSync(output) && readIfExists(stamp) === inputs) return;

  // bun leaves its temporary files in the working directory, so it gets one. The renames are for those who run the old
  // executable at this moment, and for another build.
  const scratch = mkdtempSync(path.join(DIST, `.${outputName}.`));
  try {
    writeFileSync(path.join(scratch, "cni.cjs"), bundle);
    execFileSync(bun, ["build", ...flags, `--outfile=${outputName}`, "cni.cjs"], {
      cwd: scratch,
      env: environmentForBun(),
      stdio: ["ignore", "pipe", "inherit"],
    });
    for (const name of ["cni.cjs", outputName]) renameSync(path.join(scratch, name), path.join(DIST, name));
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
  writeFileSync(stamp, inputs);
}

/** CommonJS, because bun makes bytecode of nothing else. esbuild reads TypeScript; bun gets its output, never sources. */
async function bundlePlugin(): Promise<Uint8Array> {
  const { version } = JSON.parse(readFileSync(path.join(ROOT, "package.json"), "utf8")) as {
    version: string;
  };
  const { outputFiles } = await build({
    absWorkingDir: ROOT,
    entryPoints: ["cni-plugin/main.ts"],
    outfile: "cni.cjs",
    write: false,
    bundle: true,
    platform: "node",
    target: "node22",
    format: "cjs",
    minify: true,
    legalComments: "none",
    define: { FLANNELD_TS_VERSION: JSON.stringify(version) },
    plugins: [lazyIpaddr],
    logLevel: "warning",
  });
  const [output] = outputFiles;
  if (output === undefined) throw new Error("esbuild gave no output");
  return output.contents;
}

/** Loads ipaddr.js when the first IPv6 address comes by: a tenth of the start-up time that an IPv4 pod does not pay. */
const lazyIpaddr: Plugin = {
  name: "lazy-ipaddr",
  setup(build) {
    build.onResolve({ filter: /^ipaddr\.js$/ }, ({ pluginData }) =>
      pluginData === "real" ? undefined : { path: "ipaddr.js", namespace: "lazy" },
    );
    build.onLoad({ filter: /.*/, namespace: "lazy" }, () => ({
      contents: 'module.exports = { get IPv6() { return require("ipaddr.js").IPv6; } };',
      resolveDir: ROOT,
      pluginData: "real",
    }));
  },
};

function compileFlags(own: Architecture, target: Architecture): readonly string[] {
  const common = [
    "--compile",
    "--format=cjs",
    "--minify",
    // A CNI plugin runs as root in whatever directory: it must take nothing from a .env or bunfig.toml there.
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
  ];
  // Bytecode halves the start-up. It is not portable: bun crashes on that of another architecture (bun #18416).
  if (target === own) return [...common, "--bytecode"];
  const runtime = bunFile(target);
  return [
    ...common,
    `--target=bun-linux-${target}`,
    ...(existsSync(runtime) ? [`--compile-executable-path=${runtime}`] : []),
  ];
}

function readBunVersion(architecture: Architecture): string {
  const manifest = path.join(ROOT, "node_modules", BUN_PACKAGES[architecture], "package.json");
  return (JSON.parse(readFileSync(manifest, "utf8")) as { version: string }).version;
}

function environmentForBun(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("BUN_")));
}

function readIfExists(file: string): string | undefined {
  return existsSync(file) ? readFileSync(file, "utf8") : undefined;
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { target: { type: "string" }, force: { type: "boolean" } } });
  if (values.target !== undefined && values.target !== "x64" && values.target !== "arm64") {
    throw new Error(`--target is ${values.target}, but must be x64 or arm64`);
  }
  await buildCniPlugin({
    ...(values.target && { target: values.target }),
    ...(values.force && { force: values.force }),
  });
}
