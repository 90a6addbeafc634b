// Makes untrusted text safe to print as a part of one line.

/** C0, DEL, C1, line separators, and the marks that reorder text. */
// oxlint-disable-next-line no-control-regex -- these are exactly the characters to find
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g;

/** Writes such characters as `\u001b`, so that they can neither end a line, nor move a cursor, nor hide text. */
export function printable(text: string): string {
  return text.replaceAll(UNSAFE, (c) => `\\u${(c.codePointAt(0) ?? 0).toString(16).padStart(4, "0")}`);
}
