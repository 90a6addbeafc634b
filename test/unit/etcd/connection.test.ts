// Endpoints and TLS settings as operators write them.
import { describe, expect, test } from "vitest";
import { planConnection } from "../../../src/etcd/connection.ts";

const urls = (endpoints: readonly string[], more = {}) =>
  planConnection({ endpoints, ...more }).endpoints.map(({ url }) => url);

describe("endpoints", () => {
  test.each([
    { text: "http://127.0.0.1:2379", url: "http://127.0.0.1:2379" },
    { text: " https://etcd.example:4001/ ", url: "https://etcd.example:4001" },
    { text: "HTTP://[fd00::1]:2379", url: "http://[fd00::1]:2379" },
    { text: "10.0.0.1", url: "http://10.0.0.1:2379" },
  ])("$text", ({ text, url }) => {
    expect(urls([text])).toEqual([url]);
  });

  test("without a scheme follow the TLS files, as in etcd's own client", () => {
    expect(urls(["10.0.0.1:2379"], { caFile: "/ca" })).toEqual(["https://10.0.0.1:2379"]);
    expect(urls(["10.0.0.1:2379"], { certFile: "/c", keyFile: "/k" })).toEqual(["https://10.0.0.1:2379"]);
    expect(urls(["10.0.0.1:2379"], { certFile: "/c" })).toEqual(["http://10.0.0.1:2379"]);
  });

  test.each(["", "http://", "ftp://x", "http://a:b:c", "http://a:99999", "http://a/path", "unix:///x"])(
    "%j is refused",
    (text) => {
      expect(() => planConnection({ endpoints: [text] })).toThrow(/etcd endpoint/);
    },
  );

  test("a password in a URL is refused and not repeated", () => {
    const plan = () => planConnection({ endpoints: ["http://joe:hunter2@etcd:2379"] });
    expect(plan).toThrow("--etcd-username");
    expect(plan).not.toThrow("hunter2");
  });
});

describe("TLS", () => {
  const https = ["https://etcd:2379"];
  test.each([
    { name: "both files", files: { keyFile: "/k", certFile: "/c" }, sends: true, warnings: 0 },
    { name: "a CA alone", files: { caFile: "/ca" }, sends: false, warnings: 0 },
    { name: "a key alone", files: { keyFile: "/k" }, sends: false, warnings: 1 },
    {
      name: "empty texts are not given",
      files: { keyFile: "", certFile: "", caFile: "" },
      sends: false,
      warnings: 0,
    },
    { name: "a password without a user", files: { password: "x" }, sends: false, warnings: 1 },
  ])("$name", ({ files, sends, warnings }) => {
    const plan = planConnection({ endpoints: https, ...files });
    expect(plan.clientCertificate).toBe(sends);
    expect(plan.warnings).toHaveLength(warnings);
    expect(plan.endpoints[0]?.tls).toBe(true);
  });

  test("files with http endpoints are warned of", () => {
    const { warnings } = planConnection({ endpoints: ["http://a:1", ...https], caFile: "/ca" });
    expect(warnings).toEqual([expect.stringContaining("http://a:1 is plain http")]);
  });
});
