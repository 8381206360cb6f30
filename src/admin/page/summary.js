"use strict";
// All but the sessions: the sentence, the tiles, the percentiles, the rules, the limits.

const opened = Date.now();
// What was known last of INVALID: its figure, and when it was seen to rise.
const invalid = { value: null, rose: null };
const RISING_MS = 60000;

/** Takes note of a rise; what is to be said of it. */
function invalidSaid(conntrack, now) {
  const value = conntrack.invalid;
  if (value === null) return `What conntrack rejects is not known here: ${conntrack.invalid_unknown}.`;
  if (invalid.value !== null && value > invalid.value) invalid.rose = now;
  invalid.value = value;
  if (value === 0) return "Conntrack has rejected nothing.";
  const last = invalid.rose === null ? `none since ${clock(opened)}` : `the last seen at ${clock(invalid.rose)}`;
  return `Conntrack has rejected ${plural(value, "packet", "packets")} since its start, ${last}.`;
}

/** How the relay does: a class, a mark, and what it comes to. */
function verdict(status, figures, now) {
  const rejected = invalidSaid(status.conntrack, now);
  if (!status.ready) {
    // The figure in `not_ready` changes with every second, and who has it read out would hear nothing else.
    const why = status.rules.standing === "missing" && !status.draining ? `the rules are missing: ${status.rules.why}` : status.not_ready;
    return ["bad", "✕", `Not ready: ${why}. ${rejected}`];
  }
  if (figures.threads_silent > 0) return ["warn", "!", `The relay is ready, but ${plural(figures.threads_silent, "thread does", "threads do")} not answer. ${rejected}`];
  if (figures.stuck > 0) return ["warn", "!", `The relay is ready, but ${plural(figures.stuck, "direction is", "directions are")} stuck. ${rejected}`];
  const rising = invalid.rose !== null && now - invalid.rose < RISING_MS;
  return rising ? ["warn", "!", `The relay is ready, but look: ${rejected}`] : ["good", "✓", `The relay is ready. ${rejected}`];
}

function showState([kind, mark, sentence]) {
  byId("state").className = kind;
  write(byId("mark"), mark);
  write(byId("sentence"), sentence);
}

function showSummary(status, figures, latest) {
  showState(verdict(status, figures, Date.now()));
  write(byId("about"), `${status.version}, process ${status.pid}, up ${lasting(status.uptime_seconds)}, ${plural(status.workers, "worker", "workers")}, engine ${status.engine}`);
  const exact = (value) => `${count(value)} bytes`;
  const passed = figures.passed_bytes;
  writeFigure(byId("rate-to-server"), rate(latest.toServer));
  writeFigure(byId("rate-to-client"), rate(latest.toClient));
  writeTotal("total-to-server", passed.client_to_server, exact);
  writeTotal("total-to-client", passed.server_to_client, exact);
  writeFigure(byId("live"), [count(status.sessions), ""]);
  write(byId("ended"), `${count(figures.closed + figures.aborted)} ended, ${count(figures.aborted)} cut`);
  byId("ended").title = `aborted, of those that have ended: ${count(figures.aborted)}`;
  writeFigure(byId("invalid"), invalid.value === null ? ["–", ""] : [count(invalid.value), invalid.value === 1 ? "packet" : "packets"]);
  write(byId("invalid-note"), reasons(status.conntrack));
  const connect = (percent) => time(secondsAt(figures.connect, percent));
  writeFigure(byId("connect"), connect(50));
  write(byId("connect-tail"), figures.connect === null ? "no dial yet" : `99 %: ${connect(99).join(" ")}`);
  writeFigure(byId("stuck"), [count(figures.stuck), figures.stuck === 1 ? "direction" : "directions"]);
  write(byId("stuck-note"), figures.dial_failures === 0 ? "no dial has failed" : plural(figures.dial_failures, "dial failed", "dials failed"));
  showPercentiles(figures);
  showRules(status);
  showLimits(status);
  write(byId("settings"), status.settings);
}

function writeTotal(id, value, exact) {
  write(byId(id), `${bytes(value).join(" ")} in all`);
  byId(id).title = exact(value);
}

/** The most frequent reason, where reasons are known. */
function reasons(conntrack) {
  if (conntrack.invalid === null) return "not known here";
  const named = Object.entries(conntrack.reasons ?? {}).filter(([, times]) => times > 0);
  named.sort(([, one], [, other]) => other - one);
  return named.length === 0 ? "by conntrack" : named.slice(0, 2).map(([name, times]) => `${name} ${count(times)}`).join(", ");
}

function secondsAt(times, percent) {
  return times === null ? null : times.points.find((point) => point.percent === percent).seconds;
}

