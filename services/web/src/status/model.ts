/**
 * What the status page knows: the last minutes of every gateway, made of the answers of `/status.json`.
 *
 * Counters become rates here. A gateway that is no longer named stays on the page for a while, as gone.
 */

import { ContractError } from "../chat/contract";

/** One gateway as `/status.json` describes it. Times are milliseconds since the Unix epoch. */
export interface GatewayReport {
  readonly gateway: string;
  readonly address: string;
  readonly connections: number;
  readonly capacity: number;
  readonly ready: boolean;
  readonly draining: boolean;
  /** When it last said that it lives. */
  readonly beat: number;
  /** Events written to sockets since its start; null when the server does not say. */
  readonly deliveries: number | null;
  /** How far its event stream is behind, in seconds; null when the server does not say. */
  readonly lag: number | null;
}

export interface Report {
  readonly now: number;
  readonly gateways: readonly GatewayReport[];
}

/** A moment's values; null where there was no answer. */
export interface Sample {
  readonly connections: number | null;
  /** Events written a second since the sample before. */
  readonly deliveryRate: number | null;
  readonly lag: number | null;
}

export type State = "ready" | "not ready" | "draining" | "gone";

export interface GatewayHistory {
  readonly report: GatewayReport;
  readonly state: State;
  /** Oldest first, at most `SAMPLES`. */
  readonly samples: readonly Sample[];
  /** When it was last named. */
  readonly seen: number;
}

/** Something that happened, for the log. */
export interface Happening {
  readonly at: number;
  readonly gateway: string;
  readonly text: string;
}

/** How often the page asks, in milliseconds. */
export const POLL_MS = 2_000;
/** How many samples are kept: five minutes. */
export const SAMPLES = 150;
/** How long a gateway that is gone stays on the page. */
const GONE_MS = 5 * 60_000;
/** How many happenings are kept. */
const HAPPENINGS = 50;
const NOTHING: Sample = { connections: null, deliveryRate: null, lag: null };

export interface Model {
  readonly now: number;
  readonly gateways: readonly GatewayHistory[];
  readonly total: readonly Sample[];
  /** Newest first. */
  readonly happenings: readonly Happening[];
}

export const EMPTY: Model = { now: 0, gateways: [], total: [], happenings: [] };

/** Add an answer to what is known. */
export function advance(model: Model, report: Report): Model {
  const { now } = report;
  const first = model.now === 0;
  const happenings: Happening[] = [];
  const known = new Map(model.gateways.map((item) => [item.report.gateway, item]));
  const gateways = report.gateways.map((current) => {
    const before = known.get(current.gateway);
    known.delete(current.gateway);
    const state = stateOf(current);
    if (!first && before?.state !== state) {
      happenings.push({ at: now, gateway: current.gateway, text: tell(before?.state, state) });
    }
    return { report: current, state, samples: push(before?.samples, sampleOf(current, before, now)), seen: now };
  });
  for (const missing of known.values()) {
    if (missing.state !== "gone") {
      happenings.push({ at: now, gateway: missing.report.gateway, text: tell(missing.state, "gone") });
    }
    if (now - missing.seen > GONE_MS) continue;
    gateways.push({ ...missing, state: "gone", samples: push(missing.samples, NOTHING) });
  }
  return {
    now,
    gateways,
    total: push(model.total, sum(gateways)),
    happenings: [...happenings, ...model.happenings].slice(0, HAPPENINGS),
  };
}

/** There was no answer: the charts show a gap. */
export function miss(model: Model): Model {
  return {
    ...model,
    gateways: model.gateways.map((item) => ({ ...item, samples: push(item.samples, NOTHING) })),
    total: push(model.total, NOTHING),
  };
}

function stateOf(report: GatewayReport): State {
  if (report.draining) return "draining";
  return report.ready ? "ready" : "not ready";
}

function tell(before: State | undefined, now: State): string {
  if (before === undefined) return now === "ready" ? "has joined" : `has joined, ${now}`;
  if (now === "gone") return before === "draining" ? "has drained and left" : "is gone";
  if (now === "draining") return "has begun to drain";
  if (now === "ready") return before === "draining" ? "serves again: its drain was called off" : "is ready";
  return "is not ready";
}

function sampleOf(report: GatewayReport, before: GatewayHistory | undefined, now: number): Sample {
  const counted = before?.report.deliveries ?? null;
  const seconds = before === undefined ? 0 : (now - before.seen) / 1000;
  const known = report.deliveries !== null && counted !== null && seconds > 0 && report.deliveries >= counted;
  return {
    connections: report.connections,
    deliveryRate: known ? (report.deliveries - counted) / seconds : null,
    lag: report.lag,
  };
}

function sum(gateways: readonly GatewayHistory[]): Sample {
  const latest = gateways.filter((item) => item.state !== "gone").map((item) => item.samples.at(-1)!);
  const add = (values: (number | null)[]): number | null =>
    values.some((value) => value !== null) ? values.reduce<number>((all, value) => all + (value ?? 0), 0) : null;
  const lags = latest.flatMap(({ lag }) => (lag === null ? [] : [lag]));
  return {
    connections: add(latest.map(({ connections }) => connections)) ?? 0,
    deliveryRate: add(latest.map(({ deliveryRate }) => deliveryRate)),
    lag: lags.length === 0 ? null : Math.max(...lags),
  };
}

function push(samples: readonly Sample[] | undefined, sample: Sample): readonly Sample[] {
  return [...(samples ?? []), sample].slice(-SAMPLES);
}

/** Read the answer of `/status.json`. */
export function parseReport(value: unknown): Report {
  const { now, gateways } = object(value);
  if (typeof now !== "number" || !Array.isArray(gateways)) throw new ContractError("the status has another shape");
  return { now, gateways: gateways.map(parseGateway) };
}

function parseGateway(value: unknown): GatewayReport {
  const from = object(value);
  const number = (key: string): number => {
    const found = from[key];
    if (typeof found !== "number") throw new ContractError(`status: ${key} is not a number`);
    return found;
  };
  const optional = (key: string): number | null => (from[key] == null ? null : number(key));
  return {
    gateway: String(from["gateway"]),
    address: String(from["address"]),
    connections: number("connections"),
    capacity: number("capacity"),
    ready: from["ready"] === true,
    draining: from["draining"] === true,
    beat: number("beat"),
    deliveries: optional("deliveries_total"),
    lag: optional("bus_lag_seconds"),
  };
}

function object(value: unknown): Record<string, unknown> {
  if (typeof value !== "object" || value === null) throw new ContractError("the status has another shape");
  return value as Record<string, unknown>;
}
