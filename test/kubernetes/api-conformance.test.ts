// The API conformance suite on a real kube-apiserver: what the fake has to be like.
import { readFileSync } from "node:fs";
import { createKubeCaller } from "../support/kube-caller.ts";
import { startRealApiServer } from "../support/real-kube/apiserver.ts";
import { describeKubeApi } from "./api-suite/suite.ts";

const LIMITED_USER = "limited";
const RBAC = "/apis/rbac.authorization.k8s.io/v1";

describeKubeApi("the real kube-apiserver", async () => {
  const server = await startRealApiServer({ tokens: { "limited-token": LIMITED_USER } });
  const { certificates } = server;
  const admin = { url: server.url, ca: readFileSync(certificates.ca), token: server.adminToken };
  const call = createKubeCaller(admin);
  const rules = [
    { apiGroups: [""], resources: ["nodes"], verbs: ["get", "list", "watch"] },
    { apiGroups: [""], resources: ["nodes/status"], verbs: ["patch"] },
  ];
  const bind = (user: string, role: string): unknown => ({
    metadata: { name: user },
    roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: role },
    subjects: [{ apiGroup: "rbac.authorization.k8s.io", kind: "User", name: user }],
  });
  await call("POST", `${RBAC}/clusterroles`, { body: { metadata: { name: LIMITED_USER }, rules } });
  await call("POST", `${RBAC}/clusterrolebindings`, { body: bind(LIMITED_USER, LIMITED_USER) });
  await call("POST", `${RBAC}/clusterrolebindings`, { body: bind("client", "cluster-admin") });
  return {
    admin,
    limitedToken: "limited-token",
    limitedUser: LIMITED_USER,
    certificate: { cert: readFileSync(certificates.clientCert), key: readFileSync(certificates.clientKey) },
    foreignCertificate: {
      cert: readFileSync(certificates.otherClientCert),
      key: readFileSync(certificates.otherClientKey),
    },
    restart: () => server.restart(),
    compact: () => server.compact(),
    close: () => server.close(),
  };
});
