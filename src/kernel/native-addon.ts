// Where the build puts what is written in C (native/): beside the bundle, above its chunks, and in dist/ of a checkout.
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";

const PLACES: readonly string[] = [".", "..", "../../dist"];

/** The path of dist/NAME.node, or undefined: the daemon was built without a C compiler. */
export function findNativeAddon(name: string): string | undefined {
  return PLACES.map((place) => fileURLToPath(new URL(`${place}/${name}.node`, import.meta.url))).find(
    existsSync,
  );
}
