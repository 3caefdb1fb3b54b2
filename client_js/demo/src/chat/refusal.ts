/** Errors as sentences for people: what happened and what to do. */

import { Refused } from "@backchannel/client";

export interface Explained {
  readonly code: string;
  readonly title: string;
  readonly cure: string;
  /** Whether the same request can succeed later, unchanged. */
  readonly retry: boolean;
}

const CURES: Readonly<Record<string, string>> = {
  conflict: "Choose something else, or load the page again to see how things stand.",
  forbidden: "You may not do this here. Ask a member of the channel.",
  limit_exceeded: "Let go of something first, such as a channel that you no longer need.",
  not_found: "It may be private, or gone. Choose another channel from the list.",
  too_large: "Make it shorter, then try again.",
  unauthenticated: "Choose your user again.",
};

/** Explain whatever a call failed with. An error that is no refusal means that the connection went. */
export function explain(error: unknown): Explained {
  if (!(error instanceof Refused)) {
    return {
      code: "closed",
      title: "There is no connection.",
      cure: "Try again when it is back.",
      retry: true,
    };
  }
  const wait =
    error.retryAfter === undefined ? "in a moment" : `in ${Math.max(1, Math.ceil(error.retryAfter))} s`;
  return {
    code: error.code,
    title: error.message,
    cure: error.retry ? `Try again ${wait}.` : (CURES[error.code] ?? "Change it, then try again."),
    retry: error.retry,
  };
}
