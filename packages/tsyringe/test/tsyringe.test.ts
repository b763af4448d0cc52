import "reflect-metadata";
import { memory } from "@conclave/backend-memory";
import { Conclave, type Connector, CoordinationError, type Mutex } from "@conclave/core";
import {
  BackendToken,
  ConclaveToken,
  electionToken,
  mutexToken,
  recipeToken,
  registerConclave,
  serviceToken,
} from "@conclave/tsyringe";
import { type DependencyContainer, type InjectionToken, inject, injectable, container as root } from "tsyringe";
import { expect, test } from "vitest";

class Warehouse {
  readonly lock: Mutex;
  constructor(lock: Mutex) {
    this.lock = lock;
  }
}
// What `@injectable() class … { constructor(@inject(mutexToken("stock")) lock: Mutex) }` compiles to.
inject(mutexToken("stock"))(Warehouse, undefined, 0);
injectable<Warehouse>()(Warehouse);

const newContainer = (): DependencyContainer => root.createChildContainer();

test("injects a mutex into a class that was never registered", async () => {
  const [container, store] = [newContainer(), memory()];
  await using _registration = await registerConclave(container, { store, namespace: "shop" });
  const warehouse = container.resolve(Warehouse);
  await using hold = await warehouse.lock.acquire();
  expect(hold.isHeld()).toBe(true);
  await using other = await registerConclave(newContainer(), { store, namespace: "shop" });
  expect(await other.conclave.mutex("stock").tryAcquire()).toBeUndefined();
});

test("gives every recipe by its token, on the name it was made for", async () => {
  const container = newContainer();
  await using registration = await registerConclave(container, { store: memory() });
  await container.resolve(mutexToken("a")).acquire();
  await container.resolve(electionToken("a")).campaign();
  await container.resolve(serviceToken("a")).register({ address: "10.0.0.7:80" });
  const { entries } = await container.resolve(BackendToken).kv.list("");
  expect(entries.map(({ key }) => key.slice(0, key.lastIndexOf("/")))).toEqual(["election/a", "mutex/a", "service/a"]);
  expect(container.resolve(ConclaveToken)).toBe(registration.conclave);
  expect(container.resolve(Conclave)).toBe(registration.conclave);
});

test("has the same token for the same name, and another for every other", () => {
  expect(mutexToken("a")).toBe(mutexToken("a"));
  expect(serviceToken("a")).toBe(serviceToken("a"));
  expect(mutexToken({ prefix: "/locks/" })).toBe(mutexToken({ prefix: "/locks/" }));
  const tokens = [mutexToken("a"), mutexToken("b"), electionToken("a"), serviceToken("a"), mutexToken({ prefix: "a" })];
  expect(new Set(tokens).size).toBe(tokens.length);
});

test("resolves a token of the user's own making", async () => {
  const container = newContainer();
  await using registration = await registerConclave(container, { store: memory() });
  const token = recipeToken("the two locks", (conclave) => ({ conclave, locks: [1, 2].map(String) }));
  expect(container.resolve(token)).toEqual({ conclave: registration.conclave, locks: ["1", "2"] });
});

test("lets a test put something else in a token's place", async () => {
  const container = newContainer();
  const lock = { acquire: () => "pretended" } as unknown as Mutex;
  container.register(mutexToken("stock"), { useValue: lock });
  expect(container.resolve(Warehouse).lock).toBe(lock);
});

test("serves child containers too", async () => {
  const container = newContainer();
  await using registration = await registerConclave(container, { store: memory() });
  const child = container.createChildContainer();
  expect(child.resolve(ConclaveToken)).toBe(registration.conclave);
  expect((await child.resolve(Warehouse).lock.acquire()).isHeld()).toBe(true);
});

test("keeps two containers apart", async () => {
  const [one, two] = [newContainer(), newContainer()];
  await using first = await registerConclave(one, { store: memory() });
  await using second = await registerConclave(two, { store: memory() });
  await using hold = await one.resolve(Warehouse).lock.acquire();
  await using other = await two.resolve(Warehouse).lock.tryAcquire();
  expect([hold.isHeld(), other?.isHeld()]).toEqual([true, true]);
  await first[Symbol.asyncDispose]();
  expect(two.resolve(ConclaveToken)).toBe(second.conclave);
  expect(other?.isHeld()).toBe(true);
});

test("a child with a conclave of its own leaves its parent's alone", async () => {
  const parent = newContainer();
  const child = parent.createChildContainer();
  await using above = await registerConclave(parent, { store: memory() });
  await using below = await registerConclave(child, { store: memory() });
  expect(child.resolve(ConclaveToken)).toBe(below.conclave);
  expect(parent.resolve(ConclaveToken)).toBe(above.conclave);
});

