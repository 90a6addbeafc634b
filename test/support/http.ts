// A plain HTTP request over TCP or a unix socket, for tests.
import { request } from "node:http";

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: string;
}

export function httpGet(
  target: { readonly socketPath: string } | { readonly host: string; readonly port: number },
  path: string,
  method = "GET",
  body = "",
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const asking = request({ ...target, path, method, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body }),
      );
      response.on("error", reject);
    });
    asking.on("error", reject);
    asking.end(body);
  });
}
