// CHECK, GC and STATUS through the built executable.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import path from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { buildCniPlugin } from "../../scripts/build-cni-plugin.ts";
import { CniNode, STANDARD_PLUGINS, SUBNET_ENV } from "../support/cni.ts";
import type { CniJson } from "../support/cni.ts";

beforeAll(() => buildCniPlugin());

/** Shell of a plugin newer than Debian's. */
const SPEAKS_NEWEST = `if [ $CNI_COMMAND = VERSION ]; then echo '{"cniVersion":"1.1.0","supportedVersions":["1.0.0","1.1.0"]}'; exit 0; fi`;

let node: CniNode;
beforeEach(async () => {
  node = await CniNode.create();
});
afterEach(async () => {
  await node.remove();
});

describe("CHECK", () => {
  let pod: Awaited<ReturnType<CniNode["addPod"]>>;
  let prevResult: CniJson;
  beforeEach(async () => {
    pod = await node.addPod();
    prevResult = await node.succeed(node.conf(), { netns: pod.path });
  });
  const check = async (more = {}) =>
    node.call(node.conf({ prevResult, ...more }), { verb: "CHECK", netns: pod.path });

  test("succeeds, and prints nothing, while all is as ADD left it", async () => {
    expect(await check()).toMatchObject({ exitCode: 0, stdout: "", stderr: "" });
  });

  for (const cniVersion of ["0.4.0", "1.1.0"]) {
    test(`succeeds in ${cniVersion}`, async () => {
      const call = { containerId: "other", netns: (await node.addPod()).path };
      const result = await node.succeed(node.conf({ cniVersion }), call);
      await node.succeed(node.conf({ cniVersion, prevResult: result }), { ...call, verb: "CHECK" });
    });
  }

  test("succeeds with a default route and in both families", async () => {
    writeFileSync(node.subnetFile, SUBNET_ENV.dual);
    const conf = node.conf({ delegate: { isDefaultGateway: true } });
    const call = { containerId: "other", netns: (await node.addPod()).path };
    const result = await node.succeed({ ...conf, name: "dual" }, call);
    await node.succeed({ ...conf, name: "dual", prevResult: result }, { ...call, verb: "CHECK" });
  });

  test("fails when a route is gone", async () => {
    await pod.exec("ip", ["route", "del", "10.1.0.0/16"]);
    expect((await check()).json?.msg).toContain("10.1.0.0");
  });

  test("fails when the interface is gone", async () => {
    await pod.exec("ip", ["link", "del", "eth0"]);
    const { exitCode, json } = await check();
    expect(exitCode).toBe(1);
    expect(json?.msg).toMatch(/^failed to delegate check: .*eth0/);
  });

  test("fails when the pod's address is gone", async () => {
    await pod.exec("ip", ["addr", "flush", "dev", "eth0"]);
    expect((await check()).exitCode).toBe(1);
  });

  test("fails when the state is gone, since DEL would do nothing", async () => {
    rmSync(node.dataDir, { recursive: true });
    expect((await check()).json).toMatchObject({
      code: 102,
      msg: expect.stringContaining("there is no state") as string,
    });
  });

  test("needs prevResult, and a version that has CHECK", async () => {
    expect((await check({ prevResult: undefined })).json).toMatchObject({ code: 7 });
    expect((await check({ cniVersion: "0.3.1" })).json).toMatchObject({
      code: 1,
      msg: "config version does not allow CHECK",
    });
  });
});

