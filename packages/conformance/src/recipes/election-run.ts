import type { Leadership } from "@conclave/core";
import { expect } from "vitest";
import type { Suite } from "../context.ts";
import { remove, texts } from "../entries.ts";
import {
  aborted,
  deathMs,
  rejection,
  start,
  startLinked,
  startMortal,
  startPair,
  staysOpen,
  within,
} from "./process.ts";

/** Leading whenever it can. */
export function electionRun(suite: Suite): void {
  suite.it("gives what lead gave, and resigns", async (backend, scene) => {
    const { conclave } = await start(scene);
    const lead = async (leadership: Leadership) => {
      expect(leadership.isHeld()).toBe(true);
      return (await conclave.election("a").leader())?.value;
    };
    expect(await conclave.election("a").run(lead, { value: "me" })).toBe("me");
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("gives what lead threw, and resigns", async (backend, scene) => {
    const { conclave } = await start(scene);
    const failure = new Error("cannot lead");
    const fail = () => {
      throw failure;
    };
    expect(await rejection(conclave.election("a").run(fail))).toBe(failure);
    expect(await texts(backend.kv)).toEqual({});
  });

  suite.it("leads one at a time, and each in the end", async (backend, scene) => {
    const processes = await Promise.all([start(scene), start(scene), start(scene)]);
    let leading = 0;
    const lead = async () => {
      expect(leading).toBe(0);
      leading += 1;
      for (let turn = 0; turn < 20; turn++) await undefined;
      leading -= 1;
    };
    const runs = processes.map(({ conclave }) => conclave.election("a").run(lead));
    await within(backend, 2 * scene.patienceMs, Promise.all(runs));
  });

  suite.it("campaigns again after leadership is lost, under a larger token", async (backend, scene) => {
    const { conclave } = await startMortal(scene);
    const terms: Leadership[] = [];
    const result = conclave.election("a").run(async (leadership) => {
      terms.push(leadership);
      if (terms.length === 3) return "third";
      await remove(backend.kv, leadership.key);
      await aborted(backend, leadership.signal);
      expect(leadership.isHeld()).toBe(false);
      return "of no worth: it was not the leader's any more";
    });
    expect(await within(backend, 2 * scene.patienceMs, result)).toBe("third");
    const tokens = terms.map(({ token }) => token);
    expect(tokens).toEqual([...new Set(tokens)].sort((a, b) => (a < b ? -1 : 1)));
  });

  suite.it("campaigns again with a new session when it lost its own", async (backend, scene) => {
    const { conclave, link } = await startLinked(scene);
    let terms = 0;
    const result = conclave.election("a").run(async (leadership) => {
      terms += 1;
      if (terms === 2) return (await conclave.session()).epoch;
      link.cut();
      await aborted(backend, leadership.signal);
      link.mend();
      throw new Error("of no interest: it was not the leader's any more");
    });
    expect(await within(backend, deathMs(scene) + scene.patienceMs, result)).toBe(2);
  });

  suite.it("stands again with a new session when it lost its own while another led", async (backend, scene) => {
    const leadership = await (await start(scene)).conclave.election("a").campaign();
    const { conclave, link } = await startLinked(scene);
    const { signal } = await conclave.session();
    const result = conclave.election("a").run(async () => (await conclave.session()).epoch);
    await staysOpen(backend, scene, result);
    link.cut();
    await within(backend, deathMs(scene), aborted(backend, signal));
    link.mend();
    await staysOpen(backend, scene, result);
    await leadership.resign();
    expect(await within(backend, scene.patienceMs + 2_000, result)).toBe(2);
  });

  suite.it("tells onWarning of a failure after the loss, and of the loss itself nothing", async (backend, scene) => {
    const warnings: string[] = [];
    const { conclave } = await startMortal(scene, { onWarning: (warning) => warnings.push(warning) });
    let terms = 0;
    const result = conclave.election("a").run(async ({ key, signal }) => {
      terms += 1;
      if (terms === 3) return;
      await remove(backend.kv, key);
      const { reason } = await aborted(backend, signal);
      throw terms === 1 ? reason : new Error("broken pipe");
    });
    await within(backend, 2 * scene.patienceMs, result);
    expect(warnings).toEqual([expect.stringContaining("broken pipe")]);
  });

  suite.it("aborts lead when the run is cancelled, waits for its end, and leads no more", async (backend, scene) => {
    const { conclave } = await start(scene);
    const controller = new AbortController();
    const reason = new Error("stop");
    const events: string[] = [];
    const run = conclave.election("a").run(
      async ({ signal }) => {
        events.push("leads");
        controller.abort(reason);
        expect((await aborted(backend, signal)).reason).toBe(reason);
        await Promise.resolve();
        events.push("ended");
      },
      { signal: controller.signal },
    );
    expect(await rejection(run)).toBe(reason);
    expect(events).toEqual(["leads", "ended"]);
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
  });

  suite.it("leaves the line when it is cancelled while another leads", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const leadership = await one.conclave.election("a").campaign();
    const controller = new AbortController();
    let led = false;
    const lead = () => {
      led = true;
    };
    const run = other.conclave.election("a").run(lead, { signal: controller.signal });
    await staysOpen(backend, scene, run);
    controller.abort(new Error("stop"));
    expect(await rejection(run)).toBe(controller.signal.reason);
    await scene.eventually(backend, async () => expect(Object.keys(await texts(backend.kv))).toEqual([leadership.key]));
    await leadership.resign();
    await staysOpen(backend, scene, new Promise(() => {}));
    expect(led).toBe(false);
  });

  suite.it("ends with CLOSED when its conclave closes", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const lead = async ({ signal }: Leadership) => void (await aborted(backend, signal));
    const leading = rejection(one.conclave.election("a").run(lead));
    await scene.eventually(backend, async () => expect(await one.conclave.election("a").leader()).toBeDefined());
    const waiting = rejection(other.conclave.election("a").run(() => {}));
    await staysOpen(backend, scene, waiting);
    await other.conclave.close();
    expect(await waiting).toMatchObject({ code: "CLOSED" });
    await one.conclave.close();
    expect(await leading).toMatchObject({ code: "CLOSED" });
    expect(await texts(backend.kv)).toEqual({});
  });
}
