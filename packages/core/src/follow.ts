export { Replica as Follower, type View } from "./replica.ts";
