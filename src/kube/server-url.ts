// The URL of an API server: what is one, and what must not be in it.
import { InvalidValueError } from "../net/errors.ts";

/** Checks a server's URL and takes trailing slashes off. @throws {InvalidValueError} */
export function parseServerUrl(text: string, where: string): string {
  // client-go takes a bare host for http.
  const url = URL.parse(text.includes("://") ? text : `http://${text}`);
  if (url === null || !/^https?:$/.test(url.protocol) || url.hostname === "") {
    throw new InvalidValueError(
      `${where}: not the URL of an API server (for example https://192.0.2.1:6443)`,
    );
  }
  if (url.username !== "" || url.password !== "" || url.search !== "") {
    throw new InvalidValueError(
      `${where}: the URL must hold neither user, password nor query; give credentials with --kubeconfig-file`,
    );
  }
  return url.href.replace(/\/+$/, "");
}
