/** What the lab refused; `code` is as HTTP has them. */
export class LabError extends Error {
  readonly code: number;
}

/** Which messages a rule of faults is about. */
export interface Where {
  subject?: string;
  api?: string;
  client?: string;
  account?: string;
}

/** A server with JetStream on free ports of this machine, which is gone, with what it stored, after `stop`. */
export class JetKV {
  /** Starts a server. */
  static start(): Promise<JetKV>;
  /** Where clients connect. */
  readonly url: string;
  /** Ends the server, and removes all that it stored. */
  stop(): Promise<void>;
  /** Any request to the lab; gives the answer. */
  request(group: string, verb: string, body?: object): Promise<Record<string, unknown>>;
  /** Lets time pass: text such as "1h30m", or milliseconds. */
  advance(by: string | number): Promise<Record<string, unknown>>;
  /** Takes away all that is stored, the faults and the journal; the clock runs with the system's again. */
  reset(): Promise<Record<string, unknown>>;
  /** Adds a rule of faults; gives its number. */
  fault(kind: string, where?: Where, fields?: object): Promise<number>;
  /** Takes the rules of faults away. */
  clearFaults(): Promise<void>;
}
