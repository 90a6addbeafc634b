// The udp backend's data path as it ships: bytes on the wire, hostile input, loss, restarts.
import {
  describeLifecycle,
  describePair,
  describeRelay,
  describeWire,
  useLink,
} from "../support/udp-path-suite.ts";

useLink();
describeWire();
describePair("with offload", { offload: true });
describePair("as a plain pump", { offload: false });
describeRelay();
describeLifecycle();
