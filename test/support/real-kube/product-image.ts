// Our container image for the nodes of a real cluster: the very archive that `npm run image` makes.
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { exec } from "../../../src/kernel/exec.ts";

const ROOT = resolve(import.meta.dirname, "../../..");
const { version } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as { version: string };

/** As manifest and chart name it. */
export const PRODUCT_IMAGE = `localhost/flanneld-ts:${version}`;

/** Gives the archive's path, built again when the product is newer. Building takes half a minute and fetches Debian packages. */
export async function productImage(): Promise<string> {
  const architecture = process.arch === "arm64" ? "arm64" : "amd64";
  const archive = join(ROOT, `dist/image/flanneld-ts-${version}-${architecture}.tar`);
  if (!existsSync(archive) || statSync(archive).mtimeMs < newestInput()) {
    const script = join(ROOT, "scripts/build-image.ts");
    await exec(process.execPath, [script, "--output", archive, "--name", PRODUCT_IMAGE], {
      timeoutMs: 600_000,
    });
  }
  return archive;
}

function newestInput(): number {
  const scripts = readdirSync(join(ROOT, "scripts")).filter((name) => name.startsWith("build-image"));
  const inputs = [
    "dist/flanneld.mjs",
    "dist/flanneld-ts",
    "dist/flannel",
    "dist/flanneld-chunks",
    ...scripts.map((name) => `scripts/${name}`),
  ];
  return Math.max(...inputs.map((file) => statSync(join(ROOT, file)).mtimeMs));
}
