// Members of ipsets: what may be one, and one spelling for each; pure.
import type { IpsetType } from "../../host/ipset-state.ts";
import { bitsOf, familyOf, tryParseIp } from "../../net/ip.ts";
import type { Family } from "../../net/ip.ts";

const PORT = /^(tcp|udp|sctp):(0|[1-9]\d{0,4})$/;
const LENGTH = /^[1-9]\d{0,2}$/;

/** Why this cannot be a member, or undefined. What gets through has no blank, quote or newline in it. */
export function memberProblem(type: IpsetType, family: Family, member: string): string | undefined {
  const problem = {
    "hash:ip": () => addressProblem(family, member),
    "hash:net": () => prefixProblem(family, member),
    "hash:ip,port": () => portProblem(family, member),
  }[type]();
  return problem && `${JSON.stringify(member)} cannot be a member of a ${type} set: ${problem}`;
}

function addressProblem(family: Family, text: string): string | undefined {
  const ip = tryParseIp(text);
  return ip !== undefined && familyOf(ip) === family ? undefined : `it is not an IPv${family} address`;
}

function prefixProblem(family: Family, text: string): string | undefined {
  const slash = text.indexOf("/");
  if (slash < 0) return addressProblem(family, text);
  const length = text.slice(slash + 1);
  if (length === "0") return "the kernel takes no /0; use its two halves";
  if (!LENGTH.test(length) || Number(length) > bitsOf(family))
    return `its length must be 1 to ${bitsOf(family)}`;
  return addressProblem(family, text.slice(0, slash));
}

function portProblem(family: Family, text: string): string | undefined {
  const comma = text.indexOf(",");
  const port = PORT.exec(text.slice(comma + 1));
  if (comma < 0 || port === null || Number(port[2]) > 65_535)
    return 'it must be like "10.244.1.5,tcp:80", with tcp, udp or sctp';
  return addressProblem(family, text.slice(0, comma));
}

/**
 * A member as `ipset save` prints it, in our spelling. They differ only where the C library ends an IPv6 address in a dotted
 * quad (inet_ntop(3)); everything else is passed as it is.
 */
export function canonicalMember(type: IpsetType, family: Family, member: string): string {
  if (family === 4 || !member.includes(".")) return member;
  const end = type === "hash:ip" ? -1 : member.search(type === "hash:net" ? "/" : ",");
  const address = end < 0 ? member : member.slice(0, end);
  return (tryParseIp(withoutQuad(address)) ?? address) + (end < 0 ? "" : member.slice(end));
}

/** `::1.2.3.4` as `::102:304`. */
function withoutQuad(address: string): string {
  return address.replace(/(\d+)\.(\d+)\.(\d+)\.(\d+)$/, (_, a: string, b: string, c: string, d: string) =>
    [Number(a) * 256 + Number(b), Number(c) * 256 + Number(d)].map((group) => group.toString(16)).join(":"),
  );
}
