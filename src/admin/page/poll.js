"use strict";
// Asks the relay every second, one question after the other: then one connection is enough, and as many can look as
// the relay has places. Nothing is asked while nobody looks.

const EVERY_MS = 1000;
const PATIENCE_MS = 8000;
const SILENT_MS = 3000;

const asking = { paused: false, busy: false, again: false, timer: 0, heard: null, why: "" };
let samples = [];
let before = null;
let drawn = 0;
let last = null;
const still = matchMedia("(prefers-reduced-motion: reduce)");

async function ask(path) {
  const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE_MS) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(told.error ?? answer.statusText);
  return told;
}

/** What has passed since the figures before these; null for the first ones and where a new relay began with nothing. */
function sample(figures) {
  const now = { at: figures.at_seconds, toServer: figures.passed_bytes.client_to_server, toClient: figures.passed_bytes.server_to_client };
  const [old, span] = [before, before === null ? 0 : now.at - before.at];
  before = now;
  const goesOn = old !== null && span > 0 && span < SILENT_MS / 1000 && now.toServer >= old.toServer && now.toClient >= old.toClient;
  const each = (field) => (goesOn ? (now[field] - old[field]) / span : null);
  return { at: Date.now(), toServer: each("toServer"), toClient: each("toClient") };
}

async function poll() {
  clearTimeout(asking.timer);
  if (asking.busy) {
    asking.again = true;
    return;
  }
  if (asking.paused || document.hidden) return;
  asking.busy = true;
  asking.again = false;
  const began = Date.now();
  try {
    const [status, figures, sessions] = [await ask("/api/status"), await ask("/api/figures"), await ask(sessionsPath())];
    asking.heard = Date.now();
    const latest = sample(figures);
    samples = samples.filter((each) => latest.at - each.at < WINDOW_MS).concat(latest);
    last = figures;
    offerListeners(status.listeners.map((each) => each.name));
    showSummary(status, figures, latest);
    showSessions(sessions);
    if (!still.matches || latest.at - drawn >= 5 * EVERY_MS) drawAll();
  } catch (error) {
    asking.why = error.message;
  }
  asking.busy = false;
  showHeard();
  asking.timer = setTimeout(poll, asking.again ? 0 : Math.max(100, began + EVERY_MS - Date.now()));
}

function drawAll() {
  drawn = Date.now();
  drawThroughput(byId("throughput"), samples, samples.length > 0 ? samples[samples.length - 1].at : drawn);
  if (last !== null) drawLatency(byId("latency"), latencyLines(last));
}

/** Whether the relay answers; the seconds stand beside the sentence, where nobody has them read out. */
function showHeard() {
  const silent = Date.now() - (asking.heard ?? opened);
  const gone = !asking.paused && !document.hidden && silent > SILENT_MS;
  document.body.classList.toggle("stale", gone);
  if (gone) {
    showState(["bad", "✕", "The relay does not answer."]);
    const shown = asking.heard === null ? "" : ` What is shown is of ${clock(asking.heard)}.`;
    write(byId("heard"), `No answer since ${Math.floor(silent / 1000)} s.${shown} It is asked again every second.`);
  } else if (asking.heard !== null) {
    write(byId("heard"), asking.paused ? `Paused: as of ${clock(asking.heard)}.` : `As of ${clock(asking.heard)}, asked every second.`);
  }
}

function togglePause() {
  asking.paused = !asking.paused;
  byId("pause").setAttribute("aria-pressed", String(asking.paused));
  write(byId("pause"), asking.paused ? "Go on" : "Pause");
  // Who has paused has not been left without an answer.
  if (!asking.paused) goOn();
  showHeard();
}

/** After a time in which nothing was asked. */
function goOn() {
  if (asking.heard !== null) asking.heard = Date.now();
  poll();
}

listenToKeys({ togglePause, askNow: poll });
document.addEventListener("visibilitychange", () => !document.hidden && goOn());
new ResizeObserver(drawAll).observe(byId("throughput"));
setInterval(showHeard, EVERY_MS);
poll();
