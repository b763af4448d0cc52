import { describe, expect, it } from "vitest";
import { failureOf, isPassing, isUnsent, isUntrusted, noConnection } from "../src/outcome.ts";

function grpc(code: number, details: string): Error {
  return Object.assign(new Error(details), { code, details });
}

/** What a sent write is known to have come to, from how its one attempt failed. */
function outcomeOf(error: Error): string {
  const plan = { method: "txn", effect: "write" } as const;
  return (failureOf(error, plan, isPassing(error) && !isUnsent(error)) as Error & { code: string }).code;
}

describe("a write that failed", () => {
  it.each([
    [14, "No connection established. Last error: connect ECONNREFUSED 127.0.0.1:2379"],
    [14, "Name resolution failed for target dns:etcd.example:2379"],
    [14, "Stream refused by server"],
    [14, "Channel closed before call started"],
    [13, "Failed to start HTTP/2 stream with error The session has been destroyed"],
    [14, "etcdserver: no leader"],
    [14, "etcdserver: rpc not supported for learner"],
    [4, "Deadline exceeded after 0.400s,name resolution: 0.001s,metadata filters: 0.001s,Waiting for LB pick"],
    [4, "Deadline exceeded after 0.400s,waiting for name resolution"],
  ])("with %i %s was never taken up", (code, details) => {
    expect(outcomeOf(grpc(code, details))).toBe("UNAVAILABLE");
  });

  it.each([
    [1, "Call cancelled"],
    [2, "raft proposal dropped"],
    [4, "Deadline exceeded after 0.400s,LB pick: 0.001s,remote_addr=127.0.0.1:2379"],
    [4, "context deadline exceeded"],
    [8, "Bandwidth exhausted or memory limit exceeded"],
    [10, "aborted"],
    [13, "Received RST_STREAM with code 2 (Internal server error)"],
    [14, "Connection dropped"],
    [14, "read ECONNRESET"],
    [14, "etcdserver: request timed out"],
    [14, "etcdserver: request timed out, possibly due to previous leader failure"],
    [14, "etcdserver: request timed out, possibly due to connection lost"],
    [14, "etcdserver: leader changed"],
    [14, "etcdserver: server stopped"],
    [15, "etcdserver: corrupt cluster"],
    [99, "a code that nobody has thought of yet"],
  ])("with %i %s may have been applied", (code, details) => {
    expect(outcomeOf(grpc(code, details))).toBe("OUTCOME_UNKNOWN");
  });

  it.each([
    [3, "etcdserver: request is too large", "LIMIT"],
    [3, "etcdserver: duplicate key given in txn request", "UNSUPPORTED"],
    [3, "etcdserver: authentication failed, invalid user ID or password", "DENIED"],
    [5, "etcdserver: requested lease not found", "LEASE_LOST"],
    [7, "etcdserver: permission denied", "DENIED"],
    [8, "etcdserver: too many requests", "LIMIT"],
    [11, "etcdserver: mvcc: required revision has been compacted", "UNSUPPORTED"],
    [12, "unknown service", "UNSUPPORTED"],
    [16, "etcdserver: invalid auth token", "DENIED"],
  ])("with %i %s was refused: %s", (code, details, outcome) => {
    expect(outcomeOf(grpc(code, details))).toBe(outcome);
  });
});

describe("a connection", () => {
  it.each([
    "No connection established. Last error: self-signed certificate in certificate chain",
    "No connection established. Last error: Hostname/IP does not match certificate's altnames: Host: localhost",
    "No connection established. Last error: 40A7:error:0A000412:SSL routines:ssl3_read_bytes:tlsv1 alert bad certificate",
  ])("that failed with %s is not trusted", (details) => {
    expect(isUntrusted(grpc(14, details))).toBe(true);
  });

  it.each(["http://alertmanager.example:2379", "https://self-signed.example:2379", "https://certificate.example:2379"])(
    "that takes too long is no matter of trust, though its URL is %s",
    (url) => {
      expect(outcomeOf(noConnection(url, 1_000))).toBe("UNAVAILABLE");
    },
  );
});
