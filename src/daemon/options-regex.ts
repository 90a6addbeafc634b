// Reads a regular expression in Go's syntax (RE2), as flannel's --iface-regex takes it. Pure.
import { InvalidValueError } from "../net/errors.ts";

/** POSIX classes of RE2's syntax page, which JavaScript spells out. */
const POSIX_CLASSES: Readonly<Record<string, string>> = {
  alnum: "0-9A-Za-z",
  alpha: "A-Za-z",
  digit: "0-9",
  lower: "a-z",
  punct: "!-\\/:-@\\[-`{-~",
  space: "\\t\\n\\v\\f\\r ",
  upper: "A-Z",
  word: "0-9A-Za-z_",
  xdigit: "0-9A-Fa-f",
};

/**
 * Compiles a Go pattern: leading flags `(?i)`, `(?P<name>`, `[[:digit:]]`, `\A` and `\z` differ from JavaScript.
 * Matches anywhere, as Go's MatchString does. @throws {InvalidValueError}
 */
export function compileGoRegex(pattern: string): RegExp {
  const leading = /^\(\?([ims]+)\)/.exec(pattern);
  const body = pattern
    .slice(leading?.[0].length ?? 0)
    .replaceAll(/\(\?P</g, "(?<")
    .replaceAll(/\[:([a-z]+):\]/g, (whole, name: string) => POSIX_CLASSES[name] ?? whole)
    .replaceAll(/\\A/g, "^")
    .replaceAll(/\\z/g, "$");
  try {
    return new RegExp(body, leading?.[1] ?? "");
  } catch (error) {
    throw new InvalidValueError(
      `"${pattern}" is not a regular expression: ${(error as Error).message.replace(/^Invalid regular expression: /, "")}`,
    );
  }
}
