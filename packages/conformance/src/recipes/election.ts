import { type Leader, type Leadership, tokenOf } from "@conclave/core";
import { sleep } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { present, remove, textOf, texts } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Observer } from "./observer.ts";
import { type Process, quiet, rejection, start, startLinked, startMany, startPair, within } from "./process.ts";
import { startForgetful } from "./strays.ts";

function observe(process: Process, scene: Scene): Observer<Leader | undefined> {
  return new Observer(process, scene, (signal) => process.conclave.election("a").observe({ signal }));
}

function campaign({ conclave }: Process, value?: string): Promise<Leadership> {
  return conclave.election("a").campaign(value === undefined ? {} : { value });
}

/** Starts a campaign, and waits until the candidate is one of that many. */
async function stand(process: Process, scene: Scene, value: string, count: number, signal?: AbortSignal) {
  const elected = process.conclave.election("a").campaign({ value, signal });
  elected.catch(() => {});
  await scene.eventually(process.backend, async () =>
    expect((await process.backend.kv.list("election/")).entries).toHaveLength(count),
  );
  return { elected };
}

/** What an election tells beyond who may lead: proclamations, and what observers see. */
export function election(suite: Suite): void {
  suite.it("names its leader, or nobody", async (_backend, scene) => {
    const [candidate, other] = await startPair(scene);
    expect(await other.conclave.election("a").leader()).toBeUndefined();
    const { token, key } = await campaign(candidate, "first");
    await stand(other, scene, "second", 2);
    expect(await other.conclave.election("a").leader()).toEqual({ value: "first", token, key });
  });

  suite.it("lets a candidate go by the name its process gave itself", async (_backend, scene) => {
    const candidate = await start(scene, { owner: "host-7" });
    await campaign(candidate);
    expect((await candidate.conclave.election("a").leader())?.value).toBe("host-7");
  });

  suite.it("shows observers nobody, one leader, nobody, the next, in order", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const observer = observe(await start(scene), scene);
    await observer.comesTo((leader) => expect(leader).toBeUndefined());
    const first = await campaign(one, "first");
    await observer.comesTo((leader) => expect(leader?.value).toBe("first"));
    await first.resign();
    await observer.comesTo((leader) => expect(leader).toBeUndefined());
    await campaign(other, "second");
    await observer.comesTo((leader) => expect(leader?.value).toBe("second"));
    expect(observer.seen.map((leader) => leader?.value)).toEqual([undefined, "first", undefined, "second"]);
  });

  suite.it("shows observers what a leader proclaims, under the same token", async (backend, scene) => {
    const observer = observe(await start(scene), scene);
    const candidate = await start(scene);
    const leadership = await campaign(candidate, "before");
    await observer.comesTo((leader) => expect(leader?.value).toBe("before"));
    await leadership.proclaim("after");
    await observer.comesTo((leader) => expect(leader?.value).toBe("after"));
    expect(observer.seen.at(-1)?.token).toBe(leadership.token);
    expect(leadership.isHeld()).toBe(true);
    const entry = await present(backend.kv, leadership.key);
    expect([tokenOf(entry.created), textOf(entry)]).toEqual([leadership.token, "after"]);
    expect(entry.lease, "it still goes with its process").toBe((await candidate.conclave.session()).lease.id);
  });

  suite.it("shows a late observer the leader, and what it last proclaimed, at once", async (_backend, scene) => {
    const [candidate, late] = await startPair(scene);
    const leadership = await campaign(candidate, "before");
    await leadership.proclaim("after");
    const observer = observe(late, scene);
    await observer.comesTo((leader) => expect(leader?.value).toBe("after"));
    expect(observer.seen).toHaveLength(1);
  });

  suite.it("never shows a candidate that is not first in line, nor its going", async (backend, scene) => {
    const [one, two, three] = (await startMany(scene, 3)) as [Process, Process, Process];
    const observer = observe(await start(scene), scene);
    await observer.comesTo((leader) => expect(leader).toBeUndefined());
    const first = await campaign(one, "first");
    await stand(two, scene, "second", 2);
    const controller = new AbortController();
    const third = await stand(three, scene, "third", 3, controller.signal);
    controller.abort(new Error("no more"));
    await rejection(third.elected);
    await first.proclaim("first again");
    await observer.comesTo((leader) => expect(leader?.value).toBe("first again"));
    await first.resign();
    await observer.comesTo((leader) => expect(leader?.value).toBe("second"));
    await quiet(backend, scene);
    const values = observer.seen.map((leader) => leader?.value);
    expect(values.filter((value, index) => index === 0 || value !== values[index - 1])).toEqual(values);
    expect(values.filter((value) => value !== "first")).toEqual([undefined, "first again", "second"]);
  });

  suite.it("shows every observer tokens that never fall, and at the end the one who leads", async (backend, scene) => {
    const candidates = await startMany(scene, 3);
    const observers = (await startMany(scene, 2)).map((process) => observe(process, scene));
    const compete = async (process: Process) => {
      for (let round = 0; round < 4; round++) {
        const leadership = await campaign(process, `${round}`);
        await sleep(backend.clock, backend.clock.random() * 4);
        await leadership.proclaim(`${round}, later`);
        await leadership.resign();
      }
    };
    await within(backend, 10 * scene.patienceMs, Promise.all(candidates.map(compete)));
    const { token } = await campaign(candidates[0] as Process, "last");
    for (const observer of observers) {
      await observer.comesTo((leader) => expect(leader).toMatchObject({ value: "last", token }));
      const tokens = observer.seen.flatMap((leader) => (leader ? [leader.token] : []));
      expect(tokens).toEqual([...tokens].sort((a, b) => (a < b ? -1 : a > b ? 1 : 0)));
    }
  });

  suite.it("shows an observer that was cut off who leads now", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const observing = await startLinked(scene);
    const observer = observe(observing, scene);
    const first = await campaign(one, "first");
    await observer.comesTo((leader) => expect(leader?.value).toBe("first"));
    observing.link.cut();
    await first.resign();
    await campaign(other, "second");
    observing.link.mend();
    await observer.comesTo((leader) => expect(leader?.value).toBe("second"));
  });

  suite.it("ends an observation with its signal's reason, and with CLOSED", async (_backend, scene) => {
    const process = await start(scene);
    const [cancelled, closed] = [observe(process, scene), observe(process, scene)];
    for (const observer of [cancelled, closed]) await observer.comesTo((leader) => expect(leader).toBeUndefined());
    const reason = new Error("seen enough");
    await cancelled.stop(reason);
    expect(cancelled.failure?.error).toBe(reason);
    await process.conclave.close();
    await scene.eventually(process.backend, () => expect(closed.failure?.error).toMatchObject({ code: "CLOSED" }));
  });

  suite.it(
    "refuses what is proclaimed by who resigned, and leaves the next leader's words alone",
    async (backend, scene) => {
      const [one, other] = await startPair(scene);
      const first = await campaign(one, "first");
      const next = await stand(other, scene, "second", 2);
      await first.resign();
      const second = await within(backend, scene.patienceMs, next.elected);
      await failsWith("NOT_HELD", first.proclaim("late"));
      expect(await texts(backend.kv)).toEqual({ [second.key]: "second" });
    },
  );

  suite.it("refuses what is proclaimed by who was deposed, and tells it so", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const first = await campaign(one, "first");
    const next = await stand(other, scene, "second", 2);
    await remove(backend.kv, first.key);
    const second = await within(backend, scene.patienceMs, next.elected);
    await failsWith("NOT_HELD", first.proclaim("late"));
    expect(first.isHeld()).toBe(false);
    expect(first.signal.aborted).toBe(true);
    expect(await texts(backend.kv)).toEqual({ [second.key]: "second" });
  });

  suite.it("takes nothing back that was proclaimed since what arrives late was sent", async (_backend, scene) => {
    const { conclave, store } = await startForgetful(scene);
    const leadership = await conclave.election("a").campaign({ value: "elected" });
    const says = async (value: string) => expect((await conclave.election("a").leader())?.value).toBe(value);
    store.holdNext(() => {});
    await leadership.proclaim("sent again");
    await leadership.proclaim("since");
    await store.arrive();
    await says("since");
    const controller = new AbortController();
    store.holdNext(() => controller.abort(new Error("no more")));
    await rejection(leadership.proclaim("given up", { signal: controller.signal }));
    await leadership.proclaim("last");
    await store.arrive();
    await says("last");
    expect(leadership.isHeld()).toBe(true);
  });

  suite.it("never elects a candidate that gave up, even as its turn came", async (backend, scene) => {
    const [one, other] = await startPair(scene);
    const first = await campaign(one, "first");
    const controller = new AbortController();
    const { elected } = await stand(other, scene, "second", 2, controller.signal);
    controller.abort(new Error("no more"));
    await first.resign();
    expect(await rejection(elected)).toBe(controller.signal.reason);
    await scene.eventually(backend, async () => expect(await texts(backend.kv)).toEqual({}));
    expect(await one.conclave.election("a").leader()).toBeUndefined();
  });
}
