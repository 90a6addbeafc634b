// The version that --version, status and the CNI plugin tell.

declare const FLANNELD_TS_VERSION: string | undefined;

/** Set by the build from package.json; "dev" when run from source. */
export const VERSION: string = typeof FLANNELD_TS_VERSION === "string" ? FLANNELD_TS_VERSION : "dev";
