import type { Instances } from "@conclave/core";
import type { Actor, Scene } from "./stage.ts";

const addresses = { catalog: "10.0.0.1:8080", orders: "10.0.0.2:8080", payments: "10.0.0.3:8080" };

/** Discovery: services register below one directory, find each other, and miss the one that crashes. */
export const directory: Scene = {
  title: "Three services find each other; one crashes, and vanishes when its lease ends",

  async play(stage) {
    const services = await Promise.all(
      Object.entries(addresses).map(async ([name, address]) => {
        const actor = await stage.start(name);
        const view = await actor.conclave.service("shop").instances({ recursive: true });
        await actor.conclave.service(`shop/${name}`).register({ address });
        stage.say(actor, `registers at ${address}`);
        return { actor, view };
      }),
    );
    await Promise.all(
      services.map(async ({ actor, view }) => {
        await present(view, 3);
        const others = view.snapshot.instances.filter(({ service }) => service !== `shop/${actor.name}`);
        stage.say(actor, `finds ${others.map(({ service, address }) => `${service} at ${address}`).join(" and ")}`);
      }),
    );
    stage.check(
      "three services found each other",
      services.every(({ view }) => view.snapshot.instances.length === 3),
    );

    const [catalog, orders, payments] = services as [Service, Service, Service];
    const crashedAt = performance.now();
    payments.actor.crash();
    stage.say(payments.actor, "crashes, without a goodbye");
    await Promise.all(
      [catalog, orders].map(async ({ actor, view }) => {
        await present(view, 2);
        stage.say(actor, `no longer sees payments, ${Math.round(performance.now() - crashedAt)} ms after the crash`);
      }),
    );
    const vanishedMs = performance.now() - crashedAt;
    const { expiryLagMs, watchDelayMs } = catalog.actor.conclave.backend.guarantees;
    const latestMs = stage.ttlMs + expiryLagMs + watchDelayMs + busyMachineMs;
    // The crash came at most a third of the time to live after the last renewal.
    const whenLeaseEnded = vanishedMs > stage.ttlMs / 2 && vanishedMs < latestMs;
    stage.check("one crashed, and vanished when its lease ended, not before", whenLeaseEnded);
  },
};

interface Service {
  readonly actor: Actor;
  readonly view: Instances;
}

/** What this demo allows a busy machine to add. */
const busyMachineMs = 1_000;

async function present(view: Instances, count: number): Promise<void> {
  for await (const { instances } of view) if (instances.length === count) return;
}
