// Container images made by hand, without registry or build tool: a root directory becomes a docker archive.
import { createHash } from "node:crypto";
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exec } from "../../../src/kernel/exec.ts";
import { kubernetesProgram } from "./binaries.ts";

export interface ImageOptions {
  /** With a tag, e.g. "localhost/flanneld-ts:test"; pods name it so, with imagePullPolicy Never. */
  readonly name: string;
  /** Becomes the image's root directory; owners become root. */
  readonly rootDir: string;
  readonly entrypoint: readonly string[];
  /** Of the form NAME=value. Default: PATH. */
  readonly env?: readonly string[];
}

const PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/** Images made twice from the same files are the same image. */
const EPOCH = "2021-01-01T00:00:00Z";

/** Writes the archive to `archive`, for `RealCluster.importImage` or `ctr images import`. */
export async function writeImageArchive(archive: string, options: ImageOptions): Promise<void> {
  const dir = mkdtempSync(join(tmpdir(), "flanneld-ts-image-"));
  try {
    const layer = join(dir, "layer.tar");
    const owners = ["--numeric-owner", "--owner=0", "--group=0", "--mtime=@0", "--sort=name"];
    await exec("tar", ["-C", options.rootDir, ...owners, "-cf", layer, "."], { timeoutMs: 300_000 });
    const { stdout } = await exec("sha256sum", [layer]);
    const config = JSON.stringify({
      architecture: process.arch === "arm64" ? "arm64" : "amd64",
      os: "linux",
      created: EPOCH,
      config: { Env: options.env ?? [PATH], Entrypoint: options.entrypoint },
      rootfs: { type: "layers", diff_ids: [`sha256:${stdout.slice(0, 64)}`] },
      history: [{ created: EPOCH }],
    });
    const configFile = `${createHash("sha256").update(config).digest("hex")}.json`;
    writeFileSync(join(dir, configFile), config);
    const manifest = [{ Config: configFile, RepoTags: [options.name], Layers: ["layer.tar"] }];
    writeFileSync(join(dir, "manifest.json"), JSON.stringify(manifest));
    const files = ["manifest.json", configFile, "layer.tar"];
    await exec("tar", ["-C", dir, "-cf", `${archive}.part`, ...files], { timeoutMs: 300_000 });
    renameSync(`${archive}.part`, archive);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

export const PAUSE_IMAGE = "localhost/pause:1";
/** A shell and the usual small programs, and /pause; it sleeps until it is told to end. */
export const BUSYBOX_IMAGE = "localhost/busybox:1";

/** Writes the archives of both images into `dir` and gives their paths. */
export async function writeBaseImages(dir: string): Promise<readonly string[]> {
  const pause = kubernetesProgram("pause");
  const pauseRoot = join(dir, "pause-root");
  mkdirSync(pauseRoot, { recursive: true });
  cpSync(pause, join(pauseRoot, "pause"));
  const busyboxRoot = join(dir, "busybox-root");
  for (const name of ["bin", "etc", "tmp", "www", "root"])
    mkdirSync(join(busyboxRoot, name), { recursive: true });
  cpSync(pause, join(busyboxRoot, "pause"));
  cpSync("/bin/busybox", join(busyboxRoot, "bin/busybox"));
  const { stdout } = await exec("/bin/busybox", ["--list"]);
  for (const applet of stdout.trim().split("\n")) {
    if (applet !== "busybox") symlinkSync("busybox", join(busyboxRoot, "bin", applet));
  }
  writeFileSync(join(busyboxRoot, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  const archives = [join(dir, "pause.tar"), join(dir, "busybox.tar")] as const;
  await writeImageArchive(archives[0], { name: PAUSE_IMAGE, rootDir: pauseRoot, entrypoint: ["/pause"] });
  await writeImageArchive(archives[1], { name: BUSYBOX_IMAGE, rootDir: busyboxRoot, entrypoint: ["/pause"] });
  return archives;
}
