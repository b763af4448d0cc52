import { checkFunction, checkMs, checkName, checkOptions, outOfRange, wrongType } from "../../arguments.ts";
import { byteLength } from "../../bytes.ts";
import { type Context, type Name, roomyPrefixOf, segment, type WaitOptions } from "../../context.ts";
import { inWords } from "../../errors.ts";
import { linkSignals, onAbort } from "../../signals.ts";
import type { Assignment, Partition } from "./partition.ts";
import { Share, type ShareOf } from "./share.ts";

/** What to share out. All members of a partitioner give the same partitions. */
export interface PartitionerOptions {
  /** Their names, or how many there are: then they are called "0", "1" and so on. 1 to 10,000. */
  readonly partitions: number | readonly string[];
  /**
   * For how many milliseconds members are left to come and go before partitions move, so that when many start at once most
   * partitions move once; 100 by default.
   */
  readonly settleMs?: number | undefined;
}

const maxPartitions = 10_000;

/**
 * Shares out partitions among processes, each to one at a time:
 *
 *   1. join the members: a key `partitioner/<name>/member/<id>`, kept on the session's lease;
 *   2. of every partition, the member with the highest hash of both is to be the owner: all who see the same members
 *      choose the same one, and when a member comes or goes only its own partitions move;
 *   3. what is another's now is revoked: its signal aborts, and it is given back once its user has stopped;
 *   4. what is ours and free is claimed: a key `partitioner/<name>/owner/<partition>` on the session's lease, created only
 *      if nobody has it and we are still a member, at most 30 in a commit;
 *   5. when a member comes or goes, wait for others to settle, and go to 2; when an owner's key goes, go to 4.
 *
 * 2 is Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates" (IEEE/ACM Transactions on Networking 6(1),
 * 1998), also called rendezvous hashing. It rests on what each member sees, and they see changes at different times; that
 * nothing is owned twice rests on 4 alone. Partitions of a member that dies go to others at the end of its lease.
 */
export class Partitioner {
  /** The names of the partitions, in order. */
  readonly partitions: readonly string[];
  readonly #context: Context;
  readonly #of: ShareOf;

  constructor(context: Context, name: Name, options: PartitionerOptions) {
    const prefix = roomyPrefixOf("partitioner", name, context.backend.limits);
    if (options === undefined) throw wrongType("the options of partitioner", options, "an object with partitions");
    checkOptions("partitioner", options, ["partitions", "settleMs"]);
    const { partitions, settleMs = 100 } = options;
    checkMs("settleMs", settleMs);
    const names = namesOf(partitions);
    const { maxKeyBytes } = context.backend.limits;
    for (const each of names) {
      const bytes = byteLength(`${prefix}owner/${segment(each)}`);
      if (bytes > maxKeyBytes)
        throw new RangeError(`the name of a partition must make a key of at most ${maxKeyBytes} bytes, not ${bytes}`);
    }
    this.#context = context;
    this.partitions = names;
    this.#of = { prefix, names, settleMs };
  }

  /**
   * Takes part for as long as it is iterated: yields the partitions that this process owns, perhaps none yet, and again
   * whenever they are others. What comes is claimed for you; what goes waits for you:
   *
   * When an assignment lacks a partition that the one before it had, that one's signal has aborted. Stop what uses it, and
   * **ask for the next assignment only then**: that gives it back, and another member may have it. Until then nobody else
   * has it, unless the lease was lost. Or release the partition yourself, which does the same sooner; one that is still
   * yours by 2 comes again, with a larger token.
   *
   * Leaving the loop gives everything back and leaves the members. Outages and lost sessions only delay it: what was owned
   * is lost, and comes again with the next session. Rejects with `signal.reason` when that aborts, and `CLOSED` when the
   * conclave closes: the partitions' signals abort with it, and they are given back at once; to let work end first, use
   * `run`, or leave the loop. At the start it rejects as `Membership.join` does, and later with `DENIED` as the store says.
   */
  async *assigned(options: WaitOptions = {}): AsyncGenerator<Assignment, void, undefined> {
    checkOptions("assigned", options, ["signal"]);
    using linked = linkSignals(options.signal, this.#context.closed);
    const { signal } = linked;
    const share = await Share.open(this.#context, this.#of, signal);
    using _ = onAbort(signal, () => share.stop(signal.reason));
    try {
      for (;;) yield await share.next(signal);
    } finally {
      await share.end();
    }
  }

  /**
   * Takes part, and runs `work` for each partition while this process owns it:
   *
   *   1. when a partition comes, `work` is called with it; when it returns, the partition stays owned and idle;
   *   2. when the partition is to go, or is lost, its signal aborts; once `work` has ended it is given back, and nothing
   *      else comes or goes here meanwhile: so stop soon;
   *   3. when `work` throws while it owns its partition, everything is stopped and given back, and `run` rejects with that.
   *
   * Rejects with `signal.reason`, and `CLOSED`, after all work ended; otherwise as `assigned`. What `work` throws after its
   * partition was to go is passed to `onWarning`, unless it is the reason of the partition's signal.
   */
  async run(work: (partition: Partition) => Promise<unknown> | unknown, options: WaitOptions = {}): Promise<never> {
    checkFunction("work of run", work);
    checkOptions("run", options, ["signal"]);
    const failed = new AbortController();
    using linked = linkSignals(options.signal, this.#context.closed, failed.signal);
    const { signal } = linked;
    const share = await Share.open(this.#context, this.#of, signal);
    using _ = onAbort(signal, () => share.stop(signal.reason));
    const running = new Map<Partition, Promise<void>>();
    try {
      for (;;) {
        const { partitions } = await share.next(signal);
        const gone = [...running].filter(([partition]) => partitions.get(partition.name) !== partition);
        await Promise.all(gone.map(([, ended]) => ended));
        for (const [partition] of gone) running.delete(partition);
        for (const partition of partitions.values())
          if (!running.has(partition)) running.set(partition, this.#run(work, partition, failed));
      }
    } finally {
      share.stop(signal.reason);
      await Promise.all(running.values());
      await share.end();
    }
  }

  /** Runs work for a partition; never rejects. */
  async #run(
    work: (partition: Partition) => Promise<unknown> | unknown,
    partition: Partition,
    failed: AbortController,
  ): Promise<void> {
    try {
      await work(partition);
    } catch (error) {
      if (partition.isHeld()) return failed.abort(error);
      const { reason } = partition.signal;
      if (error !== reason && (error as Error | undefined)?.cause !== reason)
        this.#context.warn(`after the partition ${partition.name} was to go, work failed: ${inWords(error)}`);
    }
  }
}

function namesOf(partitions: number | readonly string[]): readonly string[] {
  const allowed = `a whole number from 1 to ${maxPartitions}, or that many different names`;
  if (typeof partitions === "number") {
    if (!Number.isSafeInteger(partitions) || partitions < 1 || partitions > maxPartitions)
      throw outOfRange("partitions", partitions, allowed);
    return Array.from({ length: partitions }, (_, index) => String(index));
  }
  if (!Array.isArray(partitions)) throw wrongType("partitions", partitions, allowed);
  if (partitions.length < 1 || partitions.length > maxPartitions)
    throw outOfRange("the number of partitions", partitions.length, allowed);
  const names = partitions.map((name: unknown) => {
    checkName("the name of a partition", name);
    return name;
  });
  const seen = new Set<string>();
  for (const name of names) {
    if (seen.has(name)) throw outOfRange("the name of a partition", name, "different from every other");
    seen.add(name);
  }
  return names;
}
