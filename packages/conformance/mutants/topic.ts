import type { Mutant } from "./mutant.ts";

const head = "packages/core/src/recipes/topic/topic-head.ts";
const outbox = "packages/core/src/recipes/topic/outbox.ts";
const reading = "packages/core/src/recipes/topic/reading.ts";
const subscription = "packages/core/src/recipes/topic/subscription.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "a publisher does not check that no other published meanwhile, and overwrites its messages",
    file: outbox,
    find: "if: this.#known.if,",
    replace: "if: [],",
    killedBy: "a topic",
  },
  {
    breaks: "messages that come while a commit is under way are taken for published by it",
    file: outbox,
    find: "return this.#waiting.slice(0, tooMuch < 0 ? undefined : tooMuch);",
    replace: "return tooMuch < 0 ? this.#waiting : this.#waiting.slice(0, tooMuch);",
    killedBy: "a topic",
  },
  {
    breaks: "messages do not ride together",
    file: outbox,
    find: "return count > this.mostTogether || bytes > this.mostBytes;",
    replace: "return count > parcel.values.length;",
    killedBy: "a topic, in round trips",
  },
  {
    breaks: "one message more is kept than was asked for",
    file: head,
    find: "last - count + 1",
    replace: "last - count",
    killedBy: "a topic, as it is kept keeps exactly as many messages",
  },
  {
    breaks: "nothing is ever deleted for its age",
    file: head,
    find: "old?.[0] ?? 0",
    replace: "0",
    killedBy: "a topic, as it is kept gives no message that is older",
  },
  {
    breaks: "numbers begin anew when the head was deleted, over the messages that are there",
    file: head,
    find: "if (last === undefined) return { head: undefined, if: [unchanged, { key: keys.message(1), exists: false }] };",
    replace: "if (last !== undefined || entry) return { head: undefined, if: [unchanged] };",
    killedBy: "a topic, as it is kept goes on with the next number",
  },
  {
    breaks: "a reader passes over missing messages in silence",
    file: reading,
    find: "this.#missed += seq - this.#seq - 1;",
    replace: "",
    killedBy: "a topic, as it is kept",
  },
  {
    breaks: "a reader does not notice that a topic was begun anew",
    file: reading,
    find: "if (life === this.#life && last >= this.#seq) return true;",
    replace: "if (last > 0 || first > 0) return true;",
    killedBy: "a topic, as it is kept tells that a topic was begun anew",
  },
  {
    breaks: "a message that a watch shows after a look has is given twice",
    file: reading,
    find: "if (seq > this.#seq) events.push(",
    replace: "if (seq > 0) events.push(",
    killedBy: "a topic",
  },
  {
    breaks: "who subscribes now looks before it watches, and misses what comes between",
    file: subscription,
    find: "this.#heard?.push(...entries.sort((one, other) => compareKeys(one.key, other.key)));",
    replace: "if (this.#bell.rings > 0) this.#heard?.push(...entries);",
    killedBy: "a topic",
  },
  {
    breaks: "after a gap of its watch a reader goes on as if it had missed nothing",
    file: subscription,
    find: 'if ("gap" in batch) this.#heard = undefined;',
    replace: 'if ("gap" in batch) this.#heard ??= [];',
    killedBy: "a topic, under faults gives a subscriber that was cut off",
  },
  {
    breaks: "a slow reader holds in memory all that it did not read, however much",
    file: subscription,
    find: "const mostHeard = 64;",
    replace: "const mostHeard = 1_000_000;",
    killedBy: "a topic, as it is kept tells a slow subscriber",
  },
];
