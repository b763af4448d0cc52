import { type Clock, systemClock } from "@conclave/core/backend";
import { describe, expect, test } from "vitest";
import { eventually } from "../../../test/harness/eventually.ts";
import {
  bytes,
  checked,
  type FakeConnection,
  int,
  opcode,
  type Request,
  refused,
  startFakeZooKeeper,
  stat,
} from "./fake-zookeeper.ts";
import { Links, outcomeOf } from "./rig.ts";

const write = [{ check: "/node", version: 1 }] as const;

/** Answers everything in the way of a server with one node, "/node". */
function serve(request: Request, connection: FakeConnection): void {
  if (request.type === opcode.exists) connection.reply(request, { body: stat() });
  else if (request.type === opcode.getData)
    connection.reply(request, { body: Buffer.concat([bytes(Buffer.from("data")), stat()]) });
  else if (request.type === opcode.multi) connection.reply(request, { body: checked(1) });
  else connection.reply(request);
}

describe("what a ZooKeeper server may say", () => {
  describe.each([
    { err: -1, means: ["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE"] },
    { err: -2, means: ["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE"] },
    { err: -6, means: ["UNSUPPORTED", "UNSUPPORTED", "UNSUPPORTED"] },
    { err: -102, means: ["DENIED", "DENIED", "DENIED"] },
    { err: -119, means: ["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE"] },
    { err: -125, means: ["LIMIT", "LIMIT", "LIMIT"] },
    { err: -127, means: ["LIMIT", "LIMIT", "LIMIT"] },
    { err: -999, means: ["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE"] },
    { err: 7, means: ["UNAVAILABLE", "OUTCOME_UNKNOWN", "UNAVAILABLE"] },
  ])("error code $err", ({ err, means: [read, whole, step] }) => {
    test("ends the call that it answers, and nothing else", async () => {
      let isSick = true;
      await using server = await startFakeZooKeeper({
        asked: (request, connection) => (isSick ? connection.reply(request, { err }) : serve(request, connection)),
      });
      await using links = new Links();
      const link = await links.open([server]);
      expect(await outcomeOf(link.exists("/node"))).toBe(read);
      expect(await outcomeOf(link.data("/node"))).toBe(read);
      expect(await outcomeOf(link.multi(write))).toBe(whole);
      isSick = false;
      expect((await link.exists("/node")).stat?.version).toBe(1);
      expect(server.handshakes).toHaveLength(1);
    });

    test("ends a transaction when a step of it gets it", async () => {
      await using server = await startFakeZooKeeper({
        asked: (request, connection) => connection.reply(request, { body: refused(0, err, -2) }),
      });
      await using links = new Links();
      const link = await links.open([server]);
      expect(await outcomeOf(link.multi([...write, ...write, ...write]))).toBe(step);
    });
  });

  test("is an event of a kind that nobody knows: then every watch is called, and calls go on", async () => {
    for (const type of [0, -1, 5, 6, 7, 99]) {
      await using server = await startFakeZooKeeper({
        asked: (request, connection) => {
          serve(request, connection);
          if (request.type === opcode.getData) connection.notify(type, "/node");
        },
      });
      await using links = new Links();
      const link = await links.open([server]);
      let called = 0;
      await link.exists("/elsewhere", () => called++);
      await link.data("/node", () => called++);
      await eventually(() => called === 2);
      expect((await link.exists("/node")).stat?.version).toBe(1);
    }
  });

  test("is nonsense: then the connection is given up, and the next one serves", async () => {
    const nonsense = [
      int(-5),
      int(2),
      Buffer.concat([int(2), Buffer.alloc(2)]),
      Buffer.concat([int(20), Buffer.alloc(20, 255)]),
    ];
    for (const said of [...nonsense, Buffer.concat([int(16), int(0), Buffer.alloc(12)])]) {
      await using server = await startFakeZooKeeper({
        asked: (request, connection) => {
          if (connection.nth > 1) serve(request, connection);
          else {
            connection.say(said);
            connection.say(Buffer.alloc(64, 255));
          }
        },
      });
      await using links = new Links();
      const link = await links.open([server], { sessionTimeoutMs: 1_500 });
      expect((await link.exists("/node")).stat?.version).toBe(1);
      expect(server.handshakes.length).toBeGreaterThan(1);
    }
  });

  test("is many answers at once", async () => {
    const waiting: Request[] = [];
    const count = 6_000;
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => {
        waiting.push(request);
        if (waiting.length < count) return;
        connection.gather(() => {
          for (const one of waiting) connection.reply(one, { err: -101 });
        });
      },
    });
    await using links = new Links();
    const link = await links.open([server], { callTimeoutMs: 20_000 });
    const answers = await Promise.all(Array.from({ length: count }, () => link.data("/none")));
    expect(answers.filter(({ stat }) => stat === undefined)).toHaveLength(count);
    expect(server.handshakes).toHaveLength(1);
  });

  test("is one answer in many pieces", async () => {
    const data = Buffer.alloc(3_000_000, "x");
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => connection.reply(request, { body: Buffer.concat([bytes(data), stat()]) }),
    });
    await using links = new Links();
    const link = await links.open([server]);
    expect((await link.data("/node")).data?.equals(data)).toBe(true);
  });
});

