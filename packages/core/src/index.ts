export { decode, encode } from "./bytes.ts";
export { Conclave, type ConnectOptions, connect } from "./conclave.ts";
export type { Name, WaitOptions } from "./context.ts";
export { CoordinationError, type ErrorCode, isCoordinationError } from "./errors.ts";
export type { Guarded, Hold } from "./hold.ts";
export type { Json } from "./json.ts";
export type { Backend, Connector, Guarantees, Limits } from "./ports/backend.ts";
export type { Clock } from "./ports/clock.ts";
export type { CallOptions, Commit, Condition, Entry, KV, Listing, Operation, Revision, Txn } from "./ports/kv.ts";
export type { Barrier, CloseOptions } from "./recipes/barriers/barrier.ts";
export type { DoubleBarrier, DoubleBarrierOptions } from "./recipes/barriers/double-barrier.ts";
export type { Latch, LatchOptions } from "./recipes/barriers/latch.ts";
export type { Passage } from "./recipes/barriers/passage.ts";
export type { Config, ConfigOptions, SetOptions } from "./recipes/config/config.ts";
export type {
  ConfigDefaults,
  ConfigInputs,
  ConfigRevisions,
  ConfigSchemas,
  ConfigSnapshot,
  ConfigValues,
} from "./recipes/config/setting.ts";
export type { SettingsChanged, SettingsWritten, SettingVersion } from "./recipes/config/setting-versions.ts";
export type { Settings } from "./recipes/config/settings.ts";
export {
  type InputOf,
  InvalidSettingError,
  type OutputOf,
  type SchemaIssue,
  type StandardSchema,
  type Validation,
} from "./recipes/config/standard-schema.ts";
export type { Advertisement, Instance } from "./recipes/discovery/instance.ts";
export type { Picked, Strategy } from "./recipes/discovery/pick.ts";
export type { Registration } from "./recipes/discovery/registration.ts";
export type {
  InstanceCallbacks,
  Instances,
  InstancesOptions,
  RegisterOptions,
  Service,
  Snapshot,
} from "./recipes/discovery/service.ts";
export type { CampaignOptions, Election, Leader, Leadership } from "./recipes/election.ts";
export type { JoinOptions, Member, MemberCallbacks, Members, Membership, Roster } from "./recipes/groups/membership.ts";
export type { Assignment, Partition } from "./recipes/groups/partition.ts";
export type { Partitioner, PartitionerOptions } from "./recipes/groups/partitioner.ts";
export type { Seat, SeatState } from "./recipes/groups/seat.ts";
export type { MultiHold, MultiMutex } from "./recipes/locks/multi-mutex.ts";
export type { AcquireOptions, Contender, Mutex, MutexOptions } from "./recipes/locks/mutex.ts";
export type { LockMode, RwContender, RwLock, WriteHold } from "./recipes/locks/rw-lock.ts";
export type {
  Permit,
  PermitContender,
  PermitOptions,
  Semaphore,
  SemaphoreOptions,
} from "./recipes/locks/semaphore.ts";
export type { DeadLetter, DeadLetterOptions } from "./recipes/queue/dead-letters.ts";
export type { DestructiveQueue } from "./recipes/queue/destructive-queue.ts";
export type { Job, NackOptions } from "./recipes/queue/job.ts";
export type { EnqueueOptions, NewItem, Queue, QueueCounts, QueueOptions } from "./recipes/queue/queue.ts";
export type { ItemOptions } from "./recipes/queue/queue-item.ts";
export type { TopicEvent, TopicGap, TopicMessage } from "./recipes/topic/message.ts";
export type { Subscription } from "./recipes/topic/subscription.ts";
export type { SubscribeOptions, Topic, TopicOptions, TopicPage, TopicReadOptions } from "./recipes/topic/topic.ts";
export type { TopicKeep } from "./recipes/topic/topic-head.ts";
export type { Atomic, Versioned } from "./recipes/values/atomic.ts";
export type { Counter } from "./recipes/values/counter.ts";
export type { Ids, IdsOptions } from "./recipes/values/ids.ts";
export type { KeyValue, Transaction, TransactOptions } from "./recipes/values/transaction.ts";
export type { Replica, View } from "./replica.ts";
export { scoped } from "./scoped.ts";
export type { LiveSession as Session } from "./session.ts";
export { sleep } from "./signals.ts";
export { tokenOf } from "./token.ts";
