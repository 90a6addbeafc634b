// Lays out the image's file system from Debian packages and our build; runs nothing of the target's architecture.
import { execFileSync } from "node:child_process";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import path from "node:path";
import { isElf, neededLibraries } from "./build-image-elf.ts";
import {
  ADDON_FILES,
  ARCHITECTURES,
  CNI_EXECUTABLE,
  DEBIAN_RELEASE,
  DIRECTORIES,
  isKept,
  keptPrograms,
  LINKS,
  NODE_PATH,
  PACKAGES,
  PRODUCT_FILES,
  SYSTEM_FILES,
} from "./build-image-plan.ts";
import type { ImageArchitecture, Layer, ProductFile } from "./build-image-plan.ts";

/** Where Debian's /bin, /sbin and /lib have moved to; packages still ship the old paths. */
const MERGED = ["bin", "sbin", "lib", "lib64"];

export interface RootfsOptions {
  readonly architecture: ImageArchitecture;
  /** Where downloads are kept between builds. */
  readonly cache: string;
  /** Gets one folder per layer. */
  readonly output: string;
  /** The CNI executable of that architecture. */
  readonly cniExecutable: string;
  /** For each of `ADDON_FILES` the one of that architecture; what is not in it is left out. */
  readonly addons: ReadonlyMap<string, string>;
}

function sourceOf({ from }: ProductFile, { cniExecutable, addons }: RootfsOptions): string | undefined {
  if (from === undefined) return undefined;
  if (from === CNI_EXECUTABLE) return cniExecutable;
  return ADDON_FILES.includes(from) ? addons.get(from) : from;
}

/** Writes OUTPUT/system and OUTPUT/product anew, and gives their paths. @throws if a package or library is missing */
export function buildRootfs(options: RootfsOptions): Readonly<Record<Layer, string>> {
  const { architecture, cache, output } = options;
  const packages = downloadPackages(architecture, path.resolve(cache, architecture));
  const unpacked = path.join(output, "unpacked");
  rmSync(output, { recursive: true, force: true });
  unpack(packages, unpacked);

  const layers = { system: path.join(output, "system"), product: path.join(output, "product") };
  for (const [directory, mode] of DIRECTORIES) makeDirectory(layers.system, directory, mode);
  const node = path.join("node_modules", ARCHITECTURES[architecture].nodePackage, "bin/node");
  install(layers.system, { path: NODE_PATH, mode: 0o755, from: node });
  copySystem(unpacked, layers.system);
  for (const [name, target] of LINKS) {
    const root = target.includes("flanneld-ts") ? layers.product : layers.system;
    makeDirectory(root, path.dirname(name));
    symlinkSync(target, root + name);
  }
  for (const file of SYSTEM_FILES) install(layers.system, file);
  for (const file of packages) describePackage(file, layers.system);
  for (const file of PRODUCT_FILES) {
    const from = sourceOf(file, options);
    if (from !== undefined || file.text !== undefined)
      install(layers.product, { ...file, ...(from && { from }) });
  }
  rmSync(unpacked, { recursive: true });
  return layers;
}

