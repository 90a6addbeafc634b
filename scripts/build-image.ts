// Builds the container image without a container engine. By hand, after npm run build:
// node scripts/build-image.ts [--arch amd64|arm64] [--name IMAGE] [--output FILE.tar | --rootfs DIRECTORY]
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { buildCniPlugin } from "./build-cni-plugin.ts";
import { packArchive } from "./build-image-archive.ts";
import { ADDON_FILES, ARCHITECTURES, CNI_EXECUTABLE, LAYERS } from "./build-image-plan.ts";
import type { ImageArchitecture } from "./build-image-plan.ts";
import { buildNative } from "./build-native.ts";
import { buildRootfs } from "./build-image-rootfs.ts";
import { replaceRawSocket } from "./build-raw-socket.ts";

process.chdir(path.resolve(import.meta.dirname, ".."));
const CACHE = ".cache/image";

async function main(): Promise<void> {
  const { version } = JSON.parse(readFileSync("package.json", "utf8")) as { version: string };
  const own = process.arch === "arm64" ? "arm64" : "amd64";
  const { values } = parseArgs({
    options: {
      arch: { type: "string", default: own },
      name: { type: "string", default: `localhost/flanneld-ts:${version}` },
      output: { type: "string" },
      rootfs: { type: "string" },
    },
  });
  const architecture = values.arch;
  if (!isArchitecture(architecture)) {
    throw new Error(`--arch is ${architecture}, but must be ${Object.keys(ARCHITECTURES).join(" or ")}`);
  }
  for (const tool of ["apt-get", "dpkg-deb", "tar"]) requireTool(tool);
  const cniExecutable = await prepareTarget(architecture, own);
  const addons = prepareAddons(architecture, own);

  const folder = values.rootfs ?? `dist/image/${architecture}`;
  const layers = buildRootfs({ architecture, cache: CACHE, output: folder, cniExecutable, addons });
  if (architecture !== own) {
    const missing = replaceRawSocket(architecture, `${layers.product}/opt/flanneld-ts/flanneld-chunks`);
    if (missing !== undefined) say(`without --probe-interval, which needs raw ICMP sockets: ${missing}`);
  }
  if (values.rootfs !== undefined)
    return say(`${folder}/{${LAYERS.join(",")}}: the layers for ${architecture}`);

  const output = values.output ?? `dist/image/flanneld-ts-${version}-${architecture}.tar`;
  const folders = LAYERS.map((layer) => layers[layer]);
  const result = packArchive({ architecture, name: values.name, version, layers: folders, output });
  rmSync(folder, { recursive: true });
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
  say(`${output}: ${values.name} for ${architecture}, ${result.digest}`);
  say(`${megabytes(result.packedBytes)} to fetch, ${megabytes(result.unpackedBytes)} on a node's disk`);
  say(`into containerd: ctr -n k8s.io images import ${output}; into Docker: docker load -i ${output}`);
}

/** Another architecture's Node and bun are not among the packages that npm installs here. */
async function prepareTarget(architecture: ImageArchitecture, own: ImageArchitecture): Promise<string> {
  if (architecture === own) return CNI_EXECUTABLE;
  const { nodePackage, bunPackage, bunTarget } = ARCHITECTURES[architecture];
  for (const name of [nodePackage, bunPackage]) installForeign(name);
  await buildCniPlugin({ target: bunTarget });
  return `dist/flannel-${bunTarget}`;
}

/** Empty without a compiler for the architecture; buildNative says what is missing. */
function prepareAddons(architecture: ImageArchitecture, own: ImageArchitecture): ReadonlyMap<string, string> {
  const isOwn = architecture === own;
  const target = ARCHITECTURES[architecture].bunTarget;
  const isBuilt = (isOwn && ADDON_FILES.every((file) => existsSync(file))) || buildNative({ target });
  if (!isBuilt) return new Map();
  return new Map(ADDON_FILES.map((file) => [file, isOwn ? file : file.replace(".node", `-${target}.node`)]));
}

/** Unpacks the very file that package-lock.json names, as npm would on such a machine. */
function installForeign(name: string): void {
  const directory = path.join("node_modules", name);
  const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as {
    packages: Readonly<Record<string, { version: string; integrity: string }>>;
  };
  const locked = packages[directory];
  if (locked === undefined) throw new Error(`package-lock.json has no ${name}`);
  const manifest = path.join(directory, "package.json");
  if (existsSync(manifest)) {
    const installed = JSON.parse(readFileSync(manifest, "utf8")) as { version: string };
    if (installed.version === locked.version) return;
  }
  mkdirSync(CACHE, { recursive: true });
  const packed = execFileSync(
    "npm",
    ["pack", "--silent", "--ignore-scripts", "--pack-destination", CACHE, `${name}@${locked.version}`],
    { encoding: "utf8" },
  );
  const file = path.join(CACHE, packed.trim());
  const integrity = `sha512-${createHash("sha512").update(readFileSync(file)).digest("base64")}`;
  if (integrity !== locked.integrity) throw new Error(`${file} is not what package-lock.json names`);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  execFileSync("tar", ["-xzf", file, "--strip-components=1", "--no-same-owner", "-C", directory]);
  rmSync(file);
}

function requireTool(tool: string): void {
  const found = (process.env["PATH"] ?? "").split(":").some((folder) => existsSync(path.join(folder, tool)));
  if (!found)
    throw new Error(
      `${tool} is missing: build on Debian or Ubuntu, or with docker build -f deploy/Dockerfile .`,
    );
}

function isArchitecture(text: string): text is ImageArchitecture {
  return Object.hasOwn(ARCHITECTURES, text);
}

function say(line: string): void {
  process.stdout.write(`image: ${line}\n`);
}

await main();
