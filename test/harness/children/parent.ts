/** Starts a leashed child that would live on, says its pid, and waits to be killed. */
import { spawn } from "node:child_process";
import { leash } from "../leash.ts";

const child = spawn("sleep", ["60"], { stdio: "ignore" });
leash(child);
console.log(JSON.stringify({ pid: child.pid }));
setInterval(() => {}, 1_000);
