// Which shared libraries an ELF file names (ELF-64 little endian; System V ABI, chapters 4 and 5). Pure.
const CLASS_64 = 2;
const LITTLE_ENDIAN = 1;
const SECTION_HEADER = { offsetAt: 0x28, sizeAt: 0x3a, countAt: 0x3c } as const;
const SHT_DYNAMIC = 6;
const DT_NULL = 0n;
const DT_NEEDED = 1n;
const DYNAMIC_ENTRY_BYTES = 16;

interface Section {
  readonly type: number;
  readonly offset: number;
  readonly size: number;
  readonly link: number;
}

export function isElf(content: Buffer): boolean {
  return content.length > 64 && content.readUInt32BE(0) === 0x7f454c46;
}

/** The DT_NEEDED entries, e.g. "libc.so.6"; none for a static program. @throws if it is an ELF file of another kind */
export function neededLibraries(content: Buffer): readonly string[] {
  if (content[4] !== CLASS_64 || content[5] !== LITTLE_ENDIAN) throw new Error("not ELF-64 little endian");
  const sections = readSections(content);
  const dynamic = sections.find(({ type }) => type === SHT_DYNAMIC);
  if (dynamic === undefined) return [];
  const strings = sections[dynamic.link];
  if (strings === undefined) throw new Error("the dynamic section has no string table");
  const names: string[] = [];
  for (let at = dynamic.offset; at < dynamic.offset + dynamic.size; at += DYNAMIC_ENTRY_BYTES) {
    const tag = content.readBigInt64LE(at);
    if (tag === DT_NULL) break;
    if (tag !== DT_NEEDED) continue;
    const start = strings.offset + Number(content.readBigUInt64LE(at + 8));
    names.push(content.toString("latin1", start, content.indexOf(0, start)));
  }
  return names;
}

function readSections(content: Buffer): readonly Section[] {
  const start = Number(content.readBigUInt64LE(SECTION_HEADER.offsetAt));
  const size = content.readUInt16LE(SECTION_HEADER.sizeAt);
  const count = content.readUInt16LE(SECTION_HEADER.countAt);
  return Array.from({ length: count }, (_, index) => {
    const at = start + index * size;
    return {
      type: content.readUInt32LE(at + 4),
      offset: Number(content.readBigUInt64LE(at + 0x18)),
      size: Number(content.readBigUInt64LE(at + 0x20)),
      link: content.readUInt32LE(at + 0x28),
    };
  });
}