describe("a ZooKeeper server that says nothing", () => {
  test("to a handshake is passed over for one that does", async () => {
    await using silent = await startFakeZooKeeper({ connected: () => {} });
    await using server = await startFakeZooKeeper({ asked: serve });
    for (let nth = 0; nth < 6; nth++) {
      await using links = new Links();
      const link = await links.open([silent, server], { sessionTimeoutMs: 3_000 });
      expect((await link.exists("/node")).stat?.version).toBe(1);
    }
    expect(silent.handshakes.length).toBeGreaterThan(0);
    await eventually(() => silent.connections === 0);
  });

  test("to a handshake is UNAVAILABLE when it is the only one, by the deadline, and leaves no connection", async () => {
    await using silent = await startFakeZooKeeper({ connected: () => {} });
    await using links = new Links();
    const startMs = performance.now();
    expect(await outcomeOf(links.open([silent], { callTimeoutMs: 700 }))).toBe("UNAVAILABLE");
    expect(performance.now() - startMs).toBeLessThan(1_500);
    await eventually(() => silent.connections === 0);
  });

  test("to requests is left for another connection, on which the same session goes on", async () => {
    await using silent = await startFakeZooKeeper({ asked: () => {} });
    await using links = new Links();
    const link = await links.open([silent], { sessionTimeoutMs: 1_500, callTimeoutMs: 3_000 });
    const { sessionId } = link;
    const written = outcomeOf(link.multi(write));
    const read = outcomeOf(link.exists("/node"));
    expect(await written).toBe("OUTCOME_UNKNOWN");
    expect(await read).toBe("UNAVAILABLE");
    expect(silent.handshakes.length).toBeGreaterThan(1);
    for (const { sessionId: id } of silent.handshakes.slice(1)) expect(id.toString(16)).toBe(sessionId);
    // Of the write there was one copy, and of the read one for each connection.
    expect(silent.requests.filter(({ type }) => type === opcode.multi)).toHaveLength(1);
    expect(
      silent.requests.filter(({ type, path }) => type === opcode.exists && path === "/node").length,
    ).toBeGreaterThan(1);
  });
});

