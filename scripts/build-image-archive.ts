// Packs layers into one archive that `ctr images import`, `docker load` and `podman load` read: an OCI layout with Docker's list.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { IMAGE_CONFIG } from "./build-image-plan.ts";
import type { ImageArchitecture } from "./build-image-plan.ts";

const OCI = "application/vnd.oci.image";
const GZIP_LEVEL = 9;

export interface ArchiveOptions {
  readonly architecture: ImageArchitecture;
  /** With registry or "localhost" and tag, e.g. "localhost/flanneld-ts:0.1.0". */
  readonly name: string;
  readonly version: string;
  /** Folders, lowest first. */
  readonly layers: readonly string[];
  /** The file to write. */
  readonly output: string;
}

export interface ArchiveResult {
  /** Of the manifest, "sha256:...": equal for equal content. */
  readonly digest: string;
  /** What a node stores. */
  readonly unpackedBytes: number;
  /** What a registry stores and a node fetches. */
  readonly packedBytes: number;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
}

/** Times and owners are constant, so that equal files give an equal digest. */
export function packArchive(options: ArchiveOptions): ArchiveResult {
  mkdirSync(path.dirname(options.output), { recursive: true });
  const scratch = mkdtempSync(`${options.output}.`);
  try {
    mkdirSync(path.join(scratch, "blobs/sha256"), { recursive: true });
    const store = (content: Buffer, mediaType: string): Descriptor => {
      const digest = digestOf(content);
      writeFileSync(blobPath(scratch, digest), content);
      return { mediaType, digest, size: content.length };
    };
    const tars = options.layers.map((layer) => tarOf(["."], layer));
    const layers = tars.map((tar) => store(gzipSync(tar, { level: GZIP_LEVEL }), `${OCI}.layer.v1.tar+gzip`));
    const config = store(json(configOf(options, tars.map(digestOf))), `${OCI}.config.v1+json`);
    const manifest = store(
      json({ schemaVersion: 2, mediaType: `${OCI}.manifest.v1+json`, config, layers }),
      `${OCI}.manifest.v1+json`,
    );
    writeIndexes(scratch, options, { manifest, config, layers });
    writeFileSync(options.output, tarOf(["oci-layout", "index.json", "manifest.json", "blobs"], scratch));
    return {
      digest: manifest.digest,
      unpackedBytes: tars.reduce((sum, tar) => sum + tar.length, 0),
      packedBytes: layers.reduce((sum, { size }) => sum + size, 0),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function configOf({ architecture, version }: ArchiveOptions, diffIds: readonly string[]): object {
  const created = new Date(0).toISOString();
  return {
    created,
    architecture,
    os: "linux",
    config: {
      Entrypoint: IMAGE_CONFIG.entrypoint,
      Env: Object.entries(IMAGE_CONFIG.environment).map(([name, value]) => `${name}=${value}`),
      Labels: {
        "org.opencontainers.image.title": "flanneld-ts",
        "org.opencontainers.image.version": version,
      },
    },
    rootfs: { type: "layers", diff_ids: diffIds },
    history: diffIds.map(() => ({ created, created_by: "scripts/build-image.ts" })),
  };
}

function writeIndexes(
  scratch: string,
  { name, architecture }: ArchiveOptions,
  {
    manifest,
    config,
    layers,
  }: Readonly<Record<"manifest" | "config", Descriptor>> & { layers: readonly Descriptor[] },
): void {
  const annotations = {
    "io.containerd.image.name": name,
    "org.opencontainers.image.ref.name": name.slice(name.lastIndexOf(":") + 1),
  };
  const files = {
    "oci-layout": { imageLayoutVersion: "1.0.0" },
    "index.json": {
      schemaVersion: 2,
      mediaType: `${OCI}.index.v1+json`,
      manifests: [{ ...manifest, platform: { architecture, os: "linux" }, annotations }],
    },
    "manifest.json": [
      {
        Config: blobPath("", config.digest),
        RepoTags: [name],
        Layers: layers.map(({ digest }) => blobPath("", digest)),
      },
    ],
  };
  for (const [file, value] of Object.entries(files)) writeFileSync(path.join(scratch, file), json(value));
}

function tarOf(entries: readonly string[], directory: string): Buffer {
  const settings = ["--sort=name", "--mtime=@0", "--owner=0", "--group=0", "--numeric-owner", "--format=gnu"];
  return execFileSync("tar", ["-c", ...settings, "-C", directory, ...entries], { maxBuffer: 2 ** 31 });
}

function blobPath(root: string, digest: string): string {
  return path.join(root, "blobs", digest.replace(":", "/"));
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash("sha256").update(content).digest("hex")}`;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
