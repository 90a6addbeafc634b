// Runs the classic BPF of `-m bpf --bytecode` on the addresses of a packet.
import { familyOf } from "../../src/net/ip.ts";
import type { Ip } from "../../src/net/ip.ts";

/** The ends of a packet: all of its header that is asked about. */
interface Ends {
  readonly src: Ip;
  readonly dst: Ip;
}

/** `code jt jf k` of classic BPF. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

/** @throws {Error} if the text is not a program as iptables writes it */
export function readBpf(text: string): readonly Instruction[] {
  const [count, ...code] = text.split(",");
  if (Number(count) !== code.length) throw new Error("bytecode has another length than it says");
  return code.map((line) => {
    const [a = 0, b = 0, c = 0, d = 0] = line.split(" ").map(Number);
    return [a, b, c, d];
  });
}

/** The five instructions that are needed, on the address part of the packet's header. */
export function runBpf(program: readonly Instruction[], packet: Ends): boolean {
  const header = headerOf(packet);
  let [accumulator, index] = [0, 0];
  for (let at = 0; at < program.length; at += 1) {
    const [code, jt, jf, k] = program[at] ?? [6, 0, 0, 0];
    if (code === 0x20) accumulator = header.getUint32(k);
    else if (code === 0x07) index = accumulator;
    else if (code === 0x1d) at += accumulator === index ? jt : jf;
    else if (code === 0x06) return k !== 0;
    else throw new Error(`BPF instruction ${code} is not known`);
  }
  throw new Error("the BPF program does not end");
}

function headerOf({ src, dst }: Ends): DataView {
  const family = familyOf(dst);
  const header = new DataView(new ArrayBuffer(40));
  const [offset, size] = family === 4 ? [12, 4] : [8, 16];
  for (const [index, byte] of [...bytesOf(src), ...bytesOf(dst)].entries())
    header.setUint8(offset + index, byte);
  if (bytesOf(src).length !== size) throw new Error("ends of two families");
  return header;
}

function bytesOf(ip: Ip): readonly number[] {
  if (familyOf(ip) === 4) return ip.split(".").map(Number);
  const [head = "", tail] = ip.split("::");
  const words = (text: string): number[] =>
    text === "" ? [] : text.split(":").map((word) => Number.parseInt(word, 16));
  const [first, last] = [words(head), words(tail ?? "")];
  const all =
    tail === undefined
      ? first
      : [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last];
  return all.flatMap((word) => [word >> 8, word & 255]);
}
