// Where the build puts what is written in C (native/): beside the bundle, above its chunks, and in dist/ of a checkout.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const PLACES: readonly string[] = [".", "..", "../../dist"];

/** The path of dist/NAME.node, or undefined: the daemon was built without a C compiler. */
export function findNativeAddon(name: string): string | undefined {
  return PLACES.map((place) => fileURLToPath(new URL(`${place}/${name}.node`, import.meta.url))).find(
    existsSync,
  );
}

/**
 * Loads an addon that all works without.
 * @param file default: where the build puts it
 * @returns undefined where there is none, or one for another machine
 */
export function loadOptionalAddon(name: string, file = findNativeAddon(name)): unknown {
  if (file === undefined) return undefined;
  try {
    return createRequire(import.meta.url)(file);
  } catch {
    return undefined;
  }
}