describe("a connection to ZooKeeper", () => {
  test("takes a write only once it is there: one that waited in vain is never sent", async () => {
    let isOpen = false;
    await using server = await startFakeZooKeeper({
      connected: ({ timeoutMs }, connection) => {
        if (isOpen) connection.welcome({ id: 7n, timeoutMs });
        else connection.drop();
      },
      asked: serve,
    });
    await using links = new Links();
    const link = links.idle([server]);
    expect(await outcomeOf(link.multi(write, { timeoutMs: 300 }))).toBe("UNAVAILABLE");
    const controller = new AbortController();
    const aborted = outcomeOf(link.multi(write, { signal: controller.signal }));
    controller.abort("given up");
    expect(await aborted).toBe("given up");
    isOpen = true;
    await link.exists("/node");
    await link.exists("/node");
    expect(server.requests.map(({ type }) => type)).toEqual([opcode.exists, opcode.exists]);
  });

  test("has a write settle that was sent before it was aborted, and a read reject at once", async () => {
    const answers: (() => void)[] = [];
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => void answers.push(() => serve(request, connection)),
    });
    await using links = new Links();
    const link = await links.open([server]);
    const controller = new AbortController();
    const { signal } = controller;
    const written = outcomeOf(link.multi(write, { signal }));
    const read = outcomeOf(link.exists("/node", undefined, { signal }));
    await eventually(() => answers.length === 2);
    controller.abort("given up");
    expect(await read).toBe("given up");
    for (const answer of answers) answer();
    expect(await written).toBe("done");
  });

  test("that the server drops at every request is not made over and over without a rest", async () => {
    await using server = await startFakeZooKeeper({ asked: (_, connection) => connection.drop() });
    await using links = new Links();
    const link = await links.open([server]);
    expect(await outcomeOf(link.exists("/node", undefined, { timeoutMs: 1_500 }))).toBe("UNAVAILABLE");
    expect(server.handshakes.length).toBeGreaterThan(3);
    expect(server.handshakes.length).toBeLessThan(40);
  });

  test("leaves no timer and no socket behind, however it ends", async () => {
    const kinds = ["Timeout", "TCPSocketWrap", "TCPConnectWrap"];
    const held = () => process.getActiveResourcesInfo().filter((kind) => kinds.includes(kind)).length;
    await using silent = await startFakeZooKeeper({ connected: () => {} });
    await using server = await startFakeZooKeeper({ asked: serve });
    await using refusing = await startFakeZooKeeper({ connected: (_, connection) => connection.drop() });
    const before = held();
    for (const where of [silent, refusing, { port: 1 }]) {
      await using links = new Links();
      expect(await outcomeOf(links.open([where], { callTimeoutMs: 200 }))).toBe("UNAVAILABLE");
      for (const afterMs of [0, 0, 0, 0, 0, 20]) {
        const link = links.idle([where]);
        const waiting = outcomeOf(link.exists("/node"));
        // Without a pause this is after connecting began, and before there can be an answer.
        for (let turn = 0; turn < 30; turn++) await undefined;
        if (afterMs > 0) await new Promise((resolve) => setTimeout(resolve, afterMs));
        link.abandon();
        expect(await waiting).toBe("CLOSED");
      }
    }
    // Several, since a timer of somebody else may be over by then.
    for (let index = 0; index < 12; index++) {
      const link = await new Links().open([server], { lasting: index % 2 === 0 });
      await link.exists("/node", () => {});
      link.abandon();
    }
    await eventually(() => silent.connections + server.connections + refusing.connections === 0);
    // Sooner than what was left would be over by itself.
    await eventually(() => held() <= before, { timeoutMs: 1_500 });
  });

  test("is not kept when the link ends just as it is there", async () => {
    await using server = await startFakeZooKeeper({ asked: serve });
    // The first timer that is not needed any more, once the server has heard from us, is the one of the handshake.
    const after: Clock["after"] = (delayMs, callback) => {
      const timer = systemClock.after(delayMs, callback);
      const dispose = () => {
        timer[Symbol.dispose]();
        if (server.handshakes.length > 0) link.abandon();
      };
      return { [Symbol.dispose]: dispose };
    };
    const link = new Links().idle([server], { clock: { ...systemClock, after } });
    expect(await outcomeOf(link.exists("/node"))).toBe("CLOSED");
    await eventually(() => server.connections === 0);
    expect(server.handshakes).toHaveLength(1);
    expect(server.requests).toEqual([]);
  });

  test("is not kept when the link ends while its session is being closed", async () => {
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => (request.type === opcode.close ? undefined : serve(request, connection)),
    });
    const link = await new Links().open([server]);
    expect(await outcomeOf(link.close({ timeoutMs: 100 }))).toBe("OUTCOME_UNKNOWN");
    expect(server.connections).toBe(1);
    link.abandon();
    // Sooner than anybody would lose patience.
    await eventually(() => server.connections === 0, { timeoutMs: 800 });
  });

  test("shows credentials before anything else, each time, and waits until they are taken", async () => {
    const order: (readonly [connection: number, type: number])[] = [];
    let pending: (() => void) | undefined;
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => {
        order.push([connection.nth, request.type]);
        if (request.type === opcode.auth) pending = () => connection.reply(request);
        else if (connection.nth < 3 && request.type === opcode.exists) connection.drop();
        else serve(request, connection);
      },
    });
    await using links = new Links();
    const link = links.idle([server], { auth: "user:secret" });
    const read = link.exists("/node");
    for (const nth of [1, 2, 3]) {
      await eventually(() => order.filter(([connection]) => connection === nth).length === 1);
      await new Promise((resolve) => setTimeout(resolve, 30));
      expect(order.filter(([connection]) => connection === nth)).toEqual([[nth, opcode.auth]]);
      pending?.();
    }
    await read;
    expect(order.map(([, type]) => type)).toEqual([100, 3, 100, 3, 100, 3]);
  });

  test("ends as DENIED when its credentials are not taken", async () => {
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => {
        connection.reply(request, { err: -115 });
        if (request.type === opcode.auth) setTimeout(() => connection.drop(), 20);
      },
    });
    await using links = new Links();
    const error = await links.open([server], { auth: "user:secret" }).catch((error: unknown) => error);
    expect(error).toMatchObject({ code: "DENIED" });
    expect(String(error)).not.toContain("secret");
    await eventually(() => server.connections === 0);
  });

  test("is replaced after so many requests, when those under way are answered", async () => {
    await using server = await startFakeZooKeeper({ asked: serve });
    await using links = new Links();
    const link = await links.open([server], { requestsPerConnection: 100 });
    let failed = 0;
    for (let round = 0; round < 50; round++) {
      const calls = Array.from({ length: 20 }, () => outcomeOf(link.multi(write)));
      failed += (await Promise.all(calls)).filter((outcome) => outcome !== "done").length;
    }
    expect(failed).toBe(0);
    expect(server.requests.filter(({ type }) => type === opcode.multi)).toHaveLength(1_000);
    expect(server.handshakes.length).toBeGreaterThanOrEqual(9);
    expect(Math.max(...server.requests.map(({ xid }) => xid))).toBeLessThan(130);
    await eventually(() => server.connections === 1);
  });

  test("tells each server the newest transaction that any link of the client has seen", async () => {
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => connection.reply(request, { zxid: 42n, body: stat() }),
    });
    await using links = new Links();
    const horizon = { zxid: 5n };
    const link = await links.open([server], { horizon });
    await link.exists("/node");
    await links.open([server], { horizon });
    expect(server.handshakes.map(({ zxid }) => zxid)).toEqual([5n, 42n]);
  });
});

