import { Client } from "pg";
import { describe, expect, test } from "vitest";
import { startPostgres } from "./postgres-process.ts";
import { postgresBinaries } from "./servers.ts";

describe.each(postgresBinaries())("a $name of our own", { timeout: 60_000 }, ({ bin }) => {
  test("keeps its data and port over a kill and a restart", async () => {
    await using postgres = await startPostgres({ bin });
    const { url, pid } = postgres;
    await ask(url, "create table kept (id int)");
    for (const signal of ["SIGQUIT", "SIGKILL"] as const) {
      await ask(url, "insert into kept values (1)");
      await postgres.kill(signal);
      await postgres.restart();
      expect(postgres.url).toBe(url);
      expect(postgres.pid).not.toBe(pid);
    }
    expect(await ask(url, "select count(*)::int as count from kept")).toEqual([{ count: 2 }]);
  });

  test("goes by the settings it is given", async () => {
    await using postgres = await startPostgres({ bin, settings: { lock_timeout: "1234ms" } });
    expect(await ask(postgres.url, "show lock_timeout")).toEqual([{ lock_timeout: "1234ms" }]);
  });
});

test("says why a postgresql would not start", async () => {
  const bin = postgresBinaries()[0]?.bin ?? "/no/such/folder";
  const starting = startPostgres({ bin, settings: { no_such_setting: "1" } });
  await expect(starting).rejects.toThrow("postgresql ended while it started");
}, 60_000);

async function ask(connectionString: string, sql: string): Promise<unknown[]> {
  const client = new Client({ connectionString });
  client.on("error", () => {});
  await client.connect();
  try {
    return (await client.query(sql)).rows;
  } finally {
    await client.end();
  }
}
