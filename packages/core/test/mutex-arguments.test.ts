import { type Conclave, connect } from "@conclave/core";
import { expect, test } from "vitest";
import { describeJunk, object, text } from "./junk.ts";
import { type Any, keys, world } from "./kit.ts";

const many = Array.from({ length: 33 }, (_, index) => `m${index}`);

/** What no mutex accepts: what is wrong, the call, the error, and what its message must say. */
const wrong: [string, (conclave: Conclave & Any) => unknown, typeof TypeError, RegExp][] = [
  ["options that are a number", (c) => c.mutex("a", 5), TypeError, /the options of mutex must be an object, not 5/],
  ["an unknown option", (c) => c.mutex("a", { ttlMs: 5 }), TypeError, /mutex has no option "ttlMs"; it takes maxLocal/],
  [
    "hand-overs that are text",
    (c) => c.mutex("a", { maxLocalHandovers: "5" }),
    TypeError,
    /maxLocalHandovers must be a whole number, not "5"/,
  ],
  [
    "more hand-overs than a token can count",
    (c) => c.mutex("a", { maxLocalHandovers: 512 }),
    RangeError,
    /maxLocalHandovers must be a whole number from 0 to 511, not 512/,
  ],
  ["fewer than no hand-overs", (c) => c.mutex("a", { maxLocalHandovers: -1 }), RangeError, /from 0 to 511, not -1/],
  ["half a hand-over", (c) => c.mutex("a", { maxLocalHandovers: 0.5 }), RangeError, /from 0 to 511, not 0.5/],
  ["a hold of no time", (c) => c.mutex("a", { maxLocalHoldMs: 0 }), RangeError, /maxLocalHoldMs must be more than 0/],
  ["a hold of NaN", (c) => c.mutex("a", { maxLocalHoldMs: Number.NaN }), RangeError, /maxLocalHoldMs.*not NaN/],
  ["a hold that is text", (c) => c.mutex("a", { maxLocalHoldMs: "1" }), TypeError, /maxLocalHoldMs.*not "1"/],
  [
    "reentry by what is no hold",
    (c) => c.mutex("a").acquire({ reenter: {} }),
    TypeError,
    /reenter must be a hold of this mutex, not an object of type Object/,
  ],
  ["reentry by null", (c) => c.mutex("a").tryAcquire({ reenter: null }), TypeError, /reenter.*not null/],
  ["a run that reenters by text", (c) => c.mutex("a").run(() => {}, { reenter: "" }), TypeError, /reenter.*not ""/],
  ["no names", (c) => c.mutexes(), TypeError, /names of the mutexes must be an array of names, not undefined/],
  ["a name that is no list", (c) => c.mutexes("ab"), TypeError, /names of the mutexes must be an array.*not "ab"/],
  ["an empty list of names", (c) => c.mutexes([]), RangeError, /number of mutexes must be from 1 to 32, not 0/],
  ["too many names", (c) => c.mutexes(many), RangeError, /number of mutexes must be from 1 to 32, not 33/],
  [
    "a list with a hole",
    (c) => c.mutexes(new Array(2)),
    TypeError,
    /name of the mutex must be a string, not undefined/,
  ],
  ["an empty name among names", (c) => c.mutexes(["a", ""]), RangeError, /name of the mutex.*one character/],
  ["a name given twice", (c) => c.mutexes(["a", "b", "a"]), RangeError, /must be different from each other/],
  [
    "a name and its own prefix",
    (c) => c.mutexes(["a", { prefix: "mutex/a/" }]),
    RangeError,
    /names of the mutexes must be different from each other, not "mutex\/a\/"/,
  ],
  ["an option of many that only one has", (c) => c.mutexes(["a"]).acquire({ reenter: 1 }), TypeError, /no option "re/],
  ["an unknown option of trying many", (c) => c.mutexes(["a"]).tryAcquire({ limit: 1 }), TypeError, /no option "lim/],
  ["work for many that is none", (c) => c.mutexes(["a"]).run(), TypeError, /work of run must be a function/],
  ["a run of many with a value", (c) => c.mutexes(["a"]).run(() => {}, { value: 1 }), TypeError, /no option "value"/],
];

test.each(wrong)("%s is refused before anything is sent", async (_, call, type, message) => {
  const { backend, other } = await world();
  const conclave = await connect(backend);
  const error = await (async () => call(conclave))().catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(type);
  expect(String(error)).toMatch(message);
  expect([backend.calls, await keys(other)]).toEqual([[], []]);
});

describeJunk({
  "mutex with options": (c, one, other) => c.mutex("a", one).queue(other),
  "mutex.acquire by reentry": (c, one, other) => c.mutex("a").acquire({ ...object(other), reenter: one ?? null }),
  "mutex.tryAcquire by reentry": (c, one, other) => c.mutex("a").tryAcquire({ ...object(other), reenter: one ?? null }),
  "mutexes.acquire": (c, one, other) => c.mutexes(one).acquire({ ...object(other), wrong: 1 }),
  "mutexes.acquire of a list": (c, one, other) => c.mutexes([one, other, ""]).acquire(other),
  "mutexes.tryAcquire": (c, one, other) => c.mutexes([one]).tryAcquire({ ...object(other), wrong: 1 }),
  "mutexes.run": (c, one, other) => c.mutexes(["a", "b"]).run(text(one), other),
});
