import { describeBackend, oneRoundTripEach } from "@conclave/conformance";
import { redisClusters } from "../../../test/harness/servers.ts";
import { makeSubject } from "./conformance-subject.ts";

for (const place of redisClusters()) {
  const open = async () => {
    const cluster = await place.open();
    return makeSubject(cluster.nodes, (nodes) => ({ nodes }), cluster);
  };
  describeBackend(place.name, open, { costs: oneRoundTripEach });
}