test("disposing the registration frees what is held, and ends what was injected", async () => {
  const [container, store] = [newContainer(), memory()];
  const registration = await registerConclave(container, { store });
  const { lock } = container.resolve(Warehouse);
  const hold = await lock.acquire();
  await registration[Symbol.asyncDispose]();
  await registration[Symbol.asyncDispose]();
  expect(hold.isHeld()).toBe(false);
  await expect(lock.acquire()).rejects.toMatchObject({ code: "CLOSED" });
  await using next = await registerConclave(newContainer(), { store });
  expect(await next.conclave.mutex("stock").tryAcquire()).toBeDefined();
});

test("resolving after disposal says that the conclave was closed", async () => {
  const container = newContainer();
  const registration = await registerConclave(container, { store: memory() });
  await registration[Symbol.asyncDispose]();
  const closed = { code: "CLOSED", message: "the conclave of this container was closed" };
  expect(() => container.resolve(ConclaveToken)).toThrow(expect.objectContaining(closed));
  expect(() => container.resolve(BackendToken)).toThrow(expect.objectContaining(closed));
  expect(() => container.resolve(Conclave)).toThrow(expect.objectContaining(closed));
  expect(() => container.resolve(Warehouse)).toThrow(closed.message);
  expect(() => registration.conclave).toThrow(CoordinationError);
});

test("disposing the container closes the conclave", async () => {
  const container = newContainer();
  const { conclave } = await registerConclave(container, { store: memory() });
  await container.dispose();
  await expect(conclave.mutex("stock").acquire()).rejects.toMatchObject({ code: "CLOSED" });
});

test("a container takes a new conclave once the old one is disposed, and only then", async () => {
  const container = newContainer();
  const first = await registerConclave(container, { store: memory() });
  await expect(registerConclave(container, { store: memory() })).rejects.toThrow(TypeError);
  await first[Symbol.asyncDispose]();
  await using second = await registerConclave(container, { store: memory() });
  expect(container.resolve(ConclaveToken)).toBe(second.conclave);
  await first[Symbol.asyncDispose]();
  await expect(registerConclave(container, { store: memory() })).rejects.toThrow("has a conclave");
  expect(container.resolve(ConclaveToken)).toBe(second.conclave);
});

test("two registrations at once do not both connect", async () => {
  const container = newContainer();
  const both = [1, 2].map(() => registerConclave(container, { store: memory() }));
  const outcomes = await Promise.allSettled(both);
  expect(outcomes.map(({ status }) => status)).toEqual(["fulfilled", "rejected"]);
  await container.dispose();
});

test("without a registration the error names what was asked for and what is missing", () => {
  const container = newContainer();
  expect(() => container.resolve(ConclaveToken)).toThrow("Symbol(Conclave)");
  expect(() => container.resolve(mutexToken("stock"))).toThrow(/mutex "stock".*Symbol\(Conclave\)/s);
});

test("a failure to connect leaves the container as it was", async () => {
  const container = newContainer();
  const unavailable = new CoordinationError("UNAVAILABLE", "no server there");
  const down: Connector = { connect: () => Promise.reject(unavailable) };
  await expect(registerConclave(container, { store: down })).rejects.toBe(unavailable);
  for (const token of [ConclaveToken, BackendToken, Conclave] as InjectionToken[]) {
    expect(container.isRegistered(token, true)).toBe(false);
  }
  await using registration = await registerConclave(container, { store: memory() });
  expect(container.resolve(ConclaveToken)).toBe(registration.conclave);
});

test("a container disposed while it connects gets no conclave, and the client is closed", async () => {
  const container = newContainer();
  const backend = await memory().connect();
  const connector: Connector = {
    connect: async () => {
      await container.dispose();
      return backend;
    },
  };
  await expect(registerConclave(container, { store: connector })).rejects.toThrow("disposed");
  await expect(backend.kv.get("a")).rejects.toMatchObject({ code: "CLOSED" });
});

test("options go to connect, which refuses those it does not know", async () => {
  const container = newContainer();
  const misspelt = { store: memory(), namespaces: "shop" };
  await expect(registerConclave(container, misspelt as never)).rejects.toThrow('no option "namespaces"');
  await using _registration = await registerConclave(container, { store: memory(), owner: "till 3" });
  await using _hold = await container.resolve(mutexToken("stock")).acquire();
  const [holder] = await container.resolve(mutexToken("stock")).queue();
  expect(holder?.owner).toBe("till 3");
});
