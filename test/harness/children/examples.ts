// Runs examples one after the other on the store at BACKEND, and says of each that it ran, or how it failed. It ends by
// itself when none of them left anything open.
import { inspect } from "node:util";

const folder = new URL("../../../examples/", import.meta.url);
for (const example of process.argv.slice(2)) {
  const failure = await import(new URL(`${example}.ts`, folder).href).then(
    () => undefined,
    (error: unknown) => inspect(error),
  );
  console.log(JSON.stringify({ example, failure }));
}
