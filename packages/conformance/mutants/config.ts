import type { Mutant } from "./mutant.ts";

const setting = "packages/core/src/recipes/config/setting.ts";
const versions = "packages/core/src/recipes/config/setting-versions.ts";
const schema = "packages/core/src/recipes/config/standard-schema.ts";

export const mutants: readonly Mutant[] = [
  {
    breaks: "values are written whatever their schema says",
    file: setting,
    find: "if (validation.issues === undefined) return validation.value;",
    replace: 'if (validation.issues === undefined || what.endsWith(" of set")) return value;',
    killedBy: "a configuration sets nothing when one of the values",
  },
  {
    breaks: "a default holds nothing",
    file: setting,
    find: "good ? good.value : this.#defaults[key]",
    replace: "good?.value",
    killedBy: "a configuration shows defaults",
  },
  {
    breaks: "bad data takes the place of the last good value",
    file: setting,
    find: "good: before?.good };",
    replace: "good: undefined };",
    killedBy: "a configuration keeps the last good value",
  },
  {
    breaks: "a warning is given for every snapshot in which a value is bad",
    file: setting,
    find: "if (before && before.modified === entry?.modified) return before;",
    replace: "",
    killedBy: "a configuration keeps the last good value",
  },
  {
    breaks: "asynchronous schemas are not waited for",
    file: setting,
    find: 'await schema["~standard"].validate(value)',
    replace: 'schema["~standard"].validate(value) as { value: unknown; issues?: undefined }',
    killedBy: "a configuration",
  },
  {
    breaks: "an error says what was given, in the schema's own words",
    file: schema,
    find: "issues.map(placeOf)",
    replace: "issues.map(({ message }) => message)",
    killedBy: "a configuration sets nothing when one of the values",
  },
  {
    breaks: "set if unchanged compares nothing",
    file: versions,
    find: "if (changed.length > 0) return { succeeded: false, changed };",
    replace: "",
    killedBy: "a configuration, as it is set",
  },
  {
    breaks: "what others set between the look and the commit is overwritten, under the same version",
    file: versions,
    find: "{ if: conditions, then: [...puts, ...deletes] }",
    replace: "{ then: [...puts, ...deletes] }",
    killedBy: "a configuration, as it is set",
  },
  {
    breaks: "one version more is kept than was asked for",
    file: versions,
    find: "versions.length + 1 - history",
    replace: "versions.length - history",
    killedBy: "a configuration, as it is set keeps the last versions",
  },
  {
    breaks: "of keys that are not set it is not looked whether they changed",
    file: versions,
    find: "[...unchanged.keys()], { signal }",
    replace: "[], { signal }",
    killedBy: "a configuration, as it is set sets nothing over what changed",
  },
];
