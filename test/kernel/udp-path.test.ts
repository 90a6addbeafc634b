// The udp backend's data path as it ships: bytes on the wire, hostile input, loss, restarts.
import { useLink } from "../support/udp-owned.ts";
import { describeLifecycle, describePair, describeRelay } from "../support/udp-path-suite.ts";
import { describeWire } from "../support/udp-wire-suite.ts";

useLink();
describeWire();
describePair("with offload", { offload: true });
describePair("as a plain pump", { offload: false });
describeRelay();
describeLifecycle();
