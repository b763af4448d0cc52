export { decode, encode } from "./bytes.ts";
export { Conclave, type ConnectOptions, connect } from "./conclave.ts";
export type { Name, WaitOptions } from "./context.ts";
export { CoordinationError, type ErrorCode, isCoordinationError } from "./errors.ts";
export type { Guarded, Hold } from "./hold.ts";
export type { Json } from "./json.ts";
export type { Backend, Connector } from "./ports/backend.ts";
export type { Clock } from "./ports/clock.ts";
export type { CallOptions, Commit, Condition, Entry, KV, Listing, Operation, Revision, Txn } from "./ports/kv.ts";
export type { Atomic, Versioned } from "./recipes/atomic.ts";
export type { Barrier, CloseOptions } from "./recipes/barrier.ts";
export type { Config, ConfigOptions, SetOptions } from "./recipes/config.ts";
export type { Counter } from "./recipes/counter.ts";
export type { DeadLetter, DeadLetterOptions } from "./recipes/dead-letters.ts";
export type { DestructiveQueue } from "./recipes/destructive-queue.ts";
export type { DoubleBarrier, DoubleBarrierOptions } from "./recipes/double-barrier.ts";
export type { CampaignOptions, Election, Leader, Leadership } from "./recipes/election.ts";
export type { Ids, IdsOptions } from "./recipes/ids.ts";
export type { Advertisement, Instance } from "./recipes/instance.ts";
export type { Job, NackOptions } from "./recipes/job.ts";
export type { Latch, LatchOptions } from "./recipes/latch.ts";
export type { JoinOptions, Member, MemberCallbacks, Members, Membership, Roster } from "./recipes/membership.ts";
export type { TopicEvent, TopicGap, TopicMessage } from "./recipes/message.ts";
export type { MultiHold, MultiMutex } from "./recipes/multi-mutex.ts";
export type { AcquireOptions, Contender, Mutex, MutexOptions } from "./recipes/mutex.ts";
export type { Assignment, Partition } from "./recipes/partition.ts";
export type { Partitioner, PartitionerOptions } from "./recipes/partitioner.ts";
export type { Passage } from "./recipes/passage.ts";
export type { Picked, Strategy } from "./recipes/pick.ts";
export type { EnqueueOptions, NewItem, Queue, QueueCounts, QueueOptions } from "./recipes/queue.ts";
export type { ItemOptions } from "./recipes/queue-item.ts";
export type { Registration } from "./recipes/registration.ts";
export type { LockMode, RwContender, RwLock, WriteHold } from "./recipes/rw-lock.ts";
export type { Seat, SeatState } from "./recipes/seat.ts";
export type {
  Permit,
  PermitContender,
  PermitOptions,
  Semaphore,
  SemaphoreOptions,
} from "./recipes/semaphore.ts";
export type {
  InstanceCallbacks,
  Instances,
  InstancesOptions,
  RegisterOptions,
  Service,
  Snapshot,
} from "./recipes/service.ts";
export type {
  ConfigDefaults,
  ConfigInputs,
  ConfigRevisions,
  ConfigSchemas,
  ConfigSnapshot,
  ConfigValues,
} from "./recipes/setting.ts";
export type { SettingsChanged, SettingsWritten, SettingVersion } from "./recipes/setting-versions.ts";
export type { Settings } from "./recipes/settings.ts";
export {
  type InputOf,
  InvalidSettingError,
  type OutputOf,
  type SchemaIssue,
  type StandardSchema,
  type Validation,
} from "./recipes/standard-schema.ts";
export type { Subscription } from "./recipes/subscription.ts";
export type { SubscribeOptions, Topic, TopicOptions, TopicPage, TopicReadOptions } from "./recipes/topic.ts";
export type { TopicKeep } from "./recipes/topic-head.ts";
export type { KeyValue, Transaction, TransactOptions } from "./recipes/transaction.ts";
export type { Replica, View } from "./replica.ts";
export { scoped } from "./scoped.ts";
export type { LiveSession as Session } from "./session.ts";
export { sleep } from "./signals.ts";
export { tokenOf } from "./token.ts";
