// The image: one list of what goes in, a Dockerfile that adds nothing to it, and libraries read from ELF files.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { isElf, neededLibraries } from "../../scripts/build-image-elf.ts";
import {
  ARCHITECTURES,
  IMAGE_CONFIG,
  imagePaths,
  isKept,
  LAYERS,
  LINKS,
  mergedPath,
  NODE_PATH,
  PACKAGES,
  PRODUCT_FILES,
} from "../../scripts/build-image-plan.ts";

const DOCKERFILE = readFileSync("deploy/Dockerfile", "utf8");
const FINAL_STAGE = DOCKERFILE.slice(DOCKERFILE.lastIndexOf("\nFROM ")).trim().split("\n");

describe("Dockerfile", () => {
  it("ships the layers that scripts/build-image.ts lays out, and nothing else", () => {
    expect(FINAL_STAGE).toEqual([
      "FROM scratch",
      ...LAYERS.map((layer) => `COPY --from=build /rootfs/${layer} /`),
      ...Object.entries(IMAGE_CONFIG.environment).map(([name, value]) => `ENV ${name}=${value}`),
      `ENTRYPOINT ${JSON.stringify(IMAGE_CONFIG.entrypoint)}`,
    ]);
    expect(DOCKERFILE).toContain('scripts/build-image.ts --arch "$TARGETARCH" --rootfs /rootfs');
  });
});

describe("list of the image", () => {
  it("names packages once, without build tools", () => {
    const names = PACKAGES.map(({ name }) => name);
    expect(new Set(names).size).toBe(names.length);
    expect(
      names.filter((name) => /^(gcc|g\+\+|make|binutils|python|perl|npm|git|apt|dpkg)/.test(name)),
    ).toEqual([]);
  });

  it("has iptables in both modes, for both families, and plain names", () => {
    const paths = imagePaths();
    for (const family of ["iptables", "ip6tables"]) {
      for (const mode of ["", "-nft", "-legacy"]) {
        for (const command of ["", "-save", "-restore"]) {
          expect(paths).toContain(`/usr/sbin/${family}${mode}${command}`);
        }
      }
    }
  });

  it("has every program that the daemon and the CNI executable call", () => {
    const paths = imagePaths();
    for (const program of ["ip", "bridge", "ipset", "nft", "conntrack", "sh", "cp", "readlink", "dirname"]) {
      expect(
        ["/usr/bin", "/usr/sbin"].some((folder) => paths.has(`${folder}/${program}`)),
        program,
      ).toBe(true);
    }
  });

  it("puts node and the CNI executable where the start script and install-cni look: beside the bundle", () => {
    const script = PRODUCT_FILES.find(({ from }) => from === "dist/flanneld-ts")?.path ?? "";
    const folder = script.replace(/[^/]+$/, "");
    expect(NODE_PATH).toBe(`${folder}node`);
    expect(PRODUCT_FILES.map(({ path }) => path)).toEqual(
      expect.arrayContaining([`${folder}flannel`, `${folder}flanneld.mjs`]),
    );
    expect(LINKS).toContainEqual(["/opt/bin/flanneld", `../flanneld-ts/flanneld-ts`]);
  });

  it("takes Node and bun of each architecture from the lock file", () => {
    const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: object };
    for (const { nodePackage, bunPackage } of Object.values(ARCHITECTURES)) {
      expect(Object.keys(packages)).toContain(`node_modules/${nodePackage}`);
      expect(Object.keys(packages)).toContain(`node_modules/${bunPackage}`);
    }
  });

  it.each([
    ["/usr/share/doc/iptables/copyright", true],
    ["/usr/share/doc/iptables/changelog.Debian.gz", false],
    ["/usr/lib/x86_64-linux-gnu/xtables/libxt_comment.so", true],
    ["/usr/lib/x86_64-linux-gnu/gconv/UTF-16.so", false],
    ["/usr/share/man/man8/ip.8.gz", false],
    ["/etc/iproute2/rt_protos", true],
    ["/etc/os-release", true],
  ])("%s: kept %s", (path, kept) => {
    expect(isKept(path)).toBe(kept);
  });

  it.each([
    ["/bin/ip", "/usr/bin/ip"],
    ["/sbin/bridge", "/usr/sbin/bridge"],
    ["/usr/sbin/nft", "/usr/sbin/nft"],
    ["/binary", "/binary"],
  ])("%s lies at %s", (path, merged) => {
    expect(mergedPath(path)).toBe(merged);
  });
});

/** A minimal ELF-64 file: header, one dynamic section and its string table. */
function elf(names: readonly string[]): Buffer {
  const strings = Buffer.from(`\0${names.map((name) => `${name}\0`).join("")}`);
  const dynamic = Buffer.alloc((names.length + 1) * 16);
  for (const [index, name] of names.entries()) {
    dynamic.writeBigInt64LE(1n, index * 16);
    dynamic.writeBigUInt64LE(BigInt(strings.indexOf(`\0${name}\0`) + 1), index * 16 + 8);
  }
  const header = Buffer.alloc(64);
  header.writeUInt32BE(0x7f454c46, 0);
  header.set([2, 1], 4);
  const sections = Buffer.alloc(3 * 64);
  const put = (index: number, type: number, offset: number, size: number, link: number): void => {
    sections.writeUInt32LE(type, index * 64 + 4);
    sections.writeBigUInt64LE(BigInt(offset), index * 64 + 0x18);
    sections.writeBigUInt64LE(BigInt(size), index * 64 + 0x20);
    sections.writeUInt32LE(link, index * 64 + 0x28);
  };
  put(1, 6, 64, dynamic.length, 2);
  put(2, 3, 64 + dynamic.length, strings.length, 0);
  header.writeBigUInt64LE(BigInt(64 + dynamic.length + strings.length), 0x28);
  header.writeUInt16LE(64, 0x3a);
  header.writeUInt16LE(3, 0x3c);
  return Buffer.concat([header, dynamic, strings, sections]);
}

describe("needed libraries", () => {
  it("are read from the dynamic section", () => {
    expect(neededLibraries(elf(["libmnl.so.0", "libc.so.6"]))).toEqual(["libmnl.so.0", "libc.so.6"]);
    expect(neededLibraries(elf([]))).toEqual([]);
  });

  it("are asked of ELF-64 files alone", () => {
    expect(isElf(Buffer.from("#!/bin/sh\n".padEnd(100)))).toBe(false);
    const other = elf([]);
    other[4] = 1;
    expect(() => neededLibraries(other)).toThrow("not ELF-64");
  });

  it("of node are those that the list has packages for", () => {
    const needed = neededLibraries(readFileSync(process.execPath));
    expect(needed).toEqual(expect.arrayContaining(["libstdc++.so.6", "libgcc_s.so.1", "libc.so.6"]));
  });
});
