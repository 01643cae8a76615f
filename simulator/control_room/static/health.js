// How every agent is, as it says itself.

import { store, watch } from "./store.js";
import { $, html, render } from "./ui.js";
import { say, t } from "./words.js";

const yes = (is) => html`<span class=${is ? "good" : "bad"}>${t(is ? "health.yes" : "health.no")}</span>`;
const heard = (agent) => (agent.heardAgoS === null ? t("health.never") : t("health.heard", { seconds: Math.round(agent.heardAgoS) }));
const modes = (agent) => (agent.degraded?.length ? agent.degraded : [agent.mode]).map((one) => say("mode", one)).join(", ");

function facts(agent) {
  if (agent.mode === "OUT_OF_REACH") return [];
  const latency = agent.fixToInstructionMs ?? {};
  return [
    [t("health.since"), String(agent.since).replace("T", " ").slice(0, 19)],
    [t("health.zones"), `${agent.zones} (${agent.zoneSet})`],
    [t("health.broker"), yes(agent.brokerConnected)], [t("health.customs"), yes(agent.customsReachable)],
    [t("health.journal"), agent.journalEntries], [t("health.held"), agent.checkpointHeld ?? "-"],
    [t("health.outbox"), agent.outboxPending], [t("health.latency"), `p50 ${latency.p50 ?? "-"} ms, p99 ${latency.p99 ?? "-"} ms`],
    [t("health.fixes"), Object.entries(agent.fixes ?? {}).map(([name, count]) => `${name} ${count}`).join(", ")],
    [t("health.ports"), Object.entries(agent.serial ?? {}).map(([name, state]) => `${name} ${state}`).join(", ") || "-"],
    [t("health.outputs"), Object.entries(agent.outputs ?? {}).map(([name, one]) => `${name} ${one.measured ?? one.fault}`).join(", ") || "-"],
  ];
}

const block = (agent) => html`<article class="agent ${agent.mode === "NORMAL" ? "" : "degraded"}">
  <h3>${agent.agent} <span class="mode">${modes(agent)}</span> <span class="soft">${heard(agent)}</span></h3>
  <dl>${facts(agent).map(([name, value]) => html`<div><dt>${name}</dt><dd>${value}</dd></div>`)}</dl></article>`;

export const showHealth = () => watch(["agents", "tab"], () => {
  if ($("#health").hidden) return;
  render(store.agents.length ? store.agents.map(block) : html`<p class="empty">${store.answered ? t("health.none") : t("journey.loading")}</p>`, $("#health"));
}, () => 1000);
