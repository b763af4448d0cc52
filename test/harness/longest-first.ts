import { BaseSequencer, type TestSpecification } from "vitest/node";

/**
 * What takes a minute or more on real servers, longest first; everything else takes seconds. Etcd's files mostly wait, so
 * they go between those that keep a core busy.
 */
const long = [
  /backend-zookeeper\/test\/conformance\.test/,
  /backend-etcd\/test\/conformance/,
  /backend-zookeeper\/test\/conformance-ensemble/,
  /backend-redis\/test\/conformance/,
  /backend-etcd\/test\/(watches|cluster)/,
  /test\/evidence\//,
  /backend-(redis|zookeeper)\/test\//,
  /backend-etcd\/test\//,
];

/** Starts the long files first, so that in the end no worker is busy alone. Otherwise in vitest's own order. */
export class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    return sorted.sort((one, other) => rank(one.moduleId) - rank(other.moduleId));
  }
}

function rank(file: string): number {
  const index = long.findIndex((pattern) => pattern.test(file));
  return index < 0 ? long.length : index;
}
