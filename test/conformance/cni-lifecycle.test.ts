// ADD and DEL of real pods through the built executable, the real bridge and host-local.
import { rmSync, statSync, writeFileSync, mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildCniPlugin } from "../../scripts/build-cni-plugin.ts";
import { CniNode, STANDARD_PLUGINS, SUBNET_ENV } from "../support/cni.ts";
import type { Json } from "../support/cni.ts";

beforeAll(() => buildCniPlugin());

let node: CniNode;
beforeEach(async () => {
  node = await CniNode.create();
});
afterEach(async () => {
  await node.remove();
});

/** Host ends of veth pairs on the bridge. */
async function portsOfBridge(): Promise<number> {
  const { stdout } = await node.namespace.exec("ip", ["-o", "link", "show", "type", "veth"]);
  return stdout.split("\n").filter((line) => line !== "").length;
}

describe("versions", () => {
  for (const cniVersion of ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"]) {
    test(`${cniVersion}: the result has that version, and DEL leaves nothing`, async () => {
      const pod = await node.addPod();
      const conf = node.conf({ cniVersion });
      const result = await node.succeed(conf, { netns: pod.path });
      expect(result.cniVersion).toBe(cniVersion);
      const address = result.ip4?.ip ?? result.ips?.[0]?.address;
      expect(address).toBe("10.1.17.2/24");
      expect(await portsOfBridge()).toBe(1);

      await node.succeed(conf, { verb: "DEL", netns: pod.path });
      expect(await portsOfBridge()).toBe(0);
      expect(node.reservedAddresses()).toEqual([]);
      expect(node.stateFiles()).toEqual([]);
    });
  }

  test("a 1.1.0 network works with a delegate of 1.0.0, and its state is in the delegate's version", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf({ cniVersion: "1.1.0" }), { netns: pod.path });
    expect(JSON.parse(node.stateText("container-1"))).toMatchObject({ cniVersion: "1.0.0" });
    expect(statSync(path.join(node.dataDir, "container-1")).nlink).toBe(2);
  });

  for (const cniVersion of ["1.2.0", "0.5.0", "banana"]) {
    test(`${cniVersion} is refused with code 1 and the list of versions`, async () => {
      const { exitCode, json } = await node.call(node.conf({ cniVersion }), { netns: "/proc/self/ns/net" });
      expect({ exitCode, code: json?.code }).toEqual({ exitCode: 1, code: 1 });
      expect(json?.details).toContain(`config is "${cniVersion}", plugin supports ["0.1.0"`);
    });
  }

  test("VERSION does not wait for standard input and needs nothing else", async () => {
    const { json } = await node.call({}, { verb: "VERSION", stdin: "" });
    expect(json).toEqual({
      cniVersion: "1.1.0",
      supportedVersions: ["0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0"],
    });
  });
});