/** What the chart draws, too. */
function latencyLines(figures) {
  return [
    { name: "to-server", label: "to the server", times: figures.added.client_to_server },
    { name: "to-client", label: "to the client", times: figures.added.server_to_client },
    { name: "connect", label: "connect", times: figures.connect },
  ];
}

function showPercentiles(figures) {
  const legs = [["RTT, client", figures.legs.downstream.rtt], ["RTT, server", figures.legs.upstream.rtt]];
  const rows = latencyLines(figures).concat(legs.map(([label, times]) => ({ label, times })));
  const body = byId("percentiles").tBodies[0];
  rows.forEach(({ name, label, times }, index) => {
    if (body.rows.length <= index) {
      const row = body.insertRow();
      const head = make("th");
      head.scope = "row";
      if (name) head.append(make("i", `line ${name}`));
      head.append(label);
      row.append(head, ...[50, 90, 99, 99.9, 100].map(() => make("td")));
    }
    [50, 90, 99, 99.9, 100].forEach((percent, nth) => writeFigure(body.rows[index].cells[nth + 1], time(secondsAt(times, percent))));
  });
}

function showRules(status) {
  const { standing, since_seconds: since, why } = status.rules;
  const [kind, text] = {
    not_needed: ["good", "✓ None are needed: clients connect to the relay itself."],
    somebody_elses: ["warn", "! They are somebody else's, and are not looked at."],
    in_place: ["good", `✓ Verified in place for ${lasting(since ?? 0)}, and watched.`],
    missing: ["bad", `✕ Missing for ${lasting(since ?? 0)}: ${why}`],
  }[standing];
  byId("rules").className = `verdict ${kind}`;
  showParts(status.rules.parts);
  write(byId("rules"), text);
  const mark = { not_needed: "no rule needed", somebody_elses: "? not looked at", in_place: "✓ rules verified", missing: "✕ rules missing" }[standing];
  const list = byId("listeners");
  while (list.children.length > status.listeners.length) list.lastElementChild.remove();
  status.listeners.forEach((each, index) => {
    const item = list.children[index] ?? list.appendChild(make("li"));
    if (item.childElementCount === 0) item.append(make("b"), make("div"), make("div", "quiet"));
    const limit = each.max_connections === null ? "" : ` of ${count(each.max_connections)}`;
    write(item.children[0], each.name);
    write(item.children[1], each.way);
    const own = each.mode === "forward" ? "no rule needed" : mark;
    write(item.children[2], `${each.mode}, ${own}, profile ${each.profile}, ${count(each.sessions)}${limit} sessions`);
  });
}

/** Each rule with its mark; opened by itself when one is missing. */
function showParts(parts) {
  const details = byId("parts");
  const list = details.querySelector("ul");
  const missing = parts.filter((part) => !part.in_place).length;
  details.hidden = parts.length === 0;
  if (missing > 0) details.open = true;
  write(details.querySelector("summary"), `${plural(parts.length, "rule or route", "rules and routes")}, ${missing === 0 ? "each verified" : `${count(missing)} missing`}`);
  while (list.children.length > parts.length) list.lastElementChild.remove();
  parts.forEach((part, index) => {
    const item = list.children[index] ?? list.appendChild(make("li"));
    if (item.childElementCount === 0) item.append(make("b"), make("code"));
    item.className = part.in_place ? "good" : "bad";
    write(item.children[0], part.in_place ? "✓ verified" : "✕ missing");
    write(item.children[1], part.rule);
  });
}

function showLimits(status) {
  const { limits, pipes, conntrack } = status;
  const number = (value) => count(value);
  const size = (value) => bytes(value).join(" ");
  const rows = [
    ["Sessions", status.sessions, limits.max_connections, number],
    ["Memory of pipes", pipes.capacity_bytes, pipes.budget_bytes, size],
    ["Conntrack entries", conntrack.entries, conntrack.entries_limit, number],
    ["Descriptors", null, limits.max_descriptors, number],
  ];
  const list = byId("limits");
  rows.forEach(([name, value, most, show], index) => {
    const row = list.children[index] ?? list.appendChild(make("div"));
    if (row.childElementCount === 0) {
      const bar = make("div", "bar");
      bar.append(make("i"));
      row.append(make("dt", "", name), make("dd"), bar);
    }
    const limited = most !== null && most !== undefined;
    const known = value !== null && value !== undefined;
    const part = limited && known ? value / most : 0;
    row.className = part > 0.9 ? "near" : "";
    const near = part > 0.9 ? "near its limit: " : "";
    const limit = limited ? show(most) : "no limit";
    write(row.children[1], known ? `${near}${show(value)}${limited ? " of " : ", "}${limit}` : limited ? `at most ${limit}` : "not known here");
    row.children[2].hidden = !(limited && known);
    row.children[2].firstElementChild.style.width = `${Math.min(100, part * 100).toFixed(1)}%`;
  });
}
