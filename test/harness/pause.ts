import { existsSync, readdirSync, readFileSync } from "node:fs";

/**
 * SIGSTOP, and waits, where the system tells (Linux), until every thread stands still: on a busy machine a process goes
 * on for a while after the signal was sent. Blocks us meanwhile, for a moment as a rule and a second at most.
 */
export function pauseProcess(pid: number): void {
  process.kill(pid, "SIGSTOP");
  const deadline = performance.now() + 1_000;
  const wait = new Int32Array(new SharedArrayBuffer(4));
  while (!standsStill(pid) && performance.now() < deadline) Atomics.wait(wait, 0, 0, 1);
}

function standsStill(pid: number): boolean {
  const tasks = `/proc/${pid}/task`;
  if (!existsSync(tasks)) return true;
  return readdirSync(tasks).every((task) => {
    try {
      // "pid (name) T …": stopped, unless it is dead already.
      return /\) [TtZX] /.test(readFileSync(`${tasks}/${task}/stat`, "utf8"));
    } catch {
      return true; // it ended since
    }
  });
}
