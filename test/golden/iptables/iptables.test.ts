// The exact input of iptables-restore for the traffic rules, as one reads it: what is declared, filled and jumped to when.
import { expect, test } from "vitest";
import { renderPut, renderRemove } from "../../../src/kernel/iptables/restore-render.ts";
import { parseIptablesSave } from "../../../src/kernel/iptables/save-codec.ts";
import { trafficRows } from "../../support/traffic-rows.ts";

const FIRST_TIME = parseIptablesSave("");

/** Somebody has restored saved rules twice, and put the jump of the masquerade in the middle. */
const DRIFTED = parseIptablesSave(`*nat
:POSTROUTING ACCEPT [0:0]
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A POSTROUTING -s 172.17.0.0/16 ! -o docker0 -j MASQUERADE
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
COMMIT
*filter
:FORWARD ACCEPT [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
COMMIT
`);

test.each([
  { name: "put-ipv4", input: renderPut(trafficRows(4), FIRST_TIME) },
  { name: "put-ipv6", input: renderPut(trafficRows(6), FIRST_TIME) },
  {
    name: "put-ipv4-without-random-fully",
    input: renderPut(trafficRows(4, { randomFully: false }), FIRST_TIME),
  },
  { name: "put-ipv4-over-copies", input: renderPut(trafficRows(4), DRIFTED) },
  { name: "remove-ipv4", input: renderRemove(trafficRows(4), DRIFTED) },
])("$name", async ({ name, input }) => {
  await expect(input.text).toMatchFileSnapshot(`${name}.txt`);
});