describe("pods", () => {
  test("two pods of one bridge ping each other in both families", async () => {
    writeFileSync(node.subnetFile, SUBNET_ENV.dual);
    const pods = await Promise.all([node.addPod(), node.addPod()]);
    const conf = node.conf({ delegate: { isDefaultGateway: true, hairpinMode: true } });
    const addresses: string[][] = [];
    for (const [index, pod] of pods.entries()) {
      const result = await node.succeed(conf, { containerId: `pod-${index}`, netns: pod.path });
      addresses.push((result.ips ?? []).map(({ address }) => address.split("/")[0] ?? ""));
    }
    for (const address of addresses[1] ?? []) {
      // Duplicate address detection may still be under way for the first packets of IPv6.
      await pods[0]?.exec("ping", ["-c", "1", "-w", "10", address]);
    }
    const route = await pods[0]?.exec("ip", ["route", "show", "default"]);
    expect(route?.stdout).toContain("default via 10.1.17.1 dev eth0");
    const link = await pods[0]?.exec("ip", ["link", "show", "eth0"]);
    expect(link?.stdout).toContain("mtu 1472");
  });

  test("twenty ADDs at once give twenty addresses", async () => {
    const pods = await Promise.all(Array.from({ length: 20 }, () => node.addPod()));
    const results = await Promise.all(
      pods.map((pod, index) => node.succeed(node.conf(), { containerId: `pod-${index}`, netns: pod.path })),
    );
    const addresses = results.map(({ ips }) => ips?.[0]?.address);
    expect(new Set(addresses).size).toBe(20);
    await Promise.all(
      pods.map((pod, index) =>
        node.succeed(node.conf(), { verb: "DEL", containerId: `pod-${index}`, netns: pod.path }),
      ),
    );
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("an outer .env file, BUN_ variables and CNI_ARGS: the first two change nothing, the last is passed on", async () => {
    const seen = path.join(node.directory, "seen");
    const cniPath = node.fakePlugin("bridge", `env > ${seen}; echo '{"cniVersion":"1.0.0"}'`);
    node.fakePlugin("host-local", "exit 0");
    writeFileSync(path.join(node.directory, ".env"), "CNI_CONTAINERID=from-dotenv\nCNI_COMMAND=VERSION\n");
    const cniArgs = "IgnoreUnknown=1;K8S_POD_NAME=a=b;;K8S_POD_NAMESPACE=;ü";
    await node.succeed(node.conf(), {
      netns: "/proc/self/ns/net",
      cniPath,
      cniArgs,
      cwd: node.directory,
      env: { BUN_OPTIONS: "", BUN_CONFIG_VERBOSE_FETCH: "1", OTHER: "kept" },
    });
    const env = readFileSync(seen, "utf8").split("\n");
    expect(env).toContain(`CNI_ARGS=${cniArgs}`);
    expect(env).toContain("CNI_CONTAINERID=container-1");
    expect(env).toContain("OTHER=kept");
    expect(env.filter((line) => line.startsWith("BUN_"))).toEqual([]);
  });
});

describe("DEL", () => {
  test("succeeds twice: the second time with empty CNI_NETNS and no prevResult, after the namespace is gone", async () => {
    const pod = await node.addPod();
    const prevResult = await node.succeed(node.conf(), { netns: pod.path });
    await node.succeed(node.conf({ prevResult }), { verb: "DEL", netns: pod.path });
    await pod.remove();
    await node.succeed(node.conf(), { verb: "DEL" });
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path });
  });

  test("with empty CNI_NETNS alone releases the address of a namespace that died first", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path });
    await pod.remove();
    await node.succeed(node.conf(), { verb: "DEL" });
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("does not need subnet.env, nor a state, and makes no directory", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path });
    expect(() => statSync(node.dataDir)).toThrow("ENOENT");
    await node.succeed(node.conf(), { netns: pod.path });
    rmSync(node.subnetFile);
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path });
    expect(node.reservedAddresses()).toEqual([]);
  });

  test("flannel leaks here: keeps the state while the delegate is missing, and the retry does the work", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path });
    const failed = await node.call(node.conf(), { verb: "DEL", netns: pod.path, cniPath: "/nowhere" });
    expect(failed.exitCode).toBe(1);
    expect(failed.json).toMatchObject({ code: 100 });
    expect(node.stateFiles()).toEqual([".attachments/container-1@eth0", "container-1"]);
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path });
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("flannel leaks here: keeps the state when the delegate fails once, and passes its code on", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path });
    const mark = path.join(node.directory, "failed-once");
    const cniPath = node.fakePlugin(
      "bridge",
      `[ -e ${mark} ] && { printf %s "$CONF" | exec ${STANDARD_PLUGINS}/bridge; exit $?; }
       touch ${mark}; echo '{"code": 11, "msg": "the lock is held", "details": "by somebody"}'; exit 1`,
    );
    const call = { verb: "DEL", netns: pod.path, cniPath: `${cniPath}:${STANDARD_PLUGINS}` };
    const failed = await node.call(node.conf(), call);
    expect(failed.json).toEqual({
      cniVersion: "1.0.0",
      code: 11,
      msg: "failed to delegate del: the lock is held",
      details: "by somebody",
    });
    await node.succeed(node.conf(), call);
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  for (const damage of ["", "{", '{"no":"type"}']) {
    for (const withSubnetFile of [true, false]) {
      test(`of a damaged state ${JSON.stringify(damage)} ${withSubnetFile ? "" : "without subnet.env "}still cleans up and says so`, async () => {
        const pod = await node.addPod();
        await node.succeed(node.conf(), { netns: pod.path });
        writeFileSync(path.join(node.dataDir, "container-1"), damage);
        if (!withSubnetFile) rmSync(node.subnetFile);
        const outcome = await node.call(node.conf(), { verb: "DEL", netns: pod.path });
        expect(outcome).toMatchObject({ exitCode: 0, stdout: "" });
        expect(outcome.stderr).toContain("the state of container container-1, interface eth0");
        expect(outcome.stderr).toContain("is damaged");
        expect(await portsOfBridge()).toBe(0);
        expect(node.reservedAddresses()).toEqual([]);
        expect(node.stateFiles()).toEqual([]);
      });
    }
  }
});

