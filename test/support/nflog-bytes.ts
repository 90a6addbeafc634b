// Bytes as tcpdump writes them for an NFLOG group: pcap stream, attributes, IP packets.

export interface NflogBytes {
  readonly prefix?: string;
  readonly payload: Buffer;
}

/** Little-endian, microseconds. */
export function pcapHeader(linkType = 239): Buffer {
  const header = Buffer.alloc(24);
  header.writeUInt32LE(0xa1b2c3d4, 0);
  header.writeUInt16LE(2, 4);
  header.writeUInt16LE(4, 6);
  header.writeUInt32LE(512, 16);
  header.writeUInt32LE(linkType, 20);
  return header;
}

export function pcapRecord(data: Buffer): Buffer {
  const header = Buffer.alloc(16);
  header.writeUInt32LE(data.length, 8);
  header.writeUInt32LE(data.length, 12);
  return Buffer.concat([header, data]);
}

export function nflogMessage({ prefix, payload }: NflogBytes): Buffer {
  const hook = attribute(1, Buffer.from([8, 0, 2, 0]));
  const parts = prefix === undefined ? [] : [attribute(10, Buffer.from(`${prefix}\0`))];
  return Buffer.concat([Buffer.from([2, 0, 0, 100]), hook, ...parts, attribute(9, payload)]);
}

function attribute(type: number, value: Buffer): Buffer {
  const header = Buffer.alloc(4);
  header.writeUInt16LE(4 + value.length, 0);
  header.writeUInt16LE(type, 2);
  return Buffer.concat([header, value, Buffer.alloc((4 - (value.length % 4)) % 4)]);
}

/** TCP, UDP or SCTP over IPv4. */
export function ipv4Packet(src: string, dst: string, protocol: number, port: number): Buffer {
  const header = Buffer.alloc(20);
  header[0] = 0x45;
  header[9] = protocol;
  for (const [offset, address] of [
    [12, src],
    [16, dst],
  ] as const) {
    for (const [i, part] of address.split(".").entries()) header[offset + i] = Number(part);
  }
  return Buffer.concat([header, transport(port)]);
}

export function transport(port: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeUInt16BE(40_000, 0);
  bytes.writeUInt16BE(port, 2);
  return bytes;
}

/** @param chain headers between IPv6 and the last one, each a multiple of eight bytes whose first is the next protocol */
export function ipv6Packet(next: number, rest: readonly Buffer[]): Buffer {
  const header = Buffer.alloc(40);
  header[0] = 0x60;
  header[6] = next;
  header.set([0xfd, 0, 0, 1], 8);
  header[23] = 5;
  header.set([0xfd, 0, 0, 2], 24);
  header[39] = 6;
  return Buffer.concat([header, ...rest]);
}
