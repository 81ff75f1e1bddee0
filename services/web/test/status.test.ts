import { describe, expect, it } from "vitest";

import { ContractError } from "../src/chat/contract";
import { advance, EMPTY, type GatewayReport, miss, type Model, parseReport, SAMPLES } from "../src/status/model";

const gateway = (name: string, more: Partial<GatewayReport> = {}): GatewayReport => ({
  gateway: name,
  address: `${name}:3000`,
  connections: 10,
  capacity: 100,
  ready: true,
  draining: false,
  beat: 0,
  deliveries: null,
  lag: null,
  ...more,
});

/** Run answers through the model, two seconds apart. */
function after(...answers: (GatewayReport[] | null)[]): Model {
  return answers.reduce<Model>(
    (model, gateways, index) => (gateways === null ? miss(model) : advance(model, { now: 1000 + index * 2000, gateways })),
    EMPTY,
  );
}

const told = (model: Model) => model.happenings.map(({ gateway: name, text }) => `${name} ${text}`);

describe("the status", () => {
  it("adds the gateways up, and takes the longest lag", () => {
    const model = after([gateway("a", { lag: 0.1 }), gateway("b", { connections: 5, lag: 0.3 })]);
    expect(model.total).toEqual([{ connections: 15, deliveryRate: null, lag: 0.3 }]);
  });

  it("makes a rate of a counter, also across an answer that was missed", () => {
    const model = after([gateway("a", { deliveries: 100 })], null, [gateway("a", { deliveries: 500 })]);
    expect(model.gateways[0]!.samples.map((sample) => sample.deliveryRate)).toEqual([null, null, 100]);
    expect(model.total.map((sample) => sample.connections)).toEqual([10, null, 10]);
  });

  it("shows no rate when a counter starts over", () => {
    const model = after([gateway("a", { deliveries: 100 })], [gateway("a", { deliveries: 3 })]);
    expect(model.gateways[0]!.samples.at(-1)!.deliveryRate).toBeNull();
  });

  it("tells what has happened, the newest first", () => {
    const model = after(
      [gateway("a"), gateway("b")],
      [gateway("a", { draining: true, ready: false }), gateway("b", { ready: false })],
      [gateway("b"), gateway("c")],
      [gateway("c")],
    );
    expect(told(model)).toEqual([
      "b is gone",
      "b is ready",
      "c has joined",
      "a has drained and left",
      "a has begun to drain",
      "b is not ready",
    ]);
    expect(model.gateways.map((item) => [item.report.gateway, item.state])).toEqual([
      ["c", "ready"],
      ["b", "gone"],
      ["a", "gone"],
    ]);
    expect(model.total.at(-1)!.connections).toBe(10);
  });

  it("forgets a gateway that has long been gone, and old samples", () => {
    const model = after([gateway("a"), gateway("b")], ...Array.from({ length: 160 }, () => [gateway("b")]));
    expect(model.gateways.map((item) => item.report.gateway)).toEqual(["b"]);
    expect(model.total).toHaveLength(SAMPLES);
  });

  it("takes the server's answer, with or without deliveries and lag", () => {
    const { deliveries: _deliveries, lag: _lag, ...plain } = gateway("a");
    expect(parseReport({ now: 5, gateways: [plain] })).toEqual({ now: 5, gateways: [gateway("a")] });
    const full = { ...plain, deliveries_total: 7, bus_lag_seconds: 0.5 };
    expect(parseReport({ now: 5, gateways: [full] }).gateways[0]).toMatchObject({ deliveries: 7, lag: 0.5 });
    for (const wrong of [null, {}, { now: 1 }, { now: 1, gateways: [{}] }]) {
      expect(() => parseReport(wrong)).toThrow(ContractError);
    }
  });
});
