// Names, label keys and values, port names: the API server's checks (apimachinery validation), as messages.

const LABEL_VALUE = /^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$/;
const DNS_LABEL = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/;
const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

const MAX_LABEL = 63;
const MAX_SUBDOMAIN = 253;
const MAX_PORT_NAME = 15;

/** Why `text` cannot be a label value; undefined if it can. */
export function labelValueProblem(text: unknown): string | undefined {
  if (typeof text !== "string") return `must be a string; write it in quotes: "${String(text)}"`;
  if (text.length <= MAX_LABEL && LABEL_VALUE.test(text)) return undefined;
  return `${JSON.stringify(text)} is no label value: at most ${MAX_LABEL} letters, digits, "-", "_" and ".", with a letter or digit at both ends`;
}

/** Why `text` cannot be a label key (`name` or `prefix/name`); undefined if it can. */
export function labelKeyProblem(text: unknown): string | undefined {
  const shown = JSON.stringify(text);
  if (typeof text !== "string" || text === "")
    return `a label key must be a text that is not empty, not ${shown}`;
  const slash = text.indexOf("/");
  const prefix = slash < 0 ? undefined : text.slice(0, slash);
  const name = text.slice(slash + 1);
  if (prefix !== undefined && !isDnsSubdomain(prefix))
    return `${shown} is no label key: what is before "/" must be a DNS name`;
  if (name === "" || labelValueProblem(name) !== undefined)
    return `${shown} is no label key: at most ${MAX_LABEL} letters, digits, "-", "_" and ".", after an optional DNS name and "/"`;
  return undefined;
}

/** RFC 1123 label, for namespaces. */
export function isDnsLabel(text: unknown): text is string {
  return typeof text === "string" && text.length <= MAX_LABEL && DNS_LABEL.test(text);
}

/** RFC 1123 subdomain, for names of policies. */
export function isDnsSubdomain(text: unknown): text is string {
  return typeof text === "string" && text.length <= MAX_SUBDOMAIN && DNS_SUBDOMAIN.test(text);
}

/** Why `text` cannot be the name of a port (IANA_SVC_NAME, RFC 6335); undefined if it can. */
export function portNameProblem(text: string): string | undefined {
  const isName =
    text.length <= MAX_PORT_NAME && DNS_LABEL.test(text) && /[a-z]/.test(text) && !text.includes("--");
  if (isName) return undefined;
  const hint = /^\d+$/.test(text) ? "; a number is written without quotes" : "";
  return `${JSON.stringify(text)} is no port name: at most ${MAX_PORT_NAME} lower-case letters, digits and single "-", with at least one letter${hint}`;
}
