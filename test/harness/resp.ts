import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { Certificates } from "./certificates.ts";

/** What Redis answers, as RESP2 has it. Bytes come as UTF-8 text. */
export type Reply = string | number | null | Reply[];

export interface RespOptions {
  readonly port: number;
  readonly tls?: Certificates | undefined;
  readonly username?: string | undefined;
  readonly password?: string | undefined;
  readonly timeoutMs?: number;
}

/** Sends one command over a connection of its own, and gives the reply; an error that Redis answers rejects. */
export function callRedis(options: RespOptions, command: readonly string[]): Promise<Reply> {
  const { port, tls, username = "default", password, timeoutMs = 5_000 } = options;
  const commands = password === undefined ? [command] : [["AUTH", username, password], command];
  return new Promise((resolve, reject) => {
    const address = { port, host: "127.0.0.1" };
    const secrets = tls && { ca: tls.ca, cert: tls.client.cert, key: tls.client.key };
    const socket: Socket = secrets ? connectTls({ ...address, ...secrets }) : createConnection(address);
    const end = (settle: () => void) => {
      socket.destroy();
      settle();
    };
    let heard = Buffer.alloc(0);
    let left = commands.length;
    socket.setTimeout(timeoutMs, () => end(() => reject(new Error(`${command[0]} got no answer`))));
    socket.on("error", (error) => end(() => reject(error)));
    socket.on("close", () => reject(new Error(`the connection ended before ${command[0]} was answered`)));
    socket.on("data", (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
      for (let parsed = parse(heard, 0); parsed !== undefined; parsed = parse(heard, 0)) {
        const { value, next } = parsed;
        heard = heard.subarray(next);
        if (value instanceof Error) return end(() => reject(value));
        if (--left === 0) return end(() => resolve(value));
      }
    });
    for (const words of commands) socket.write(encode(words));
  });
}

function encode(words: readonly string[]): string {
  return `*${words.length}\r\n${words.map((word) => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join("")}`;
}

/** The value that starts at `at` and where the next one does, or undefined while bytes are missing. */
function parse(bytes: Buffer, at: number): { value: Reply | Error; next: number } | undefined {
  const lineEnd = bytes.indexOf("\r\n", at);
  if (lineEnd < 0) return undefined;
  const line = bytes.toString("utf8", at + 1, lineEnd);
  const next = lineEnd + 2;
  switch (String.fromCharCode(bytes[at] ?? 0)) {
    case "+":
      return { value: line, next };
    case "-":
      return { value: new Error(line), next };
    case ":":
      return { value: Number(line), next };
    case "$": {
      const length = Number(line);
      if (length < 0) return { value: null, next };
      if (bytes.length < next + length + 2) return undefined;
      return { value: bytes.toString("utf8", next, next + length), next: next + length + 2 };
    }
    case "*":
      return Number(line) < 0 ? { value: null, next } : parseList(bytes, next, Number(line));
    default:
      return { value: new Error(`not RESP2: ${line}`), next };
  }
}

function parseList(bytes: Buffer, at: number, length: number): { value: Reply; next: number } | undefined {
  const value: Reply[] = [];
  let next = at;
  for (let index = 0; index < length; index++) {
    const item = parse(bytes, next);
    if (item === undefined) return undefined;
    value.push(item.value instanceof Error ? item.value.message : item.value);
    next = item.next;
  }
  return { value, next };
}
