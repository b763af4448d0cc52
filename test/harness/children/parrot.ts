/** Says what it was started with, then says back each line, until the end of its input or the message `exit`. */
import { createInterface } from "node:readline";

console.log(JSON.stringify({ args: process.argv.slice(2), color: process.env["COLOR"] }));
console.log("not JSON");
for await (const line of createInterface({ input: process.stdin })) {
  const message = JSON.parse(line);
  if ("exit" in message) process.exit(message.exit);
  console.log(line);
}
