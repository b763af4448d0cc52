import { isCoordinationError, systemClock } from "@conclave/core/backend";
import { Link, type LinkOptions, openLink } from "../src/link.ts";

/** What a link is opened with, where a test has no wish of its own. */
function linkOptions(servers: readonly { readonly port: number }[], wishes: Partial<LinkOptions> = {}): LinkOptions {
  return {
    servers: servers.map(({ port }) => ({ host: "127.0.0.1", port })),
    sessionTimeoutMs: 10_000,
    auth: undefined,
    clock: systemClock,
    callTimeoutMs: 5_000,
    lasting: true,
    horizon: { zxid: 0n },
    ...wishes,
  };
}

/** Links that end with the test. */
export class Links implements AsyncDisposable {
  readonly #links: Link[] = [];

  async open(servers: readonly { readonly port: number }[], wishes?: Partial<LinkOptions>): Promise<Link> {
    const link = await openLink(linkOptions(servers, wishes));
    this.#links.push(link);
    return link;
  }

  /** One that makes no connection before it is asked something. */
  idle(servers: readonly { readonly port: number }[], wishes?: Partial<LinkOptions>): Link {
    const link = new Link(linkOptions(servers, wishes));
    this.#links.push(link);
    return link;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#links.map((link) => link.close({ timeoutMs: 500 }).catch(() => link.abandon())));
  }
}

/** The code with which a call fails, "done" when it does not, or what else it throws. */
export async function outcomeOf(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => "done",
    (error: unknown) => (isCoordinationError(error) ? error.code : error),
  );
}
