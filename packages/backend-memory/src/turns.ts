import { setImmediate } from "node:timers"; // imported, so that faking the global timers does not stop a virtual clock

/** A program that goes on for this many turns without a pause is one that waits for time to pass. */
const patientTurns = 20;

let givenWay = 0;

/** One turn of the event loop, which ends every chain of promises, however long. */
function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}

/** Lets timers and everybody else have a turn in the middle of many calls. */
export async function giveWay(): Promise<void> {
  givenWay += 1;
  await turn();
}

/** Until the program has nothing left to do: two turns in a row in which no store gave way. */
export async function settled(): Promise<void> {
  for (let turns = 0, quiet = 0; quiet < 2 && turns < patientTurns; turns += 1) {
    const before = givenWay;
    await turn();
    quiet = givenWay === before ? quiet + 1 : 0;
  }
}
