import { expect, test } from "vitest";
import { asDeb822, readDeb822, readLines } from "../scripts/servers/apt-sources.mjs";

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
