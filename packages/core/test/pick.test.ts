import { VirtualClock } from "@conclave/backend-memory";
import { describe, expect, test } from "vitest";
import { decodeInstance, encodeAdvertisement, type Instance } from "../src/recipes/discovery/instance.ts";
import { Picker, type Strategy } from "../src/recipes/discovery/pick.ts";

function instances(...weights: readonly number[]): Instance[] {
  return weights.map((weight, index) => ({
    service: "a",
    id: `i${index}`,
    address: `10.0.0.${index}:80`,
    metadata: undefined,
    weight,
    modified: 1n,
  }));
}

/** How often each id was picked. */
function counts(among: readonly Instance[], strategy: Strategy, times: number, key?: (time: number) => string) {
  const picker = new Picker(new VirtualClock());
  const picked = new Map<string, number>();
  for (let time = 0; time < times; time++) {
    using one = picker.pick(among, strategy, key?.(time)) as Disposable & { instance: Instance };
    picked.set(one.instance.id, (picked.get(one.instance.id) ?? 0) + 1);
  }
  return among.map(({ id }) => picked.get(id) ?? 0);
}

const strategies: Strategy[] = ["round-robin", "random", "weighted", "least-busy", "consistent-hash", "sticky"];

describe("picking an instance", () => {
  test.each(strategies)("%s gives none of none, and the one there is", (strategy) => {
    const picker = new Picker(new VirtualClock());
    expect(picker.pick([], strategy, "key")).toBeUndefined();
    const [only] = instances(1);
    expect(picker.pick([only as Instance], strategy, "key")?.instance).toBe(only);
  });

  test("round-robin and least-busy share evenly what is done at once", () => {
    expect(counts(instances(1, 1, 1, 1), "round-robin", 400)).toEqual([100, 100, 100, 100]);
    expect(counts(instances(1, 1, 1, 1), "least-busy", 400)).toEqual([100, 100, 100, 100]);
  });

  test.each([
    ["random", [1, 5, 0], [1 / 3, 1 / 3, 1 / 3]],
    ["weighted", [1, 3, 0], [1 / 4, 3 / 4, 0]],
    ["consistent-hash", [1, 1, 1, 1], [1 / 4, 1 / 4, 1 / 4, 1 / 4]],
    ["sticky", [1, 1], [1 / 2, 1 / 2]],
  ] as const)("%s shares by chance as it says", (strategy, weights, shares) => {
    const times = 8_000;
    const picked = counts(instances(...weights), strategy, times, (time) => `key ${time}`);
    for (const [index, share] of shares.entries()) {
      expect(Math.abs((picked[index] as number) / times - share)).toBeLessThan(0.03);
    }
  });

  test("weighted gives one whatever chance and rounding say, but never one of weight 0", () => {
    const clock = new VirtualClock();
    for (const chance of [0, 0.5, 1 - 2 ** -53]) {
      clock.random = () => chance;
      const picker = new Picker(clock);
      for (const weights of [[0.1, 0.2, 0.3], [0, 0.1, 0.2, 0.3, 0], [1e308, 1e308], [5e-324], [0, 1]]) {
        expect(picker.pick(instances(...weights), "weighted", undefined)?.instance.weight).toBeGreaterThan(0);
      }
      expect(picker.pick(instances(0, 0), "weighted", undefined)).toBeUndefined();
    }
  });

  test("least-busy gives the one with the fewest picks not yet disposed, and disposing twice counts once", () => {
    const picker = new Picker(new VirtualClock());
    const among = instances(1, 1, 1);
    const held = [1, 2, 3].map(() => picker.pick(among, "least-busy", undefined));
    expect(new Set(held.map((one) => one?.instance.id)).size).toBe(3);
    held[1]?.[Symbol.dispose]();
    held[1]?.[Symbol.dispose]();
    const next = picker.pick(among, "least-busy", undefined);
    expect(next?.instance.id).toBe(held[1]?.instance.id);
    const [only] = among as [Instance];
    const [twice] = [1, 2].map(() => picker.pick([only], "least-busy", undefined));
    twice?.[Symbol.dispose]();
    twice?.[Symbol.dispose](); // one pick of it is still in use, besides the first three
    for (const one of held.slice(1)) one?.[Symbol.dispose]();
    next?.[Symbol.dispose]();
    const others = Array.from({ length: 4 }, () => picker.pick(among, "least-busy", undefined)?.instance.id);
    expect(others).not.toContain(only.id);
  });

  test("consistent-hash moves only the keys of an instance that goes", () => {
    const picker = new Picker(new VirtualClock());
    const among = instances(1, 1, 1, 1, 1);
    const placeOf = (from: readonly Instance[], key: string) => picker.pick(from, "consistent-hash", key)?.instance.id;
    const left = among.slice(1);
    for (let index = 0; index < 500; index++) {
      const before = placeOf(among, `key ${index}`);
      expect(placeOf([...among].reverse(), `key ${index}`)).toBe(before);
      if (before !== "i0") expect(placeOf(left, `key ${index}`)).toBe(before);
    }
  });

  test("sticky stays with its instance while that is there, and remembers ten thousand keys", () => {
    const picker = new Picker(new VirtualClock());
    const among = instances(...Array.from({ length: 50 }, () => 1));
    const place = (key: string, from = among) => picker.pick(from, "sticky", key)?.instance.id as string;
    const first = place("first");
    for (let index = 0; index < 9_999; index++) place(`key ${index}`);
    expect(place("first")).toBe(first); // and now is the most recently used
    for (let index = 0; index < 9_999; index++) place(`other ${index}`);
    expect(place("first")).toBe(first);
    const gone = among.filter(({ id }) => id !== first);
    const second = place("first", gone);
    expect(second).not.toBe(first);
    expect(place("first")).toBe(second);
    // Forgotten keys are placed by chance again: of fifty of them hardly any where it was.
    const before = new Map(Array.from({ length: 50 }, (_, index) => [`old ${index}`, place(`old ${index}`)]));
    for (let index = 0; index < 10_000; index++) place(`new ${index}`);
    const stayed = [...before].filter(([key, id]) => place(key) === id).length;
    expect(stayed).toBeLessThan(10);
  });

  test("tells instances of one id in two services apart", () => {
    const picker = new Picker(new VirtualClock());
    const among = ["a", "b"].map((service) => ({ ...(instances(1)[0] as Instance), service }));
    const held = [1, 2].map(() => picker.pick(among, "least-busy", undefined)?.instance.service);
    expect(held.sort()).toEqual(["a", "b"]);
    const keys = Array.from({ length: 40 }, (_, index) => `key ${index}`);
    const placed = (strategy: Strategy) => keys.map((key) => picker.pick(among, strategy, key)?.instance.service);
    expect(new Set(placed("consistent-hash")).size).toBe(2);
    expect(placed("sticky")).toEqual(placed("sticky"));
  });
});

