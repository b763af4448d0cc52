import { describeBackend, oneRoundTripEach } from "@conclave/conformance";
import { redisServers } from "../../../test/harness/servers.ts";
import { makeSubject } from "./conformance-subject.ts";

for (const place of redisServers()) {
  const open = async () => {
    const server = await place.open();
    return makeSubject([new URL(server.url).host], ([node]) => ({ url: `redis://127.0.0.1:${node?.port}` }), server);
  };
  describeBackend(place.name, open, { costs: oneRoundTripEach });
}
