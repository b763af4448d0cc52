/**
 * A schema of any maker that keeps the Standard Schema specification, version 1 (standardschema.dev): zod, valibot,
 * arktype and others. Only the type is here; the schema is yours.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    /** Who made it. */
    readonly vendor: string;
    /** What it makes of a value, or what is wrong with it. */
    readonly validate: (value: unknown) => Validation<Output> | Promise<Validation<Output>>;
    /** For the compiler alone. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** What a schema made of a value, or the issues it has with it. */
export type Validation<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** What is wrong with a value. */
export interface SchemaIssue {
  /** In the words of the schema's maker; some show the value. */
  readonly message: string;
  /** Where in the value; at its top when absent or empty. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** What a schema accepts. */
export type InputOf<S extends StandardSchema> = NonNullable<S["~standard"]["types"]>["input"];

/** What a schema makes of it. */
export type OutputOf<S extends StandardSchema> = NonNullable<S["~standard"]["types"]>["output"];

/** A value that its schema does not allow. The message says where, and never what was given, which may be secret. */
export class InvalidSettingError extends TypeError {
  /** The setting. */
  readonly key: string;
  readonly #issues: readonly SchemaIssue[];

  constructor(what: string, key: string, issues: readonly SchemaIssue[]) {
    const places = [...new Set(issues.map(placeOf))].filter((place) => place !== "");
    const shown = places.slice(0, 5).join(", ") + (places.length > 5 ? ", …" : "");
    super(`${what} is not what its schema allows${shown && `, at ${shown}`}`);
    this.name = "InvalidSettingError";
    this.key = key;
    this.#issues = issues;
  }

  /** In the schema's own words, which may show what was given; no log shows them by itself. */
  get issues(): readonly SchemaIssue[] {
    return this.#issues;
  }
}

function placeOf({ path = [] }: SchemaIssue): string {
  // By `from`, since arktype's paths are of a class whose `map` makes another.
  const keys = Array.from(path, (part) => (typeof part === "object" && part !== null ? part.key : part));
  const place = keys.map((key) => (typeof key === "number" ? `[${key}]` : `.${String(key)}`)).join("");
  return place.replace(/^\./, "").slice(0, 100);
}