describe("an instance in the store", () => {
  const entry = (value: Uint8Array | string, key = "service/a/b/x%2Fy") => ({
    key,
    value: typeof value === "string" ? new TextEncoder().encode(value) : value,
    created: 1n,
    modified: 2n,
    lease: undefined,
  });

  test("is read as it was written", () => {
    const advertisement = { address: "a:1", metadata: { zone: ["eu", 1, null] }, weight: 0 };
    expect(decodeInstance("service/", entry(encodeAdvertisement(advertisement)))).toEqual({
      service: "a/b",
      id: "x/y",
      ...advertisement,
      modified: 2n,
    });
  });

  test("is read as others write it, and left out when it is none", () => {
    expect(decodeInstance("", entry('{"Op":0,"Addr":"a:1","Metadata":null}'))).toMatchObject({
      address: "a:1",
      metadata: undefined,
      weight: 1,
    });
    for (const weight of ["-1", "1e999", '"5"', "null"]) {
      expect(decodeInstance("", entry(`{"Addr":"a:1","Weight":${weight}}`))?.weight).toBe(1);
    }
    for (const text of ["", "null", "5", "[]", "{}", '{"Addr":5}', "\ufffd", '{"Addr":"a:1"'])
      expect(decodeInstance("", entry(text))).toBeUndefined();
    expect(decodeInstance("service/", entry('{"Addr":"a:1"}', "service/x"))).toBeUndefined();
  });
});
