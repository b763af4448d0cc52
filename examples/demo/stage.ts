import { randomUUID } from "node:crypto";
import { type Conclave, connect } from "@conclave/core";
import type { Ground } from "./ground.ts";
import type { Timeline } from "./timeline.ts";

/** Something that was to be shown, and was not. */
export class Refuted extends Error {
  constructor(claim: string) {
    super(`This was to be shown, and is not so: ${claim}.`);
    this.name = "Refuted";
  }
}

/** A short story, told while it happens. */
export interface Scene {
  readonly title: string;
  play(stage: Stage): Promise<void>;
}

/** What stands for a process: a client, a session and a lease of its own. */
export interface Actor {
  readonly name: string;
  readonly conclave: Conclave;
  /** From now on nothing reaches the store, and nothing is given back: its lease must run out. */
  crash(): void;
}

/** Where a scene is played: starts its processes, tells its story, checks its claims, and clears up after it. */
export class Stage implements AsyncDisposable {
  readonly claims: string[] = [];
  readonly #ground: Ground;
  readonly #timeline: Timeline;
  readonly #namespace = `demo-${randomUUID()}`;
  readonly #actors: Actor[] = [];

  constructor(ground: Ground, timeline: Timeline) {
    this.#ground = ground;
    this.#timeline = timeline;
  }

  get ttlMs(): number {
    return this.#ground.ttlMs;
  }

  /** Plays a scene, but not for ever: what does not happen must not look like something that takes long. */
  async play(scene: Scene): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Refuted(`"${scene.title}" comes to its end`)), 10 * this.ttlMs);
    });
    try {
      await Promise.race([scene.play(this), late]);
    } finally {
      clearTimeout(timer);
    }
  }

  async start(name: string, { ttlMs = this.ttlMs }: { readonly ttlMs?: number } = {}): Promise<Actor> {
    const { store, crash } = await this.#ground.client();
    const conclave = await connect(store, { namespace: this.#namespace, owner: name, ttlMs });
    const actor = { name, conclave, crash };
    this.#actors.push(actor);
    return actor;
  }

  say({ name }: Actor, what: string): void {
    this.#timeline.line(name, what);
  }

  /** States what was shown; throws `Refuted` if it is not so. */
  check(claim: string, holds: boolean): void {
    if (!holds) throw new Refuted(claim);
    this.claims.push(claim);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#actors.map(({ conclave }) => conclave.close()));
    for (const { crash } of this.#actors) crash();
  }
}
