// The health server over real TCP on loopback.
import { connect } from "node:net";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { healthRoutes } from "../../../src/daemon/health-router.ts";
import {
  closeServer,
  createBoundedServer,
  listen,
  ListenError,
  startHealthServer,
} from "../../../src/daemon/health-server.ts";
import type { Route, Routes } from "../../../src/daemon/health-router.ts";
import { SILENT_LOGGER } from "../../../src/net/logger.ts";
import { httpGet } from "../../support/http.ts";

const stops: AbortController[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop.abort();
});

async function start(routes: Routes, options: { ip?: string; port?: number } = {}) {
  const stop = new AbortController();
  stops.push(stop);
  const server = await startHealthServer(
    { ip: "127.0.0.1", port: 0, anyPort: true, routes, ...options },
    { log: SILENT_LOGGER },
    stop.signal,
  );
  if (server === undefined) throw new Error("no server");
  return { server, stop, at: { host: "127.0.0.1", port: server.port } };
}

describe("answers", () => {
  it("as flannel does, with the reason when not ready", async () => {
    let reason: string | undefined = "etcd does not answer: connection refused; is it running?";
    const { at } = await start(healthRoutes(() => reason));
    expect(await httpGet(at, "/healthz")).toMatchObject({ status: 200, body: "flanneld is running" });
    expect(await httpGet(at, "/readyz")).toMatchObject({
      status: 503,
      body: "flanneld is not ready yet\netcd does not answer: connection refused; is it running?\n",
    });
    reason = undefined;
    expect(await httpGet(at, "/readyz?verbose")).toMatchObject({ status: 200, body: "flanneld is ready" });
  });

  it("ready while the store is away, and says so", async () => {
    const problem = "the watch of the leases is interrupted: connection refused";
    const { at } = await start(
      healthRoutes(
        () => undefined,
        () => problem,
      ),
    );
    expect(await httpGet(at, "/readyz")).toMatchObject({
      status: 200,
      body: `flanneld is ready\n${problem}\n`,
    });
  });

  it.each([
    ["GET", "/", 404],
    ["GET", "/constructor", 404],
    ["POST", "/healthz", 405],
    ["HEAD", "/healthz", 200],
  ])("%s %s with %i", async (method, path, status) => {
    const { at } = await start(healthRoutes(() => undefined));
    expect((await httpGet(at, path, method)).status).toBe(status);
  });

  it("POST and DELETE to their own routes, with body and query", async () => {
    const echo: Route = ({ body, query }) => ({ status: 200, body: `${body} ${query.get("q")}` });
    const { at } = await start({ "/thing": echo, "POST /thing": echo, "DELETE /thing": echo });
    expect((await httpGet(at, "/thing?q=a%20b")).body).toBe(" a b");
    expect((await httpGet(at, "/thing?q=1", "POST", "text")).body).toBe("text 1");
    expect((await httpGet(at, "/thing?q=2", "DELETE")).body).toBe(" 2");
    expect(await httpGet(at, "/thing", "PUT")).toMatchObject({
      status: 405,
      body: "only GET, HEAD, POST, DELETE is answered here\n",
    });
  });

  it("413 to a body without end", async () => {
    const { at } = await start({ "POST /thing": () => ({ status: 200, body: "" }) });
    expect((await httpGet(at, "/thing", "POST", "x".repeat(2 * 1024 * 1024))).status).toBe(413);
  });

  it("500 when a route throws, and goes on", async () => {
    const broken = { "/broken": () => Promise.reject(new Error("secret detail")) };
    const { at } = await start({ ...healthRoutes(() => undefined), ...broken });
    const answer = await httpGet(at, "/broken");
    expect(answer.status).toBe(500);
    expect(answer.body).not.toContain("secret");
    expect((await httpGet(at, "/healthz")).status).toBe(200);
  });
});

describe("starting and stopping", () => {
  it("port 0 is off", async () => {
    const server = await startHealthServer(
      { ip: "127.0.0.1", port: 0, routes: {} },
      { log: SILENT_LOGGER },
      new AbortController().signal,
    );
    expect(server).toBeUndefined();
  });

  it("a port in use is an error with the cure", async () => {
    const { at } = await start({});
    await expect(start({}, { port: at.port })).rejects.toThrow(ListenError);
    await expect(start({}, { port: at.port })).rejects.toThrow(
      `cannot serve health on 127.0.0.1:${at.port}: the port is in use; choose another --healthz-port`,
    );
  });

  it("an address of another host is an error with the cure", async () => {
    await expect(start({}, { ip: "192.0.2.1" })).rejects.toThrow("give --healthz-ip one that it has");
  });

  it("the signal frees the port", async () => {
    const { at, stop } = await start({});
    stop.abort();
    await expect(httpGet(at, "/healthz")).rejects.toThrow("ECONNREFUSED");
  });
});

describe("a client that never finishes its request", () => {
  it("hinders neither others nor the stop", async () => {
    const { at, server } = await start(healthRoutes(() => undefined));
    const slow = connect(at.port, at.host);
    await once(slow, "connect");
    slow.write("GET /healthz HTTP/1.1\r\nHost: x\r\n");
    slow.on("error", () => {});
    expect((await httpGet(at, "/healthz")).status).toBe(200);
    const closed = once(slow, "close");
    await server.close();
    await closed;
  });

  it("is cut off", async () => {
    const server = createBoundedServer(
      healthRoutes(() => undefined),
      SILENT_LOGGER,
      100,
    );
    await listen(server, { host: "127.0.0.1", port: 0 });
    const { port } = server.address() as { port: number };
    const slow = connect(port, "127.0.0.1");
    slow.on("error", () => {});
    slow.write("GET /healthz HTTP/1.1\r\n");
    slow.resume();
    await once(slow, "close");
    await closeServer(server);
  });
});