describe("interchange with flannel's plugin", () => {
  /** As Go's encoding/json wrote it: keys sorted, no spaces, no newline. */
  const goState = (ipamDataDir: string) =>
    `{"cniVersion":"1.0.0","hairpinMode":true,"ipMasq":false,"ipam":{"dataDir":"${ipamDataDir}","ranges":[[{"subnet":"10.1.17.0/24"}]],` +
    `"routes":[{"dst":"10.1.0.0/16"}],"type":"host-local"},"isDefaultGateway":true,"isGateway":true,"mtu":1472,"name":"cni-flannel","type":"bridge"}`;
  const conf = (): Json => node.conf({ delegate: { hairpinMode: true, isDefaultGateway: true } });

  test("our state file has flannel's bytes and modes", async () => {
    const pod = await node.addPod();
    await node.succeed(conf(), { netns: pod.path });
    expect(node.stateText("container-1")).toBe(goState(path.join(node.directory, "ipam")));
    expect(statSync(node.dataDir).mode & 0o777).toBe(0o700);
    expect(statSync(path.join(node.dataDir, "container-1")).mode & 0o777).toBe(0o600);
  });

  test("we delete a pod that flannel's plugin made", async () => {
    const pod = await node.addPod();
    const text = goState(path.join(node.directory, "ipam"));
    mkdirSync(node.dataDir, { mode: 0o700 });
    writeFileSync(path.join(node.dataDir, "container-1"), text, { mode: 0o600 });
    await node.succeed({}, { netns: pod.path, stdin: text, executable: `${STANDARD_PLUGINS}/bridge` });
    expect(node.reservedAddresses()).toEqual(["10.1.17.2"]);

    await node.succeed(conf(), { verb: "DEL", netns: pod.path });
    expect(await portsOfBridge()).toBe(0);
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("flannel's plugin deletes a pod that we made; what we keep beside it harms nobody and goes with DEL", async () => {
    const pod = await node.addPod();
    await node.succeed(conf(), { netns: pod.path });
    // What flannel's DEL does: read the file, delegate with its bytes, remove it.
    const stdin = node.stateText("container-1");
    const executable = `${STANDARD_PLUGINS}/bridge`;
    await node.succeed({}, { verb: "DEL", netns: pod.path, stdin, executable });
    rmSync(path.join(node.dataDir, "container-1"));
    expect(node.reservedAddresses()).toEqual([]);

    await node.succeed(conf(), { verb: "DEL" });
    expect(node.stateFiles()).toEqual([]);
  });
});

describe("two interfaces of one container", () => {
  test("do not collide: each DEL, also repeated, deletes its own", async () => {
    const pod = await node.addPod();
    const conf = node.conf({ delegate: { bridge: "cni0" } });
    await node.succeed(conf, { netns: pod.path, ifName: "eth0" });
    await node.succeed(conf, { netns: pod.path, ifName: "eth1" });
    expect(node.stateFiles()).toEqual([
      ".attachments/container-1@eth0",
      ".attachments/container-1@eth1",
      "container-1",
    ]);

    await node.succeed(conf, { verb: "DEL", netns: pod.path, ifName: "eth1" });
    await node.succeed(conf, { verb: "DEL", ifName: "eth1" });
    expect(node.reservedAddresses()).toEqual(["10.1.17.2"]);
    expect(node.stateFiles()).toEqual([".attachments/container-1@eth0", "container-1"]);
    const { stdout } = await pod.exec("ip", ["-o", "link"]);
    expect(stdout).toContain("eth0");
    expect(stdout).not.toContain("eth1");

    await node.succeed(conf, { verb: "DEL", netns: pod.path, ifName: "eth0" });
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("the first one deleted first leaves the second", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path, ifName: "eth0" });
    await node.succeed(node.conf(), { netns: pod.path, ifName: "eth1" });
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path, ifName: "eth0" });
    await node.succeed(node.conf(), { verb: "DEL", ifName: "eth0" });
    expect(node.reservedAddresses()).toEqual(["10.1.17.3"]);
    await node.succeed(node.conf(), { verb: "DEL", netns: pod.path, ifName: "eth1" });
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });
});