describe("GC", () => {
  const collect = (valid: unknown, more = {}, call = {}) =>
    node.call(
      node.conf({
        cniVersion: "1.1.0",
        ...(valid === undefined ? {} : { "cni.dev/valid-attachments": valid }),
        ...more,
      }),
      { verb: "GC", containerId: "", ifName: "", ...call },
    );

  test("removes state and address of what is not listed, and keeps what is", async () => {
    const [kept, orphan] = [await node.addPod(), await node.addPod()];
    await node.succeed(node.conf(), { containerId: "kept", netns: kept.path });
    await node.succeed(node.conf(), { containerId: "orphan", netns: orphan.path });
    await orphan.remove();

    expect(await collect([{ containerID: "kept", ifname: "eth0" }])).toMatchObject({
      exitCode: 0,
      stdout: "",
    });
    expect(node.reservedAddresses()).toEqual(["10.1.17.2"]);
    expect(node.stateFiles()).toEqual([".attachments/kept@eth0", "kept"]);
  });

  test("tells two interfaces of one container apart", async () => {
    const pod = await node.addPod();
    for (const ifName of ["eth0", "eth1"]) await node.succeed(node.conf(), { netns: pod.path, ifName });
    await collect([{ containerID: "container-1", ifname: "eth1" }]);
    expect(node.reservedAddresses()).toEqual(["10.1.17.3"]);
    expect(node.stateFiles()).toEqual([".attachments/container-1@eth1"]);
  });

  test("leaves other networks and damaged states alone", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf({ name: "other" }), { netns: pod.path });
    writeFileSync(path.join(node.dataDir, "damaged"), "{");
    expect((await collect([])).exitCode).toBe(0);
    expect(node.reservedAddresses("other")).toEqual(["10.1.17.2"]);
    expect(node.stateFiles()).toEqual([".attachments/container-1@eth0", "container-1", "damaged"]);
  });

  test("removes what flannel's plugin made, and what it left of ours", async () => {
    const [theirs, ours] = [await node.addPod(), await node.addPod()];
    await node.succeed(node.conf(), { containerId: "ours", netns: ours.path });
    await node.succeed(node.conf(), { containerId: "theirs", netns: theirs.path });
    rmSync(path.join(node.dataDir, "ours"));
    rmSync(path.join(node.dataDir, ".attachments/theirs@eth0"));
    expect((await collect([])).exitCode).toBe(0);
    expect(node.reservedAddresses()).toEqual([]);
    expect(node.stateFiles()).toEqual([]);
  });

  test("null, which libcni writes for an empty list, removes all; an absent key removes nothing", async () => {
    const pod = await node.addPod();
    await node.succeed(node.conf(), { netns: pod.path });
    expect(await collect(undefined)).toMatchObject({
      exitCode: 0,
      stderr: expect.stringContaining("removes nothing") as string,
    });
    expect((await collect([{ containerID: 1 }])).json).toMatchObject({ code: 7 });
    expect(node.reservedAddresses()).toEqual(["10.1.17.2"]);
    expect((await collect(null)).exitCode).toBe(0);
    expect(node.reservedAddresses()).toEqual([]);
  });

  test("goes on after a failure, tells it, and keeps that state for the next time", async () => {
    for (const containerId of ["a", "b"]) {
      await node.succeed(node.conf(), { containerId, netns: (await node.addPod()).path });
    }
    const cniPath = node.fakePlugin(
      "bridge",
      `[ "$CNI_CONTAINERID" = a ] && { echo '{"code": 11, "msg": "not now"}'; exit 1; }
       printf %s "$CONF" | exec ${STANDARD_PLUGINS}/bridge`,
    );
    const { json } = await collect([], {}, { cniPath: `${cniPath}:${STANDARD_PLUGINS}` });
    expect(json).toMatchObject({
      code: 11,
      msg: "garbage collection was not complete: failed to delegate del: not now",
    });
    expect(node.stateFiles()).toEqual([".attachments/a@eth0", "a"]);
  });

  test("is passed on to a delegate that knows it, with the list", async () => {
    const seen = path.join(node.directory, "seen");
    const cniPath = node.fakePlugin("bridge", `printf %s "$CONF" > ${seen}-$CNI_COMMAND; ${SPEAKS_NEWEST}`);
    const valid = [{ containerID: "kept", ifname: "eth0" }];
    expect((await collect(valid, {}, { cniPath })).exitCode).toBe(0);
    expect(JSON.parse(readFileSync(`${seen}-GC`, "utf8"))).toMatchObject({
      cniVersion: "1.1.0",
      name: "cni-flannel",
      type: "bridge",
      "cni.dev/valid-attachments": valid,
    });
  });

  test("does not exist before 1.1.0", async () => {
    expect((await collect([], { cniVersion: "1.0.0" })).json).toMatchObject({ code: 1 });
  });
});

