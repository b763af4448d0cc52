import { abortable, onAbort } from "@conclave/core/backend";
import { Link, type Reply } from "./link.ts";
import type { RedisNode, Settings } from "./options.ts";
import { NotSent } from "./outcome.ts";

/** How long one attempt to connect may take, in milliseconds. */
const openPatienceMs = 2_000;
/** The same while there is somebody else to ask. */
const shortPatienceMs = 1_000;

/**
 * Where the primary is, as far as one client knows; all its connections share it. A cluster's nodes tell by MOVED, Sentinels
 * when asked; whoever meets a primary that is none any more says so by `moved` or `left`, and everybody leaves that.
 */
export class Route {
  readonly settings: Settings;
  readonly #links = new Set<Link>();
  /** Whom to ask, in turn. */
  #nodes: readonly RedisNode[];
  #turn: number;
  /** Where a cluster told us to go. */
  #primary: RedisNode | undefined;

  constructor(settings: Settings) {
    this.settings = settings;
    this.#nodes = settings.topology.seeds;
    this.#turn = Math.floor(settings.clock.random() * this.#nodes.length);
  }

  /** Connects to where the primary should be. Rejects with what prevented it, or with the signal's reason. */
  async open(name: string, patienceMs: number, signal: AbortSignal): Promise<Link> {
    const { topology, user, db } = this.settings;
    const node = topology.kind === "sentinel" ? await this.#askSentinels(signal) : (this.#primary ?? this.#next);
    const link = new Link(node, this.settings, { name: `conclave:${name}`, user, db, patienceMs });
    try {
      await this.#inTime(link, link.open(), signal);
      if (topology.kind === "cluster") await this.#inTime(link, this.#learnNodes(link), signal);
      // Either may have happened since the answer came, and what is over does not say so again.
      signal.throwIfAborted();
      link.ended.throwIfAborted();
    } catch (error) {
      link.drop(error as Error);
      this.#primary = undefined;
      this.#turn++;
      throw error;
    }
    this.#links.add(link);
    // Also one that was left, and still waits for its last answers.
    const end = onAbort(signal, () => link.drop(signal.reason));
    onAbort(link.ended, () => {
      end[Symbol.dispose]();
      this.#links.delete(link);
    });
    return link;
  }

  /** The cluster says that the keys are there. */
  moved(from: RedisNode, to: RedisNode): void {
    this.#primary = { host: to.host || from.host, port: to.port };
    this.#retire(from);
  }

  /** This one is no primary, or none any more. */
  left(node: RedisNode): void {
    this.#primary = undefined;
    this.#turn++;
    this.#retire(node);
  }

  get #next(): RedisNode {
    return this.#nodes[this.#turn % this.#nodes.length] as RedisNode;
  }

  #retire({ host, port }: RedisNode): void {
    const reason = new NotSent(`${host}:${port} is not the primary any more`);
    for (const link of [...this.#links]) if (link.node.host === host && link.node.port === port) link.retire(reason);
  }

  /** Whom the Sentinels hold to be primary; the first that answers is believed, since the primary itself has the last word. */
  async #askSentinels(signal: AbortSignal): Promise<RedisNode> {
    const { topology, sentinelUser } = this.settings;
    const name = topology.kind === "sentinel" ? topology.name : "";
    let failure: unknown;
    for (const _ of this.#nodes) {
      const options = { name: "conclave:sentinel", user: sentinelUser, db: 0, patienceMs: shortPatienceMs };
      const link = new Link(this.#next, this.settings, options);
      try {
        await this.#inTime(link, link.open(), signal);
        const reply = await this.#inTime(link, link.send("SENTINEL", ["get-master-addr-by-name", name]), signal);
        if (Array.isArray(reply)) return { host: String(reply[0]), port: Number(String(reply[1])) };
        failure = new Error(`the Sentinel at ${link.node.host}:${link.node.port} knows no primary called "${name}"`);
      } catch (error) {
        signal.throwIfAborted();
        failure = error;
      } finally {
        link.drop(new NotSent("the Sentinel was asked"));
      }
      this.#turn++;
    }
    throw failure;
  }

  /** The given nodes may all be gone one day while the cluster lives on. */
  async #learnNodes(link: Link): Promise<void> {
    const ranges = (await link.send("CLUSTER", ["SLOTS"])) as readonly (readonly Reply[])[];
    const learned = new Map<string, RedisNode>();
    for (const [, , ...nodes] of ranges) {
      for (const [host, port] of nodes as readonly (readonly Reply[])[]) {
        const node = { host: host?.toString() || link.node.host, port: Number(port) };
        learned.set(`${node.host}:${node.port}`, node);
      }
    }
    for (const seed of this.settings.topology.seeds) learned.set(`${seed.host}:${seed.port}`, seed);
    this.#nodes = [...learned.values()];
  }

  /** What a new link was asked, or the end of the link if that takes too long. */
  async #inTime<T>(link: Link, answer: Promise<T>, signal: AbortSignal): Promise<T> {
    const { host, port } = link.node;
    const patienceMs = this.#nodes.length > 1 ? shortPatienceMs : openPatienceMs;
    using _timer = this.settings.clock.after(patienceMs, () => {
      link.drop(new Error(`no connection to ${host}:${port} within ${patienceMs} ms`));
    });
    try {
      return await abortable(answer, signal);
    } catch (error) {
      link.drop(error as Error);
      throw error;
    }
  }
}
