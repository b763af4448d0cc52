import { describeBackend } from "@conclave/conformance";
import { zookeeperEnsembles } from "../../../test/harness/servers.ts";
import { costs, makeSubject } from "./conformance-subject.ts";

for (const ensemble of zookeeperEnsembles()) {
  describeBackend(ensemble.name, async () => makeSubject(await ensemble.open()), { costs });
}
