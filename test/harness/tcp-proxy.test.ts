import { once } from "node:events";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { type AddressInfo, createConnection, createServer, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { eventually } from "./eventually.ts";
import { etcdServers } from "./servers.ts";
import { startProxy, type TcpProxy } from "./tcp-proxy.ts";

/** A client that remembers what it heard and how it ended. */
class Client {
  heard = "";
  ended: "open" | "ended" | "reset" = "open";
  readonly socket: Socket;

  constructor(port: number) {
    this.socket = createConnection({ port, host: "127.0.0.1" });
    this.socket.on("data", (chunk) => {
      this.heard += chunk;
    });
    this.socket.on("error", () => {
      this.ended = "reset";
    });
    this.socket.on("end", () => {
      this.ended = "ended";
    });
  }
  say(text: string): void {
    this.socket.write(text);
  }
}

describe("the proxy, before a server that says everything back", () => {
  let proxy: TcpProxy;
  let serverHeard: string;
  let serverSockets: Socket[];
  let clients: Client[];
  let endServer: () => void;

  beforeEach(async () => {
    serverHeard = "";
    serverSockets = [];
    clients = [];
    const server = createServer({ allowHalfOpen: true }, (socket) => {
      serverSockets.push(socket);
      socket.on("error", () => {});
      socket.on("end", () => socket.end());
      socket.on("data", (chunk) => {
        serverHeard += chunk;
        socket.write(chunk);
      });
    });
    await once(server.listen(0, "127.0.0.1"), "listening");
    endServer = () => server.close();
    proxy = await startProxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`);
  });

  afterEach(async () => {
    for (const { socket } of clients) socket.destroy();
    await proxy.stop();
    endServer();
  });

  function connect(): Client {
    const client = new Client(proxy.port);
    clients.push(client);
    return client;
  }

  async function echo(client: Client, text: string): Promise<void> {
    const before = client.heard;
    client.say(text);
    await eventually(() => client.heard === before + text);
  }

  test("passes bytes both ways and counts them", async () => {
    const client = connect();
    await echo(client, "hello");
    expect(proxy).toMatchObject({ bytesToClient: 5, bytesToServer: 5, connections: 1, accepted: 1 });
    expect(proxy.url).toBe(`http://127.0.0.1:${proxy.port}`);
  });

  test("counts a turn whenever a client speaks first, or after the server has", async () => {
    const [one, other] = [connect(), connect()];
    for (const client of [one, other, one]) await echo(client, "a");
    expect(proxy.turns).toBe(3);
    one.say("b");
    one.say("c");
    await eventually(() => one.heard === "aabc");
    expect(proxy.turns).toBeLessThanOrEqual(5);
    expect(proxy.turns).toBeGreaterThanOrEqual(4);
  });

  test("passes more than the sockets can buffer", async () => {
    const client = connect();
    const megabytes = "x".repeat(8 << 20);
    client.say(megabytes);
    await eventually(() => client.heard.length === megabytes.length);
  });

  test("hands on the end of a side", async () => {
    const client = connect();
    await echo(client, "hello");
    client.socket.end();
    await eventually(() => client.ended === "ended" && proxy.connections === 0);
  });

  test("cut resets every connection and welcomes new ones", async () => {
    const client = connect();
    await echo(client, "hello");
    proxy.cut();
    await eventually(() => client.ended === "reset");
    expect(proxy.connections).toBe(0);
    await echo(connect(), "again");
  });

  test("a black hole keeps the connection open, says nothing, and after healing resets what lost something", async () => {
    const [talker, listener] = [connect(), connect()];
    await echo(talker, "a");
    await echo(listener, "a");
    proxy.blackHole();
    talker.say("lost");
    await sleep(50);
    expect(serverHeard).toBe("aa");
    expect(talker).toMatchObject({ heard: "a", ended: "open" });
    await proxy.heal();
    await eventually(() => talker.ended === "reset");
    await echo(listener, "b");
  });

  test("a black hole swallows what the server says", async () => {
    const client = connect();
    await echo(client, "a");
    proxy.blackHole();
    serverSockets[0]?.write("lost");
    await sleep(50);
    expect(client).toMatchObject({ heard: "a", ended: "open" });
  });

  test("the server does not hear that a client went away behind a black hole", async () => {
    const client = connect();
    await echo(client, "a");
    proxy.blackHole();
    client.socket.resetAndDestroy();
    await sleep(50);
    expect(serverSockets[0]?.destroyed).toBe(false);
    await proxy.heal();
    await eventually(() => serverSockets[0]?.destroyed ?? false);
  });

  test("a stall delivers everything late and in order", async () => {
    const client = connect();
    await echo(client, "a");
    proxy.stall();
    client.say("b");
    client.say("c");
    await sleep(50);
    expect(serverHeard).toBe("a");
    await proxy.heal();
    await eventually(() => client.heard === "abc");
  });

  test("refuses connections until healed, on the same port", async () => {
    const { port } = proxy;
    const client = connect();
    await echo(client, "a");
    await proxy.refuse();
    await eventually(() => client.ended === "reset");
    const refused = connect();
    await eventually(() => refused.ended === "reset");
    await proxy.heal();
    expect(proxy.port).toBe(port);
    await echo(connect(), "b");
  });

  test("delays both directions and keeps the order when the delay shrinks", async () => {
    const client = connect();
    await echo(client, "a");
    proxy.delay(60);
    const start = performance.now();
    client.say("b");
    await sleep(10);
    proxy.delay(20);
    client.say("c");
    await eventually(() => client.heard === "abc");
    expect(performance.now() - start).toBeGreaterThanOrEqual(75);
  });

  test("lets so many reply bytes through, then resets", async () => {
    const client = connect();
    await echo(client, "a");
    const cut = proxy.limitReplyBytes(3);
    client.say("bcdef");
    await cut;
    await eventually(() => client.ended !== "open"); // a reset right behind data reaches Node as an end
    expect(client.heard).toBe("abcd");
    await echo(connect(), "whole again");
  });

  test("loses one reply: the request arrives, the answer does not, and the connection is reset", async () => {
    const client = connect();
    await echo(client, "a");
    const dropped = proxy.dropNextReply();
    client.say("b");
    await dropped;
    await eventually(() => client.ended === "reset");
    expect({ serverHeard, heard: client.heard }).toEqual({ serverHeard: "ab", heard: "a" });
    await echo(connect(), "c");
  });

  test("loses the reply of whoever said what was picked, which arrived, and of nobody else", async () => {
    const [victim, other] = [connect(), connect()];
    const dropped = proxy.dropNextReply({ containing: "needle" });
    await echo(other, "hay");
    await echo(victim, "hay");
    victim.say("a needle");
    await dropped;
    await eventually(() => victim.ended === "reset");
    expect(victim.heard).toBe("hay");
    expect(serverHeard).toBe("hayhaya needle");
    await echo(other, "needle");
  });

  test("notices what was picked also when it comes in pieces", async () => {
    const victim = connect();
    await echo(victim, "nee");
    const dropped = proxy.dropNextReply({ containing: "needle" });
    await echo(victim, "dle");
    proxy.delay(100);
    victim.say("a nee");
    await sleep(20);
    victim.say("dle");
    await dropped;
    await eventually(() => victim.ended === "reset");
    expect(victim.heard).toBe("needle");
  });
});

describe.each(etcdServers().slice(0, 1))("the proxy, before $name", ({ endpoint }) => {
  test("loses the reply of the call that was picked, which was applied, and of no other", async () => {
    const prefix = `proxy-test/${crypto.randomUUID()}/`;
    await using proxy = await startProxy(endpoint);
    const session = connectHttp2(proxy.url).on("error", () => {});
    const dropped = proxy.dropNextReply({ containing: "victim" });
    expect(await put(session, `${prefix}other`)).toBe("answered");
    expect(await put(session, `${prefix}victim`)).not.toBe("answered");
    await dropped;

    const range = { key: Buffer.from(`${prefix}victim`).toString("base64") };
    const response = await fetch(new URL("/v3/kv/range", endpoint), { method: "POST", body: JSON.stringify(range) });
    expect(await response.json()).toMatchObject({ count: "1" });
  });
});

describe.each(etcdServers().slice(0, 1))("the turns of a client, before $name", ({ endpoint }) => {
  test("are its calls, whatever HTTP/2 has to say of itself", async () => {
    await using proxy = await startProxy(endpoint);
    const session = connectHttp2(proxy.url).on("error", () => {});
    for (let call = 1; call <= 5; call++) {
      await put(session, `proxy-test/${crypto.randomUUID()}`);
      await new Promise((resolve) => session.ping(resolve));
      expect(proxy.turns).toBe(call);
    }
    session.destroy();
  });
});

/** Puts an empty value over gRPC, and says how the call ended. */
function put(session: ClientHttp2Session, key: string): Promise<"answered" | "failed"> {
  const message = Buffer.concat([Buffer.of(0x0a, key.length), Buffer.from(key)]);
  const headers = {
    ":method": "POST",
    ":path": "/etcdserverpb.KV/Put",
    "content-type": "application/grpc",
    te: "trailers",
  };
  const call = session.request(headers);
  call.resume();
  call.end(Buffer.concat([Buffer.of(0, 0, 0, 0, message.length), message]));
  return new Promise((resolve) => {
    call.on("trailers", (trailers) => resolve(trailers["grpc-status"] === "0" ? "answered" : "failed"));
    call.on("error", () => resolve("failed"));
    call.on("close", () => resolve("failed"));
  });
}
