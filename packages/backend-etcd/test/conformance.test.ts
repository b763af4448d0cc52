import { describeBackend, oneRoundTripEach } from "@conclave/conformance";
import { etcdServers } from "../../../test/harness/servers.ts";
import { makeSubject } from "./conformance-subject.ts";

// The newest. The others have a file of their own, so that they run beside it.
for (const server of etcdServers().slice(0, 1)) {
  describeBackend(server.name, async () => makeSubject(server), { costs: oneRoundTripEach });
}
