/** The login of one client: a single token that every call shares, and a single request for it however many wait. */
export declare class Credentials {
  #private;
  constructor(
    login: () => Promise<{
      readonly token: string;
    }>,
  );
  /** The token to send; undefined on a server that has authentication turned off. */
  token(): Promise<string | undefined>;
  /** Tells that a server no longer takes this token. Unless that is old news, the next `token()` logs in anew. */
  refused(token: string | undefined): void;
}
//# sourceMappingURL=credentials.d.ts.map
