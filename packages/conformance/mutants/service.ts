import type { Mutant } from "./mutant.ts";

const registration = "packages/core/src/recipes/discovery/registration.ts";
const keptKey = "packages/core/src/kept-key.ts";
const instance = "packages/core/src/recipes/discovery/instance.ts";
const service = "packages/core/src/recipes/discovery/service.ts";
const pick = "packages/core/src/recipes/discovery/pick.ts";
const replica = "packages/core/src/replica.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "an instance is not registered again after its session was lost",
    file: keptKey,
    find: "kept.#kept = context.sessions.keep((session) => kept.#restore(session));",
    replace: "",
    killedBy: "a registration registers again, with its latest words",
  },
  {
    breaks: "an instance is not registered again after its key was deleted",
    file: keptKey,
    find: "void persistently(this.#context.backend.clock, session.signal, () => this.#restore(session));",
    replace: "",
    killedBy: "a registration registers again within one renewal interval",
  },
  {
    breaks: "an instance takes its id back from whoever registered it since",
    file: keptKey,
    find: "} else throw this.#replace();",
    replace: "} else expected = [{ key, modified: entry.modified }];",
    killedBy: "a registration",
  },
  {
    breaks: "an instance vanishes before it is registered on the next session",
    file: keptKey,
    find: "    session.reclaim(key);",
    replace: "    session.reclaim(key); await this.#context.backend.kv.commit({ then: [{ delete: key }] });",
    killedBy: "a registration moves to the next session without a moment's absence",
  },
  {
    breaks: "a deregistration takes out whoever has the id now",
    file: "packages/core/src/session.ts",
    find: "if (entry?.lease !== this.lease.id) continue;",
    replace: "if (entry === undefined) continue;",
    killedBy: "a registration leaves the directory to who registered its id since",
  },
  {
    breaks: "an instance that is deregistered comes back with the next session",
    file: keptKey,
    find: "this.#removed = true;",
    replace: "this.#kept = this.#context.sessions.keep((session) => this.#put(session, undefined));",
    killedBy: "a registration stays out once it is deregistered",
  },
  {
    breaks: "a change of one thing forgets the others",
    file: registration,
    find: "const advertisement = { ...before, ...changes };",
    replace: "const advertisement = { address: before.address, ...changes };",
    killedBy: "a directory of services changes what an instance says",
  },
  {
    breaks: "instances of other services are seen whose names begin with this one's",
    file: service,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is code
    find: "return `${this.#root}${this.name}/`;",
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is code
    replace: "return `${this.#root}${this.name}`;",
    killedBy: "a directory of services",
  },
  {
    breaks: "services below one in the directory are always seen",
    file: service,
    find: "this.#recursive || service === this.#name",
    replace: "true",
    killedBy: "a directory of services shows the services below one",
  },
  {
    breaks: "ids are not escaped",
    file: instance,
    find: "return prefix + segment(id);",
    replace: "return prefix + id;",
    killedBy: "a directory of services keeps ids as they are",
  },
  {
    breaks: "what another program wrote, and is no instance, breaks the view",
    file: instance,
    find: ` || typeof written?.["Addr"] !== "string"`,
    replace: "",
    killedBy: "a directory of services passes over what is no instance",
  },
  {
    breaks: "a view lists before it watches, and misses what happens in between",
    file: replica,
    find: `      const watch = await backend.watches.watch({ prefix }, { signal: replica.#ended.signal });
      await replica.#list();`,
    replace: `      await replica.#list();
      const watch = await backend.watches.watch({ prefix }, { signal: replica.#ended.signal });`,
    killedBy: "a directory of services misses nobody",
  },
  {
    breaks: "a view goes on after a gap as if nothing had been missed",
    file: replica,
    find: `if ("gap" in batch) await this.#relist(this.#ended.signal);`,
    replace: `if ("gap" in batch) continue;`,
    killedBy: "a view of a service",
  },
  {
    breaks: "a view never says that it is stale",
    file: replica,
    find: "          this.#stale = true;",
    replace: "",
    killedBy: "a view of a service keeps what was last known",
  },
  {
    breaks: "a view is emptied when the store is away",
    file: replica,
    find: "          this.#stale = true;",
    replace: "          this.#stale = true; this.#entries = this.#mapOf([]);",
    killedBy: "a view of a service keeps what was last known",
  },
  {
    breaks: "callbacks are called for what says nothing new",
    file: service,
    find: "same: saysTheSame,",
    replace: "same: () => false,",
    killedBy: "a view of a service says nothing when an instance is written anew",
  },
  {
    breaks: "a weighted pick is blind to weights",
    file: pick,
    find: "left -= weight;",
    replace: "left -= 1;",
    killedBy: "a pick gives by weight",
  },
  {
    breaks: "all keys move by consistent hash when one instance comes or goes",
    file: pick,
    // biome-ignore lint/suspicious/noTemplateCurlyInString: it is code
    find: "highest(instances, (one) => hash(`${pathOf(one)}\\0${key}`))",
    replace: "instances[hash(key) % instances.length]",
    killedBy: "a pick moves few keys by consistent hash",
  },
  {
    breaks: "what is done is counted as often as that is said",
    file: pick,
    find: "if (done) return;",
    replace: "",
    killedBy: "a pick counts what is done once",
  },
];