/** Fetches what is new, in package lists of our own, so that neither the machine's architecture nor its lists matter. */
function downloadPackages(architecture: ImageArchitecture, cache: string): readonly string[] {
  const lists = path.join(cache, "lists");
  const archives = path.join(cache, "archives");
  mkdirSync(path.join(lists, "partial"), { recursive: true });
  mkdirSync(archives, { recursive: true });
  const status = path.join(cache, "status");
  writeFileSync(status, "");
  const settings = [
    `APT::Architecture=${architecture}`,
    `APT::Architectures=${architecture}`,
    `APT::Default-Release=/^${DEBIAN_RELEASE}(|-updates|-security)$/`,
    "APT::Sandbox::User=root",
    `Dir::State::Lists=${lists}`,
    `Dir::State::status=${status}`,
    "Dir::Cache::pkgcache=",
    "Dir::Cache::srcpkgcache=",
    // No package names but those asked for.
    "Acquire::Languages=none",
  ].flatMap((setting) => ["-o", setting]);
  const run = (program: string, ...words: readonly string[]): string =>
    execFileSync(program, ["-qq", ...settings, ...words], {
      cwd: archives,
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  try {
    run("apt-get", "update");
  } catch (error) {
    process.stderr.write(
      `image: apt-get update: ${firstLine(error)}; going on with the lists that are there\n`,
    );
  }
  const names = PACKAGES.map(({ name }) => name);
  // Leaves alone what is there already; there may be older versions too.
  run("apt-get", "download", ...names);
  const downloaded = readdirSync(archives);
  return run("apt-cache", "show", "--no-all-versions", ...names)
    .split("\n\n")
    .filter((record) => record.trim() !== "")
    .map((record) => {
      const prefix = `${fieldOf(record, "Package")}_${fieldOf(record, "Version").replaceAll(":", "%3a")}_`;
      const file = downloaded.find((name) => name.startsWith(prefix));
      if (file === undefined) throw new Error(`apt-get has not downloaded ${prefix}*.deb`);
      return path.join(archives, file);
    });
}

function fieldOf(record: string, name: string): string {
  return new RegExp(`^${name}: (.+)$`, "m").exec(record)?.[1] ?? "";
}

function unpack(packages: readonly string[], root: string): void {
  for (const name of MERGED) {
    mkdirSync(path.join(root, "usr", name), { recursive: true });
    symlinkSync(`usr/${name}`, path.join(root, name));
  }
  for (const file of packages) {
    const content = execFileSync("dpkg-deb", ["--fsys-tarfile", file], { maxBuffer: 1 << 30 });
    execFileSync("tar", ["-x", "--keep-directory-symlink", "-C", root], { input: content });
  }
}

/** Copies programs, the libraries that they and node need, and the data on the list. */
function copySystem(unpacked: string, root: string): void {
  const files = listFiles(path.join(unpacked, "usr"), "/usr").concat(
    listFiles(path.join(unpacked, "etc"), "/etc"),
  );
  const kept = new Set([...keptPrograms(), ...files.filter((file) => isKept(file))]);
  const queue = [...kept].map((file) => unpacked + file);
  queue.push(root + NODE_PATH);
  for (let file = queue.pop(); file !== undefined; file = queue.pop()) {
    if (!existsSync(file)) throw new Error(`${file} is in none of the packages`);
    if (lstatSync(file).isSymbolicLink()) continue;
    const content = readFileSync(file);
    if (!isElf(content)) continue;
    for (const library of neededLibraries(content)) {
      const found = files.filter((candidate) => path.basename(candidate) === library);
      if (found.length === 0) throw new Error(`${file} needs ${library}, which is in none of the packages`);
      for (const candidate of found.flatMap((name) => withTargets(unpacked, name))) {
        if (kept.has(candidate)) continue;
        kept.add(candidate);
        queue.push(unpacked + candidate);
      }
    }
  }
  for (const file of [...kept].sort()) copy(unpacked + file, root + file);
}

/** A link and what it leads to, inside the root. */
function withTargets(root: string, file: string): readonly string[] {
  if (!lstatSync(root + file).isSymbolicLink()) return [file];
  const target = readlinkSync(root + file);
  const resolved = path.posix.resolve(path.posix.dirname(file), target).replace(/^\/lib/, "/usr/lib");
  return [file, ...withTargets(root, resolved)];
}

function listFiles(directory: string, prefix: string): readonly string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => path.posix.join(prefix, path.relative(directory, entry.parentPath), entry.name));
}

/** As scanners expect it of an image without dpkg. */
function describePackage(file: string, root: string): void {
  const fields = execFileSync("dpkg-deb", ["--field", file], { encoding: "utf8" });
  const name = fieldOf(fields, "Package");
  install(root, { path: `/var/lib/dpkg/status.d/${name}`, mode: 0o644, text: fields });
}

function install(root: string, { path: name, mode, from, text }: ProductFile): void {
  makeDirectory(root, path.dirname(name));
  if (from !== undefined && statSync(from, { throwIfNoEntry: false })?.isDirectory()) {
    for (const entry of readdirSync(from)) {
      install(root, { path: path.join(name, entry), mode, from: path.join(from, entry) });
    }
    return;
  }
  if (from === undefined) writeFileSync(root + name, text ?? "");
  else if (existsSync(from)) cpSync(from, root + name, { recursive: true });
  else throw new Error(`${from} is missing: run npm run build`);
  chmodSync(root + name, mode);
}

function copy(from: string, to: string): void {
  mkdirSync(path.dirname(to), { recursive: true, mode: 0o755 });
  const stat = lstatSync(from);
  if (stat.isSymbolicLink()) return symlinkSync(readlinkSync(from), to);
  copyFileSync(from, to);
  chmodSync(to, stat.mode & 0o7777);
}

function makeDirectory(root: string, name: string, mode = 0o755): void {
  mkdirSync(path.join(root, name), { recursive: true, mode: 0o755 });
  if (name !== "/") chmodSync(path.join(root, name), mode);
}

function firstLine(error: unknown): string {
  const { stderr, message } = error as { stderr?: string; message: string };
  return (stderr || message).split("\n")[0] ?? "";
}
