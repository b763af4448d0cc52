// Contenders take turns in windows of the same length, in an order that is reversed every round, so that a machine whose
// speed drifts drifts for all of them. A figure is the median of its rounds, a ratio the median of the rounds' ratios.

const rounds = Number(process.env["BENCH_ROUNDS"] ?? 5);
const windowMs = 1_500;

/** One thing to measure: `cycle` takes a lock of that name, through that client, and lets it go. */
export interface Contender {
  readonly name: string;
  cycle(lock: string, client: number): Promise<void>;
}

/** Contenders for one store: ours and the alternative. */
export interface Match extends AsyncDisposable {
  /** The store and its version. */
  readonly store: string;
  readonly ours: Contender;
  readonly theirs: Contender;
}

/** `workers` at a time, each on a lock of its own or all on the same one, through so many clients. */
interface Setting {
  readonly title: string;
  readonly workers: number;
  readonly shared: boolean;
  readonly clients: number;
}

const settings: readonly Setting[] = [
  { title: "free, 1 worker", workers: 1, shared: false, clients: 1 },
  { title: "free, 16 workers", workers: 16, shared: false, clients: 1 },
  { title: "free, 64 workers", workers: 64, shared: false, clients: 1 },
  { title: "contended, 16 clients", workers: 16, shared: true, clients: 16 },
  { title: "contended, 1 client", workers: 64, shared: true, clients: 1 },
];

/** How many clients each contender must have. */
export const mostClients: number = Math.max(...settings.map(({ clients }) => clients));

/** So many of something, made at the same time. */
export function many<T>(make: () => T | Promise<T>): Promise<T[]> {
  return Promise.all(Array.from({ length: mostClients }, make));
}

/** Measures both in every setting, and prints what came of it. */
export async function compare({ store, ours, theirs }: Match): Promise<void> {
  const contenders = [ours, theirs] as const;
  console.log(`\nacquire + release, cycles per second; ${store}, ${rounds} rounds of ${windowMs} ms\n`);
  for (const contender of contenders)
    await cyclesPerSecond(contender, { title: "warm-up", workers: 16, shared: false, clients: mostClients }, 0);
  print("", [ours.name, theirs.name, "ratio"]);
  for (const setting of settings) {
    const figures = new Map(contenders.map((contender) => [contender, [] as number[]]));
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? contenders : contenders.toReversed();
      for (const contender of order) figures.get(contender)?.push(await cyclesPerSecond(contender, setting, round));
    }
    const [mine = [], others = []] = [...figures.values()];
    const ratio = median(mine.map((figure, round) => figure / (others[round] as number)));
    print(setting.title, [...[mine, others].map((values) => median(values).toFixed(0)), `${ratio.toFixed(1)} x`]);
  }
}

async function cyclesPerSecond(contender: Contender, setting: Setting, round: number): Promise<number> {
  const endMs = performance.now() + windowMs;
  let cycles = 0;
  const work = async (worker: number): Promise<void> => {
    const lock = `bench-${setting.title}-${round}-${contender.name}-${setting.shared ? "all" : worker}`;
    while (performance.now() < endMs) {
      await contender.cycle(lock, worker % setting.clients);
      if (performance.now() < endMs) cycles += 1;
    }
  };
  await Promise.all(Array.from({ length: setting.workers }, (_, worker) => work(worker)));
  return cycles / (windowMs / 1_000);
}

function print(title: string, cells: readonly string[]): void {
  console.log([title.padEnd(24), ...cells.map((cell) => cell.padStart(17))].join(""));
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = Math.floor(sorted.length / 2);
  const [below = 0, at = 0] = [sorted[middle - 1], sorted[middle]];
  return sorted.length % 2 === 0 ? (below + at) / 2 : at;
}
