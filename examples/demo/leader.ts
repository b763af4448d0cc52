import { setTimeout as sleep } from "node:timers/promises";
import type { Actor, Scene } from "./stage.ts";

/** The election: when the leader crashes another takes over, and by then the old one knows. */
export const leader: Scene = {
  title: "A leader crashes, and another takes over",

  async play(stage) {
    const [ada, bob, cyd] = (await Promise.all(["ada", "bob", "cyd"].map((name) => stage.start(name)))) as [
      Actor,
      Actor,
      Actor,
    ];
    const audience = await stage.start("audience");
    const seen: string[] = [];
    const observed = (async () => {
      for await (const leader of audience.conclave.election("chair").observe()) {
        seen.push(leader?.value ?? "nobody");
        stage.say(audience, leader ? `sees ${leader.value} lead` : "sees nobody lead");
        if (leader && leader.value !== "ada") return;
      }
    })();

    const first = await ada.conclave.election("chair").campaign();
    stage.say(ada, `leads, with token ${first.token}`);
    const successor = Promise.race(
      [bob, cyd].map(async (candidate) => {
        const leadership = await candidate.conclave.election("chair").campaign();
        const oldKnew = !first.isHeld(); // asked in the first line of the new leadership
        stage.say(candidate, `leads, with token ${leadership.token}`);
        return { leadership, oldKnew };
      }),
    );
    for (const candidate of [bob, cyd]) stage.say(candidate, "is a candidate");
    await sleep(stage.ttlMs / 4);

    first.signal.addEventListener("abort", () => stage.say(ada, "knows that it leads no more"), { once: true });
    ada.crash();
    stage.say(ada, "crashes, without resigning");
    const { leadership, oldKnew } = await successor;
    await observed;

    stage.check("a leader crashed and another took over", leadership.isHeld());
    stage.check("the old leader knew it before the new one led", oldKnew && first.signal.aborted);
    stage.check("the new leader's token is larger", leadership.token > first.token);
    stage.check("everybody saw who leads", seen.includes("ada") && ["bob", "cyd"].includes(seen.at(-1) ?? ""));
  },
};
