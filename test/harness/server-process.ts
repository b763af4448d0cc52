import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { eventually } from "./eventually.ts";
import { leash } from "./leash.ts";
import { pauseProcess } from "./pause.ts";

/** A server of our own, on loopback ports and in a folder that go with it. */
export interface OwnServer extends AsyncDisposable {
  /** Where clients connect; the same after `restart`. */
  readonly port: number;
  /** Of the running process; another one after `restart`. */
  readonly pid: number;
  /** Sends a signal (SIGKILL unless told otherwise) and waits until the process is gone. Its data stays. */
  kill(signal?: NodeJS.Signals): Promise<void>;
  /** SIGSTOP: connections stay open and nobody answers. */
  pause(): void;
  /** SIGCONT. */
  resume(): void;
  /** Starts it again on the same ports and data, killing it first if it still runs. Resolves once it is ready. */
  restart(): Promise<void>;
  /** Kills it and removes its data. */
  stop(): Promise<void>;
}

/** How to run a server. */
export interface Launch {
  readonly command: string;
  readonly args: readonly string[];
  /** On top of our own environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** Whom to run it as, if not as who we are. */
  readonly uid?: number;
  readonly gid?: number;
}

/** What all kinds of servers have in common: a process on a leash, a folder with its log, and a wait for its first answer. */
export abstract class ServerProcess implements OwnServer {
  abstract readonly port: number;
  /** For its data and its log; gone after `stop`. */
  readonly folder: string;
  readonly #name: string;
  #process: ChildProcess | undefined;

  constructor(name: string) {
    this.#name = name;
    this.folder = mkdtempSync(join(tmpdir(), `conclave-${name}-`));
  }

  /** How to run it, this time. */
  protected abstract launch(): Launch;

  /** Whether it serves clients yet; may throw instead of saying no. */
  protected abstract answers(): Promise<boolean>;

  get pid(): number {
    if (this.#process?.pid === undefined) throw new Error(`this ${this.#name} is not running`);
    return this.#process.pid;
  }

  get isRunning(): boolean {
    return this.#process !== undefined;
  }

  /** Everything it printed. */
  get log(): string {
    return readFileSync(join(this.folder, "log"), "utf8");
  }

  /** Starts the process, and does not wait. */
  start(): void {
    const { command, args, env, uid, gid } = this.launch();
    const log = openSync(join(this.folder, "log"), "a");
    const child = spawn(command, args, {
      cwd: this.folder,
      env: { ...process.env, ...env },
      stdio: ["ignore", log, log],
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    closeSync(log);
    this.#process = child;
    const letGo = leash(child, this.folder);
    const ended = () => {
      letGo();
      if (this.#process === child) this.#process = undefined;
    };
    child.once("exit", ended).once("error", ended);
  }

  /** Resolves once it serves clients; rejects with the end of its log if it died instead. */
  async ready(): Promise<void> {
    const look = async () => !this.isRunning || (await this.answers());
    const wait = eventually(look, { timeoutMs: 60_000, everyMs: 30 });
    await wait.catch((cause) => {
      throw new Error(`${this.#name} did not get ready (${cause.message}): ${this.log.slice(-2_000)}`, { cause });
    });
    if (!this.isRunning) throw new Error(`${this.#name} ended while it started: ${this.log.slice(-2_000)}`);
  }

  async kill(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child === undefined) return;
    const gone = once(child, "exit");
    child.kill(signal);
    if (signal !== "SIGKILL") child.kill("SIGCONT");
    await gone;
  }

  pause(): void {
    pauseProcess(this.pid);
  }

  resume(): void {
    process.kill(this.pid, "SIGCONT");
  }

  async restart(): Promise<void> {
    await this.kill();
    this.start();
    await this.ready();
  }

  async stop(): Promise<void> {
    await this.kill();
    rmSync(this.folder, { recursive: true, force: true });
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}

/** Starts servers that belong together and waits until all are ready; if one fails, none stays. */
export async function startTogether(servers: readonly ServerProcess[]): Promise<void> {
  try {
    for (const server of servers) server.start();
    await Promise.all(servers.map((server) => server.ready()));
  } catch (error) {
    await stopTogether(servers);
    throw error;
  }
}

export async function stopTogether(servers: readonly OwnServer[]): Promise<void> {
  await Promise.all(servers.map((server) => server.stop()));
}
