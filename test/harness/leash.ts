import { type ChildProcess, spawn } from "node:child_process";

/**
 * Ties a child to the life of this process: should we die in any way, even by SIGKILL, the child is killed and its
 * folder removed. A shell waits for the end of a pipe that only we hold open; `let go` is called once the child is gone.
 */
export function leash(child: ChildProcess, folder = ""): () => void {
  const script = 'read -r _ && exit; kill -9 "$1" 2>/dev/null; [ -z "$2" ] || rm -rf "$2"';
  const keeper = spawn("sh", ["-c", script, "leash", String(child.pid), folder], {
    stdio: ["pipe", "ignore", "ignore"],
    detached: true,
  });
  keeper.unref();
  keeper.stdin.on("error", () => {});
  (keeper.stdin as unknown as { unref?: () => void }).unref?.();
  return () => keeper.stdin.end("let go\n");
}
