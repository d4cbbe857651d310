export interface EmulatorOptions {
  /** Queues, each as for `cf-queues emulator --queue`: `orders,max_retries=1`. By default one, `queue-1`. */
  queues?: string[];
  /** Whether the clock stands still until `advance()`; true by default. */
  frozen?: boolean;
  /** More arguments of `cf-queues emulator`. */
  args?: string[];
}

export interface QueuedMessage {
  id: string;
  state: 'visible' | 'delayed' | 'leased';
  attempts: number;
  timestamp_ms: number;
  /** When the lease or the delay ends. */
  visible_at_ms?: number;
  content_type: string;
  body: string;
  /** The size of the whole body; `body` may be only its start. */
  body_bytes: number;
}

/** A message with any content type, and with a past. */
export interface Seed {
  /** Any JSON value for `json`, text for `text`, base64 for `bytes` and `v8`. */
  body: unknown;
  /** By default `json`. */
  content_type?: 'json' | 'text' | 'bytes' | 'v8';
  /** How often it was delivered before. */
  attempts?: number;
  /** In seconds. */
  age?: number;
  /** In seconds. */
  delay?: number;
  /** How many such messages; 1 by default. */
  times?: number;
}

export interface Fault {
  /** Such as `server_error`; the README of cf-queues has all of them. */
  fault: string;
  /** The operations that it is for, such as `ack_messages`; by default all. */
  operations?: string[];
  /** How many requests it is for; 1 by default. */
  times?: number;
  /** Fields of the fault, such as `status`. */
  [field: string]: unknown;
}

/** An emulator that runs. */
export interface Emulator {
  /** The id of its process. */
  pid: number;
  /** The page to watch. */
  url: string;
  /** What clients need. */
  baseURL: string;
  apiToken: string;
  accountId: string;
  /** The id of each queue, by its name. */
  queues: Record<string, string>;
  /** The messages of a queue, by its name or id, without leasing them. */
  messages(queue: string): Promise<QueuedMessage[]>;
  /** Puts messages into a queue as a Worker would send them. */
  seed(queue: string, ...messages: Seed[]): Promise<unknown>;
  /** Moves the clock. */
  advance(seconds: number): Promise<unknown>;
  /** Makes requests fail. */
  fault(fault: Fault): Promise<unknown>;
  /** Removes all messages and faults. */
  reset(): Promise<unknown>;
  /** Ends it, and waits until it has ended. Without, it ends with this process. */
  stop(): Promise<void>;
}

/** Starts an emulator on a free port. It is ready when the promise is. */
export function startEmulator(options?: EmulatorOptions): Promise<Emulator>;
