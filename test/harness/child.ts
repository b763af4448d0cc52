import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { leash } from "./leash.ts";
import { pauseProcess } from "./pause.ts";

/** What a child says: one JSON object a line on its standard output. */
export type Message = Record<string, unknown>;

export interface ChildOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** How a child ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** Another process that runs a `.ts` file. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** Everything it printed that is not JSON, and its standard error. */
  readonly output: string;
  readonly exited: Promise<Exit>;
  /** The next message not handed out yet, or the next that fits; rejects when the child ends or time runs out. */
  next(fits?: (message: Message) => boolean, timeoutMs?: number): Promise<Message>;
  /** Writes one JSON line to its standard input. */
  send(message: Message): void;
  /** SIGSTOP: it stands still, as in a long garbage collection. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** Sends a signal (SIGKILL unless told otherwise) and waits for the end. */
  kill(signal?: NodeJS.Signals): Promise<Exit>;
}

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Starts Node on a TypeScript file, which reads the packages' sources as the tests do. */
export function runNode(file: string | URL, options: ChildOptions = {}): Child {
  const path = file instanceof URL ? fileURLToPath(file) : file;
  const child = spawn(process.execPath, ["--import", "tsx", path, ...(options.args ?? [])], {
    cwd: root,
    env: { ...process.env, ...options.env },
    stdio: ["pipe", "pipe", "pipe"],
  });
  const pid = child.pid;
  if (pid === undefined) throw new Error(`could not start ${process.execPath}`);
  const letGo = leash(child);
  const inbox: Message[] = [];
  const waiting = new Set<() => void>();
  const wake = () => {
    for (const look of [...waiting]) look();
  };
  let output = "";
  let end: Exit | undefined;

  child.stdin.on("error", () => {});
  child.stderr.on("data", (chunk) => {
    output += chunk;
  });
  const lines = createInterface({ input: child.stdout }).on("line", (line) => {
    const message = parse(line);
    if (message === undefined) output += `${line}\n`;
    else inbox.push(message);
    wake();
  });
  const drained = Promise.all([once(child, "exit"), once(lines, "close"), once(child.stderr, "close")]);
  const exited = drained.then(([[code, signal]]) => {
    letGo();
    end = { code, signal };
    wake();
    return end;
  });

  async function kill(signal: NodeJS.Signals = "SIGKILL"): Promise<Exit> {
    child.kill(signal);
    return await exited;
  }

  return {
    pid,
    exited,
    get output() {
      return output;
    },
    next: (fits = () => true, timeoutMs = 10_000) =>
      new Promise((resolve, reject) => {
        const settle = (act: () => void) => {
          clearTimeout(timer);
          waiting.delete(look);
          act();
        };
        const look = () => {
          const index = inbox.findIndex(fits);
          const [message] = index < 0 ? [] : inbox.splice(index, 1);
          if (message) settle(() => resolve(message));
          else if (end) settle(() => reject(new Error(`the child ended (${describeExit(end)})\n${output}`)));
        };
        const timer = setTimeout(() => {
          settle(() => reject(new Error(`no such message within ${timeoutMs} ms\n${output}`)));
        }, timeoutMs);
        waiting.add(look);
        look();
      }),
    send: (message) => void child.stdin.write(`${JSON.stringify(message)}\n`),
    pause: () => pauseProcess(pid),
    resume: () => process.kill(pid, "SIGCONT"),
    kill,
    [Symbol.asyncDispose]: async () => {
      await kill();
    },
  };
}

function parse(line: string): Message | undefined {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === "object" && value !== null ? (value as Message) : undefined;
  } catch {
    return undefined;
  }
}

function describeExit(exit: Exit | undefined): string {
  return exit?.signal ?? `code ${exit?.code}`;
}