describe("STATUS", () => {
  const status = (more = {}, call = {}) =>
    node.call(node.conf({ cniVersion: "1.1.0", ...more }), {
      verb: "STATUS",
      containerId: "",
      ifName: "",
      ...call,
    });

  test("succeeds when ADD would, also with a delegate that does not know STATUS", async () => {
    expect(await status()).toMatchObject({ exitCode: 0, stdout: "" });
    expect(await status({}, { cniPath: "" })).toMatchObject({ exitCode: 0, stdout: "" });
    expect(node.stateFiles()).toEqual([]);
  });

  test("does not exist before 1.1.0", async () => {
    expect((await status({ cniVersion: "1.0.0" })).json).toMatchObject({ code: 1 });
  });

  test("50 when a plugin is missing: names it, the directories and the cure", async () => {
    const cniPath = node.fakePlugin("bridge", "exit 0");
    const { json } = await status({}, { cniPath: `/nowhere:${cniPath}` });
    expect(json).toMatchObject({
      code: 50,
      msg: `failed to find plugin "host-local" in path [/nowhere ${cniPath}]`,
    });
    expect(json?.details).toContain("add /usr/lib/cni to the runtime's CNI directories");
    const other = await status({ delegate: { type: "no-such-plugin" } });
    expect(other.json?.details).toContain("apt-get install containernetworking-plugins");
  });

  test("50 when dataDir cannot be written", async () => {
    const { json } = await status({ dataDir: `${node.subnetFile}/below/a/file` });
    expect(json).toMatchObject({ code: 50, msg: expect.stringContaining("is not a directory") as string });
  });

  test("passes on what the delegate says of itself; 51 stays 51", async () => {
    const cniPath = node.fakePlugin(
      "bridge",
      `${SPEAKS_NEWEST}; echo '{"code": 51, "msg": "bridge is down"}'; exit 1`,
    );
    const { json } = await status({}, { cniPath: `${cniPath}:${STANDARD_PLUGINS}` });
    expect(json).toMatchObject({ code: 51, msg: "failed to delegate status: bridge is down" });
  });

  describe("without subnet.env", () => {
    beforeEach(() => rmSync(node.subnetFile));

    const withDaemon = async (
      answer: (() => readonly [number, string]) | "silence",
      work: () => Promise<void>,
    ) => {
      const server = createServer((request, response) => {
        if (answer === "silence") return;
        const [code, text] = request.url === "/readyz" ? answer() : [404, "no such page"];
        response.writeHead(code).end(text);
      });
      await new Promise<void>((resolve) => {
        server.listen(path.join(node.directory, "flanneld.sock"), resolve);
      });
      try {
        await work();
      } finally {
        server.closeAllConnections();
        await new Promise((resolve) => {
          server.close(resolve);
        });
      }
    };

    test("50 with flannel's text, and that no daemon answers", async () => {
      const { json } = await status();
      expect(json).toMatchObject({ code: 50, cniVersion: "1.1.0" });
      expect(json?.msg).toBe(
        `failed to load flannel 'subnet.env' file: open ${node.subnetFile}: no such file or directory. ` +
          `Check the flannel pod log for this node. flanneld does not answer on ${node.directory}/flanneld.sock (ENOENT): is it running on this node?`,
      );
    });

    test("50 with the daemon's own reason, and ADD says it, too, with 11", async () => {
      await withDaemon(
        () => [503, "etcd does not answer at http://192.0.2.1:2379\n"],
        async () => {
          const reason = "flanneld on this node says: etcd does not answer at http://192.0.2.1:2379";
          expect((await status()).json).toMatchObject({
            code: 50,
            msg: expect.stringContaining(reason) as string,
          });
          const added = await node.call(node.conf(), { netns: "/proc/self/ns/net" });
          expect(added.json).toMatchObject({ code: 11, msg: expect.stringContaining(reason) as string });
          expect(node.stateFiles()).toEqual([]);
        },
      );
    });

    test("a daemon that is ready writes another file", async () => {
      await withDaemon(
        () => [200, "flanneld is ready"],
        async () => {
          expect((await status()).json?.msg).toContain("does its --subnet-file name the same file?");
        },
      );
    });

    test("a daemon that hangs is not waited for", async () => {
      await withDaemon("silence", async () => {
        expect((await status()).json?.msg).toContain("no answer within 500 ms");
      });
    });
  });
});
