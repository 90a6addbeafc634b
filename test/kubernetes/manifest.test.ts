// deploy/kube-flannel.yml, applied as it is with kubectl to a real cluster, with the image that `npm run image` makes.
import { afterAll, beforeAll } from "vitest";
import type { RealCluster } from "../support/real-kube/cluster.ts";
import { showClusterOfFailures } from "../support/real-kube/network.ts";
import { describeAttaching } from "./manifest-suite/attaching.ts";
import { describeEvents } from "./manifest-suite/events.ts";
import { describeLeaving } from "./manifest-suite/leaving.ts";
import { describeNodes } from "./manifest-suite/nodes.ts";
import { describeOutages } from "./manifest-suite/outages.ts";
import { describeServices } from "./manifest-suite/services.ts";
import { describePolicies } from "./manifest-suite/policies.ts";
import { startManifestSuite } from "./manifest-suite/suite.ts";
import type { ManifestSuite } from "./manifest-suite/suite.ts";

let cluster: RealCluster | undefined;
let suite: ManifestSuite;
showClusterOfFailures(() => cluster);

beforeAll(async () => {
  suite = await startManifestSuite((started) => (cluster = started));
});
afterAll(async () => {
  await cluster?.close();
});

const suiteOf = (): ManifestSuite => suite;
describeAttaching(suiteOf);
describeServices(suiteOf);
describePolicies(suiteOf);
describeOutages(suiteOf);
describeNodes(suiteOf);
describeEvents(suiteOf);
await describeLeaving(suiteOf);