describe("a session of ZooKeeper that has expired", () => {
  test("is replaced on a lasting link, whose watches are called and whose calls go on", async () => {
    await using server = await startFakeZooKeeper({
      connected: ({ sessionId, timeoutMs }, connection) => {
        const hasExpired = sessionId !== 0n;
        connection.welcome({ id: hasExpired ? 0n : BigInt(connection.nth), timeoutMs: hasExpired ? 0 : timeoutMs });
      },
      asked: (request, connection) => {
        if (request.type === opcode.multi && connection.nth === 1) connection.drop();
        else serve(request, connection);
      },
    });
    await using links = new Links();
    const link = await links.open([server]);
    expect(link.sessionId).toBe("1");
    let called = 0;
    await link.exists("/node", () => called++);
    expect(await outcomeOf(link.multi(write))).toBe("OUTCOME_UNKNOWN");
    await eventually(() => called === 1);
    expect(await outcomeOf(link.multi(write))).toBe("done");
    expect(link.sessionId).toBe("3");
    expect(link.ended.aborted).toBe(false);
  });

  test("ends the link of a lease: every call is LEASE_LOST from then on, and closing it is fine", async () => {
    await using server = await startFakeZooKeeper({
      connected: ({ sessionId, timeoutMs }, connection) =>
        connection.welcome({ id: 1n, timeoutMs: sessionId === 0n ? timeoutMs : 0 }),
      asked: serve,
    });
    await using links = new Links();
    const link = await links.open([server], { lasting: false });
    expect(await outcomeOf(link.multi(write))).toBe("done");
    expect(await outcomeOf(link.renew())).toBe("LEASE_LOST");
    expect(link.ended.reason).toMatchObject({ code: "LEASE_LOST" });
    expect(await outcomeOf(link.multi(write))).toBe("LEASE_LOST");
    expect(await outcomeOf(link.exists("/node"))).toBe("LEASE_LOST");
    expect(await outcomeOf(link.close())).toBe("done");
    await eventually(() => server.connections === 0);
  });

  test("is told by an answer too, and nothing of that request was done", async () => {
    for (const body of [undefined, refused(-112, -2)]) {
      await using server = await startFakeZooKeeper({
        asked: (request, connection) => connection.reply(request, body ? { body } : { err: -112 }),
      });
      await using links = new Links();
      const link = await links.open([server], { lasting: false });
      expect(await outcomeOf(link.multi([...write, ...write]))).toBe("LEASE_LOST");
    }
  });
});

