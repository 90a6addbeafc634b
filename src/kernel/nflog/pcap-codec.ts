// Reads a stream of the pcap file format record by record (draft-ietf-opsawg-pcap). Pure.

/** LINKTYPE_NFLOG (tcpdump.org/linktypes.html). */
export const LINKTYPE_NFLOG = 239;

export interface PcapRecord {
  readonly data: Buffer;
  /** Byte order of the machine that captured, which NFLOG's own fields have too. */
  readonly littleEndian: boolean;
}

/** The stream is not what it should be, so nothing behind this point can be found. */
export class PcapError extends Error {
  override readonly name = "PcapError";
}

const FILE_HEADER_BYTES = 24;
const RECORD_HEADER_BYTES = 16;
/** Far above what we ask tcpdump for; more than that is no length. */
const MAX_RECORD_BYTES = 65_536;
/** With times in microseconds and in nanoseconds. */
const MAGICS: ReadonlySet<number> = new Set([0xa1b2c3d4, 0xa1b23c4d]);

export interface PcapReader {
  /** @returns the records that are complete with this piece. @throws {PcapError} */
  push(piece: Buffer): readonly PcapRecord[];
}

export function createPcapReader(linkType: number): PcapReader {
  let rest: Buffer = Buffer.alloc(0);
  let littleEndian: boolean | undefined;
  return {
    push(piece) {
      rest = rest.length === 0 ? piece : Buffer.concat([rest, piece]);
      if (littleEndian === undefined) {
        if (rest.length < FILE_HEADER_BYTES) return [];
        littleEndian = readFileHeader(rest, linkType);
        rest = rest.subarray(FILE_HEADER_BYTES);
      }
      const records: PcapRecord[] = [];
      while (rest.length >= RECORD_HEADER_BYTES) {
        const length = readUint32(rest, 8, littleEndian);
        if (length > MAX_RECORD_BYTES) throw new PcapError(`a record of ${length} bytes`);
        const end = RECORD_HEADER_BYTES + length;
        if (rest.length < end) break;
        records.push({ data: rest.subarray(RECORD_HEADER_BYTES, end), littleEndian });
        rest = rest.subarray(end);
      }
      return records;
    },
  };
}

/** @returns whether the capturing machine is little-endian */
function readFileHeader(bytes: Buffer, linkType: number): boolean {
  const littleEndian = MAGICS.has(bytes.readUInt32LE(0));
  if (!littleEndian && !MAGICS.has(bytes.readUInt32BE(0))) throw new PcapError("this is no pcap stream");
  // The upper bits are about checksums.
  const found = readUint32(bytes, 20, littleEndian) & 0x0fffffff;
  if (found !== linkType) throw new PcapError(`link type ${found} instead of ${linkType}`);
  return littleEndian;
}

function readUint32(bytes: Buffer, offset: number, littleEndian: boolean): number {
  return littleEndian ? bytes.readUInt32LE(offset) : bytes.readUInt32BE(offset);
}
