import type { Instance, Service, Snapshot } from "@conclave/core";
import { encode } from "@conclave/core/backend";
import { expect } from "vitest";
import type { Scene, Suite } from "../context.ts";
import { numbered, texts, write } from "../entries.ts";
import { failsWith } from "../ports/leases.ts";
import { Observer } from "./observer.ts";
import { deathMs, type Process, rejection, start, startMany, startMortal, startPair, within } from "./process.ts";

/** Where instances say they are, by id. */
export function addresses(snapshot: Snapshot | undefined): Record<string, string> {
  return Object.fromEntries((snapshot?.instances ?? []).map(({ id, address }) => [id, address]));
}

/** Follows a service for as long as the test lasts. */
export function watchService(process: Process, scene: Scene, name = "a"): Observer<Snapshot> {
  return new Observer(process, scene, (signal) => process.conclave.service(name).watch({ signal }));
}

/** The instances of a service as they are now. */
export async function instancesNow(service: Service, recursive = false): Promise<readonly Instance[]> {
  await using view = await service.instances({ recursive });
  return view.snapshot.instances;
}

/** What is registered, what it says, and who sees it. */
export function directory(suite: Suite): void {
  suite.it("shows an instance to other processes, with all that it says of itself", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const said = { address: "10.0.0.7:8080", metadata: { zone: "b", tags: ["x", 1, null] }, weight: 2.5 };
    await one.conclave.service("a").register({ id: "first", ...said });
    const instances = await instancesNow(other.conclave.service("a"));
    expect(instances).toEqual([{ service: "a", id: "first", ...said, modified: expect.anything() }]);
  });

  suite.it(
    "gives an instance an id of its own, and weighs it 1, when it says nothing else",
    async (_backend, scene) => {
      const { conclave } = await start(scene);
      const registrations = await Promise.all(
        numbered(5).map((address) => conclave.service("a").register({ address })),
      );
      const instances = await instancesNow(conclave.service("a"));
      expect(new Set(instances.map(({ id }) => id))).toEqual(new Set(registrations.map(({ id }) => id)));
      expect(instances).toHaveLength(5);
      for (const { weight, metadata } of instances) expect([weight, metadata]).toEqual([1, undefined]);
    },
  );

  suite.it("changes what an instance says, and keeps what it was not told to change", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const instance = await conclave.service("a").register({ id: "one", address: "x:1", metadata: "before", weight: 3 });
    const [before] = await instancesNow(conclave.service("a"));
    await instance.update({ metadata: "after" });
    const [after] = await instancesNow(conclave.service("a"));
    expect(after).toMatchObject({ id: "one", address: "x:1", metadata: "after", weight: 3 });
    expect(after?.modified).toBeGreaterThan(before?.modified as bigint);
  });

  suite.it("ends with the last of several changes made together", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const instance = await conclave.service("a").register({ id: "one", address: "x:0" });
    await Promise.all([1, 2, 3].map((port) => instance.update({ address: `x:${port}` })));
    expect(await instancesNow(conclave.service("a"))).toMatchObject([{ address: "x:3" }]);
  });

  suite.it("takes out an instance that is deregistered, at once, and once and for all", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const instance = await conclave.service("a").register({ address: "x:1" });
    await Promise.all([instance.deregister(), instance.deregister()]);
    expect(await instancesNow(conclave.service("a"))).toEqual([]);
    await instance.deregister();
    await failsWith("NOT_HELD", instance.update({ address: "x:2" }));
    expect(await instancesNow(conclave.service("a"))).toEqual([]);
  });

  suite.it(
    "takes out the instances of a process that died within its time to live and the lag",
    async (backend, scene) => {
      const [victim, other] = [await startMortal(scene), await start(scene)];
      await victim.conclave.service("a").register({ id: "dead", address: "x:1" });
      await other.conclave.service("a").register({ id: "alive", address: "x:2" });
      const observer = watchService(other, scene);
      await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ dead: "x:1", alive: "x:2" }));
      await scene.kill(victim.backend);
      const gone = observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ alive: "x:2" }));
      await within(backend, deathMs(scene), gone);
    },
  );

  suite.it("shows watchers every change, beginning with how things are", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const service = one.conclave.service("a");
    const first = await service.register({ id: "1", address: "x:1" });
    const observer = watchService(other, scene);
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ 1: "x:1" }));
    const second = await service.register({ id: "2", address: "x:2" });
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ 1: "x:1", 2: "x:2" }));
    await first.update({ address: "y:1" });
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ 1: "y:1", 2: "x:2" }));
    await first.deregister();
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ 2: "x:2" }));
    await second.deregister();
    await observer.comesTo((snapshot) => expect(snapshot).toEqual({ instances: [], stale: false }));
  });

  suite.it("orders instances by id", async (_backend, scene) => {
    const { conclave } = await start(scene);
    for (const id of ["c", "a", "d", "b"]) await conclave.service("a").register({ id, address: "x:1" });
    expect((await instancesNow(conclave.service("a"))).map(({ id }) => id)).toEqual(["a", "b", "c", "d"]);
  });

  suite.it("misses nobody who registers or leaves while a view opens", async (_backend, scene) => {
    const [one, other] = await startPair(scene);
    const service = one.conclave.service("a");
    for (let turns = 0; turns < 24; turns++) {
      const leaver = await service.register({ id: "leaver", address: "x:1" });
      const coming = service.register({ id: "comer", address: "x:2" });
      const leaving = leaver.deregister();
      for (let turn = 0; turn < turns; turn++) await undefined;
      await using view = await other.conclave.service("a").instances();
      await leaving;
      const comer = await coming;
      await scene.eventually(other.backend, () => expect(addresses(view.snapshot)).toEqual({ comer: "x:2" }));
      await comer.deregister();
    }
  });

  suite.it("keeps services apart of which the name of one begins with another's", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const names = ["a", "ab", "a%2Fb", "a/b", "b"];
    const observer = watchService(await start(scene), scene, "a");
    for (const name of names) await conclave.service(name).register({ id: "it", address: name });
    for (const name of names) {
      expect(await instancesNow(conclave.service(name))).toMatchObject([{ service: name, id: "it", address: name }]);
    }
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ it: "a" }));
    for (const { instances } of observer.seen) for (const { service } of instances) expect(service).toBe("a");
  });

  suite.it("shows the services below one in the directory only to who asks for them", async (_backend, scene) => {
    const { conclave } = await start(scene);
    for (const name of ["pay", "pay/eu", "pay/eu/west", "payments"]) {
      await conclave.service(name).register({ id: "1", address: name });
    }
    const found = async (name: string, recursive: boolean) =>
      (await instancesNow(conclave.service(name), recursive)).map(({ service }) => service);
    expect(await found("pay", false)).toEqual(["pay"]);
    expect(await found("pay", true)).toEqual(["pay", "pay/eu", "pay/eu/west"]);
    expect(await found("pay/eu", true)).toEqual(["pay/eu", "pay/eu/west"]);
  });

  suite.it("keeps ids as they are, whatever they are made of", async (_backend, scene) => {
    const { conclave } = await start(scene);
    const ids = ["a/b", "a%2Fb", "%", "\u{1f512}", "10.0.0.7:8080", "a b"];
    for (const id of ids) await conclave.service("a").register({ id, address: id });
    const found = await instancesNow(conclave.service("a"));
    expect(new Set(found.map(({ id }) => id))).toEqual(new Set(ids));
    for (const { id, address } of found) expect(address).toBe(id);
  });

  suite.it("passes over what is no instance, and shows what another program wrote as one", async (backend, scene) => {
    const observer = watchService(await start(scene), scene, "a");
    const { conclave } = await start(scene);
    await write(backend.kv, {
      "service/a/text": "not JSON",
      "service/a/number": "7",
      "service/a/null": "null",
      "service/a/list": "[1]",
      "service/a/empty": "",
      "service/a/nameless": "{}",
      "service/a/wrong": '{"Op":0,"Addr":5}',
      "service/a/foreign": '{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}',
      "service/stray": '{"Op":0,"Addr":"10.0.0.2:80","Metadata":null}',
    });
    await backend.kv.commit({ then: [{ put: "service/a/bytes", value: new Uint8Array([0xff, 0xfe, 0, 0x7b]) }] });
    await conclave.service("a").register({ id: "own", address: "x:1" });
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ foreign: "10.0.0.1:80", own: "x:1" }));
    await backend.kv.commit({ then: [{ put: "service/a/own", value: encode("corrupted") }] });
    await observer.comesTo((snapshot) => expect(addresses(snapshot)).toEqual({ foreign: "10.0.0.1:80" }));
  });

  suite.it("shares a registry with other programs under the prefix that they use", async (backend, scene) => {
    const { conclave } = await start(scene);
    const registry = conclave.service({ prefix: "registry/grpc/" });
    await write(backend.kv, {
      "registry/grpc/first": '{"Op":0,"Addr":"10.0.0.1:80","Metadata":null}',
      "registry/grpcs/second": '{"Op":0,"Addr":"10.0.0.2:80","Metadata":null}',
    });
    await registry.register({ id: "own", address: "x:1", metadata: "mine" });
    expect(JSON.parse((await texts(backend.kv))["registry/grpc/own"] as string)).toMatchObject({
      Op: 0,
      Addr: "x:1",
      Metadata: "mine",
    });
    expect(await instancesNow(registry)).toMatchObject([
      { service: "registry/grpc", id: "first", address: "10.0.0.1:80" },
      { service: "registry/grpc", id: "own", address: "x:1" },
    ]);
  });

  suite.it("ends a view with its signal's reason, and with CLOSED", async (backend, scene) => {
    const [cancelled, closed] = (await startMany(scene, 2)).map((process) => ({
      process,
      observer: watchService(process, scene),
    })) as [{ observer: Observer<Snapshot> }, { process: Process; observer: Observer<Snapshot> }];
    for (const { observer } of [cancelled, closed])
      await observer.comesTo((snapshot) => expect(snapshot).toBeDefined());
    const reason = new Error("seen enough");
    await cancelled.observer.stop(reason);
    expect(cancelled.observer.failure?.error).toBe(reason);
    await closed.process.conclave.close();
    await scene.eventually(backend, () => expect(closed.observer.failure?.error).toMatchObject({ code: "CLOSED" }));
    const signal = AbortSignal.abort(reason);
    expect(await rejection((await start(scene)).conclave.service("a").instances({ signal }))).toBe(reason);
  });
}