describe("the renewal of a session of ZooKeeper", () => {
  test("is a handshake and then a write, on one connection, after what was under way is answered", async () => {
    const order: string[] = [];
    let answer: (() => void) | undefined;
    await using server = await startFakeZooKeeper({
      connected: ({ sessionId, timeoutMs }, connection) => {
        order.push("handshake");
        connection.welcome({ id: sessionId || 1n, timeoutMs });
      },
      asked: (request, connection) => {
        order.push("multi");
        if (order.length === 2) answer = () => serve(request, connection);
        else serve(request, connection);
      },
    });
    await using links = new Links();
    const link = await links.open([server], { lasting: false });
    const before = link.multi(write);
    await eventually(() => order.length === 2);
    const renewed = link.renew();
    await new Promise((resolve) => setTimeout(resolve, 50));
    const after = link.multi(write);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect(order).toEqual(["handshake", "multi"]);
    answer?.();
    expect(await before).toMatchObject({ applied: true });
    expect(await renewed).toBe(10_000);
    expect(await after).toMatchObject({ applied: true });
    expect(order).toEqual(["handshake", "multi", "handshake", "multi", "multi"]);
    await eventually(() => server.connections === 1);
  });

  test("has no request sent on the connection that it leaves, whose answers the server would keep", async () => {
    let previous: FakeConnection | undefined;
    await using server = await startFakeZooKeeper({
      connected: ({ sessionId, timeoutMs }, connection) => {
        previous?.drop();
        previous = connection;
        connection.welcome({ id: sessionId || 1n, timeoutMs });
      },
      asked: (request, connection) => void setTimeout(() => serve(request, connection), 30),
    });
    await using links = new Links();
    const link = await links.open([server], { lasting: false });
    for (let round = 0; round < 5; round++) {
      const calls = [outcomeOf(link.renew())];
      for (let turn = 0; turn < 20; turn++) {
        calls.push(outcomeOf(link.multi(write)));
        await undefined;
      }
      expect(await Promise.all(calls)).toEqual(calls.map(() => "done"));
    }
    expect(server.handshakes).toHaveLength(6);
  });

  test("does not wait for ever for what is under way", async () => {
    await using server = await startFakeZooKeeper({
      asked: (request, connection) => (connection.nth === 1 ? undefined : serve(request, connection)),
    });
    await using links = new Links();
    const link = await links.open([server], { lasting: false, sessionTimeoutMs: 3_000 });
    const stuck = outcomeOf(link.multi(write));
    const startMs = performance.now();
    expect(await link.renew()).toBe(3_000);
    expect(performance.now() - startMs).toBeLessThan(950);
    expect(await stuck).toBe("OUTCOME_UNKNOWN");
  });

  test("does not count a handshake that began before it", async () => {
    let welcome: (() => void) | undefined;
    await using server = await startFakeZooKeeper({
      connected: ({ sessionId, timeoutMs }, connection) => {
        const answer = () => connection.welcome({ id: sessionId || 1n, timeoutMs });
        if (connection.nth === 2) welcome = answer;
        else answer();
      },
      asked: (request, connection) => (connection.nth === 1 ? connection.drop() : serve(request, connection)),
    });
    await using links = new Links();
    const link = await links.open([server], { lasting: false });
    await outcomeOf(link.multi(write));
    const read = link.exists("/node");
    await eventually(() => welcome !== undefined);
    const renewed = link.renew();
    welcome?.();
    await Promise.all([read, renewed]);
    expect(server.handshakes).toHaveLength(3);
    expect(server.requests.filter(({ type }) => type === opcode.multi).at(-1)?.connection).toBe(3);
  });
});
