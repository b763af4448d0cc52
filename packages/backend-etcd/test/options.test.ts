import { describe, expect, it } from "vitest";
import { type EtcdOptions, etcd } from "../src/index.ts";

const endpoints = ["http://127.0.0.1:2379"];

describe("etcd()", () => {
  it("takes what can be meant, and does nothing yet", () => {
    for (const options of [
      { endpoints },
      { endpoints: ["http://127.0.0.1:2379/", "HTTP://localhost:80", "http://[::1]:2379"] },
      { endpoints: ["https://etcd.example:443"] },
      { endpoints, username: "root", password: "", callTimeoutMs: 1, connectTimeoutMs: 1 },
      { endpoints: ["https://etcd.example:443"], tls: { serverName: "etcd" }, username: undefined },
    ]) {
      expect(typeof etcd(options).connect).toBe("function");
    }
  });

  it.each([
    [undefined, "the options of etcd must be an object, not undefined"],
    [{}, "endpoints must be an array of URLs, not undefined"],
    [{ endpoints: "http://a:1" }, 'endpoints must be an array of URLs, not "http://a:1"'],
    [{ endpoints: [] }, "endpoints must name at least one URL"],
    [{ endpoints: [7] }, "endpoints[0] must be a URL like http://127.0.0.1:2379 or https://etcd.example:2379, not 7"],
    [{ endpoints: ["http://a:1", "https://b:1"] }, "endpoints must be all http:// or all https://, not a mixture"],
    [{ endpoints, endpoint: "x" }, 'etcd has no option "endpoint"; it takes endpoints'],
    [{ endpoints, username: "root" }, "password must be a string, and is needed with username"],
    [{ endpoints, password: "canary" }, "username must be the user that password belongs to, not undefined"],
    [{ endpoints, callTimeoutMs: 0 }, "callTimeoutMs must be more than 0"],
    [{ endpoints, connectTimeoutMs: "5" }, "connectTimeoutMs must be a number of milliseconds"],
    [{ endpoints, clock: {} }, "clock must be a Clock"],
    [{ endpoints, tls: {} }, "tls needs endpoints that start with https://"],
    [{ endpoints: ["https://a:1"], tls: { rejectUnauthorized: false } }, 'tls has no option "rejectUnauthorized"'],
    [{ endpoints: ["https://a:1"], tls: { cert: "canary" } }, "tls.cert and tls.key must be given together"],
    [{ endpoints: ["https://a:1"], tls: { ca: 7 } }, "tls.ca must be PEM, as a string or a Buffer"],
    [{ endpoints: ["https://a:1"], tls: { cert: "canary", key: "canary" } }, "tls must hold PEM certificates"],
  ])("refuses %j, saying why", (options, message) => {
    const attempt = () => etcd(options as unknown as EtcdOptions);
    expect(attempt).toThrow(message);
    expect(attempt).toThrow(expect.toSatisfy((error) => error instanceof TypeError || error instanceof RangeError));
    expect(attempt).not.toThrow(/canary/);
  });

  it.each([
    "127.0.0.1:2379",
    "http://a",
    "ftp://a:1",
    "http://a:1/path",
    "http://user:canary@a:1",
    "http://a:99999",
    "http://a:0",
    "http://a b:1",
    "",
  ])("refuses the endpoint %j at once, without repeating it", (endpoint) => {
    expect(() => etcd({ endpoints: [endpoint] })).toThrow(/^endpoints\[0\] must be a URL/);
    expect(() => etcd({ endpoints: [endpoint] })).not.toThrow(/canary/);
  });

  it("refuses misspelt options of connect", async () => {
    const misspelt = { onWarn: () => {} } as object;
    await expect(etcd({ endpoints }).connect(misspelt)).rejects.toThrow('connect has no option "onWarn"');
  });

  it("rejects with the signal's reason when connecting is given up", async () => {
    const reason = new Error("enough");
    await expect(etcd({ endpoints }).connect({ signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const controller = new AbortController();
    const connecting = etcd({ endpoints: ["http://127.0.0.1:1"] }).connect({ signal: controller.signal });
    controller.abort(reason);
    await expect(connecting).rejects.toBe(reason);
  });
});
