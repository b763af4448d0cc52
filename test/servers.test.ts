import { execFileSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { asDeb822, readDeb822, readLines } from "../scripts/servers/apt-sources.mjs";
import { missingFrom } from "../scripts/servers/locate.mjs";
import { writeLauncher } from "../scripts/servers/stores/programs.mjs";

test("sources in deb822 are read, with keys of several lines, and disabled ones and comments left out", () => {
  const text = `# the main one
Types: deb deb-src
URIs: https://mirror.invalid/debian https://other.invalid/debian
Suites: stable stable-updates
# a comment within
Components: main contrib
Signed-By: /keys/debian.gpg

Enabled: no
Types: deb
URIs: https://off.invalid
Suites: stable
Components: main

Types: deb-src
URIs: https://source.invalid
Suites: stable
Components: main

Types: deb
URIs: https://inline.invalid
Suites: stable
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 abc
`;
  const rest = { suites: ["stable", "stable-updates"], components: ["main", "contrib"], trusted: undefined };
  expect(readDeb822(text)).toEqual([
    { uri: "https://mirror.invalid/debian", signedBy: "/keys/debian.gpg", ...rest },
    { uri: "https://other.invalid/debian", signedBy: "/keys/debian.gpg", ...rest },
    expect.objectContaining({ signedBy: "-----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc" }),
  ]);
});

test("sources of one line are read, with and without options", () => {
  const text = `# deb https://comment.invalid stable main
deb https://plain.invalid/debian bookworm main contrib # more
deb [arch=amd64 signed-by=/keys/a.gpg trusted=yes] https://signed.invalid bookworm main
deb-src https://source.invalid bookworm main
`;
  expect(readLines(text)).toEqual([
    {
      uri: "https://plain.invalid/debian",
      suites: ["bookworm"],
      components: ["main", "contrib"],
      signedBy: undefined,
      trusted: undefined,
    },
    {
      uri: "https://signed.invalid",
      suites: ["bookworm"],
      components: ["main"],
      signedBy: "/keys/a.gpg",
      trusted: "yes",
    },
  ]);
});

test("another suite of a source keeps its place and its key", () => {
  const [source] = readLines("deb [signed-by=/keys/a.gpg] https://mirror.invalid bookworm main contrib");
  const asRead = source && readDeb822(asDeb822(source, "sid"));
  expect(asRead).toEqual([{ ...source, suites: ["sid"], components: ["main"] }]);
});

test("a server is missing until there is one of a version that fits, and each wanted series counts", () => {
  const others = ["Redis 6.2 or newer", "libfaketime", "ZooKeeper 3.6 or newer", "PostgreSQL 13 or newer"];
  const names = (...found: { store: string; version: string }[]) => missingFrom(found).map(({ name }) => name);
  expect(names()).toEqual(["etcd 3.5.30 or newer", "etcd 3.4", ...others]);
  const etcd = (version: string) => ({ store: "etcd", version });
  expect(names(etcd("3.4.23"), etcd("3.5.29"))).toEqual(["etcd 3.5.30 or newer", ...others]);
  expect(names(etcd("3.6.0"), etcd("3.4.0"))).toEqual(others);
  const some = [
    { store: "redis", version: "6.0.16" },
    { store: "zookeeper", version: "3.10.1" },
    { store: "postgresql", version: "9" },
    { store: "faketime", version: "any" },
  ];
  expect(names(etcd("3.5.30"), etcd("3.4.1"), ...some)).toEqual(["Redis 6.2 or newer", "PostgreSQL 13 or newer"]);
});

test("an unpacked program runs on the libraries unpacked with it, also where its folder is moved to", () => {
  const folder = mkdtempSync(join(tmpdir(), "conclave-launcher-"));
  const [unpacked, place] = [join(folder, "unpacked"), join(folder, "in its place")];
  for (const path of ["usr/bin", "usr/lib/any-linux-gnu", "usr/lib/other"]) {
    mkdirSync(join(unpacked, "root", path), { recursive: true });
  }
  const tool = join(unpacked, "root", "usr", "bin", "tool");
  writeFileSync(tool, '#!/bin/sh\necho "$LD_LIBRARY_PATH" "$@"\n');
  chmodSync(tool, 0o755);
  writeLauncher(unpacked, "usr/bin/tool");
  renameSync(unpacked, place);
  const printed = execFileSync(join(place, "bin", "tool"), ["a b", "c"], { encoding: "utf8" });
  rmSync(folder, { recursive: true });
  expect(printed).toBe(`${place}/bin/../root/usr/lib/any-linux-gnu a b c\n`);
});
