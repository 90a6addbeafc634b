// The API conformance suite on the fake: it passes what the real kube-apiserver passes (test/kubernetes).
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describeKubeApi } from "../kubernetes/api-suite/suite.ts";
import { makeCertificates } from "../support/certificates.ts";
import { startFakeKube } from "../support/fake-kube/fake-kube.ts";

const RULES = [
  { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
  { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
];

describeKubeApi("the fake API server", async () => {
  const dir = mkdtempSync(join(tmpdir(), "fake-kube-"));
  const certificates = await makeCertificates(dir);
  const fake = await startFakeKube({
    tls: certificates,
    clientCa: certificates.ca,
    tokens: { "admin-token": { name: "admin" }, "limited-token": { name: "limited", rules: RULES } },
    bookmarkIntervalMs: 100,
  });
  return {
    admin: { url: fake.url, ca: readFileSync(certificates.ca), token: "admin-token" },
    limitedToken: "limited-token",
    limitedUser: "limited",
    certificate: { cert: readFileSync(certificates.clientCert), key: readFileSync(certificates.clientKey) },
    foreignCertificate: {
      cert: readFileSync(certificates.otherClientCert),
      key: readFileSync(certificates.otherClientKey),
    },
    restart: () => Promise.resolve(fake.faults.restart("lose")),
    compact: () => Promise.resolve(fake.faults.compact()),
    close: async () => {
      await fake.close();
      rmSync(dir, { recursive: true, force: true });
    },
  };
});
