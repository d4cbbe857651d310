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
