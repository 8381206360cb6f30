"use strict";
// The table of sessions: which are asked for, which of them are shown, and in which order.

const MOST_SESSIONS = 200;
const WHY = { window: "does not read", unacknowledged: "does not acknowledge", pipe: "has no pipe" };

// Each with its head, its class, what it is sorted by, and what is shown of it.
const COLUMNS = [
  { head: "Client", kind: "address", by: (one) => one.client },
  { head: "Server", kind: "address", by: (one) => one.server },
  { head: "Listener", kind: "name", by: (one) => one.listener },
  { head: "Age", kind: "age number", upwards: "newest", by: (one) => one.age_seconds, show: (value) => [lasting(value), ""] },
  { head: "Rate to server", kind: "size number", order: "rate", by: (one) => one.client_to_server.bytes_per_second, show: rate },
  { head: "Rate to client", kind: "size number", order: "rate", by: (one) => one.server_to_client.bytes_per_second, show: rate },
  { head: "Sent to server", kind: "size number exact", order: "bytes", by: (one) => one.client_to_server.bytes, show: bytes },
  { head: "Sent to client", kind: "size number exact", order: "bytes", by: (one) => one.server_to_client.bytes, show: bytes },
  { head: "RTT client", kind: "time number", by: (one) => one.downstream.rtt_seconds, show: time },
  { head: "RTT server", kind: "time number", by: (one) => one.upstream.rtt_seconds, show: time },
  { head: "Sent again", kind: "count number", by: (one) => one.downstream.retransmits + one.upstream.retransmits, show: (value) => [count(value), ""] },
  { head: "State", kind: "state", by: stuckFor },
];

const sorting = { column: COLUMNS[3], down: true };
let listed = { sessions: [], live: 0, more: false };

function stuckFor(one) {
  return one.stuck.reduce((longest, each) => Math.max(longest, each.for_seconds), 0);
}

function stateOf(one) {
  const [worst] = one.stuck;
  if (worst) return `stuck ${lasting(worst.for_seconds)}: ${worst.side} ${WHY[worst.why] ?? worst.why}`;
  const moves = one.client_to_server.bytes_per_second + one.server_to_client.bytes_per_second;
  return one.client_to_server.bytes === null ? "not told" : moves > 0 ? "moves" : "idle";
}

/** What is asked for. An address that is whole is looked for by the relay, parts of one among what it tells. */
function sessionsPath() {
  const query = new URLSearchParams({ limit: MOST_SESSIONS, order: (sorting.down ? sorting.column.order : sorting.column.upwards) ?? "oldest" });
  if (byId("listener").value) query.set("listener", byId("listener").value);
  if (byId("only-stuck").checked) query.set("stuck", "true");
  for (const end of ["client", "server"]) {
    const text = byId(end).value.trim();
    if (isAddress(text)) query.set(end, text);
  }
  return `/api/sessions?${query}`;
}

function isAddress(text) {
  if (text.includes(":")) return URL.canParse(`http://[${text}]/`);
  const parts = text.split(".");
  return parts.length === 4 && parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) < 256);
}

function matches(one) {
  const has = (end) => isAddress(byId(end).value.trim()) || one[end].includes(byId(end).value.trim());
  const named = byId("listener").value;
  return has("client") && has("server") && (!named || one.listener === named) && (!byId("only-stuck").checked || one.stuck.length > 0);
}

function inOrder(one, other) {
  const [left, right] = [sorting.column.by(one), sorting.column.by(other)];
  const order = typeof left === "string" ? left.localeCompare(right, "en", { numeric: true }) : (left ?? -1) - (right ?? -1);
  return (sorting.down ? -order : order) || one.id.localeCompare(other.id, "en", { numeric: true });
}

function showSessions(told) {
  listed = told;
  const shown = told.sessions.filter(matches).sort(inOrder);
  const body = byId("table").tBodies[0];
  const kept = new Map(Array.from(body.rows, (row) => [row.dataset.id, row]));
  shown.forEach((one, index) => {
    const row = kept.get(one.id) ?? newRow(one.id);
    kept.delete(one.id);
    if (body.rows[index] !== row) body.insertBefore(row, body.rows[index] ?? null);
    COLUMNS.forEach((column, nth) => writeCell(row.cells[nth], column, one));
  });
  for (const row of kept.values()) row.remove();
  const among = told.more ? `, among the first ${count(told.sessions.length)}` : "";
  write(byId("matching"), `${count(shown.length)} of ${count(told.live)} shown${among}`);
  write(byId("none"), shown.length > 0 ? "" : told.live === 0 ? "No session runs." : "No session that runs is like that.");
}

function newRow(id) {
  const row = make("tr");
  row.dataset.id = id;
  row.setAttribute("role", "row");
  for (const column of COLUMNS) {
    const cell = row.insertCell();
    cell.className = column.kind;
    cell.dataset.head = column.head;
    cell.setAttribute("role", "cell");
    if (!column.show) cell.append(make("span"));
  }
  return row;
}

function writeCell(cell, column, one) {
  const value = column.by(one);
  if (column.show) {
    const exact = column.kind.endsWith("exact") && value !== null ? `${count(value)} bytes` : undefined;
    writeFigure(cell, column.show(value), exact);
  } else if (column.kind === "address") {
    // Where there is no room for both, the port has a line of its own.
    const port = value.lastIndexOf(":");
    if (cell.childElementCount !== 2) cell.replaceChildren(make("span"), make("span", "port"));
    write(cell.children[0], value.slice(0, port));
    write(cell.children[1], value.slice(port));
  } else {
    const stuck = column.kind === "state" && one.stuck.length > 0;
    if (stuck !== (cell.firstElementChild.tagName === "STRONG")) cell.replaceChildren(make(stuck ? "strong" : "span"));
    write(cell.firstElementChild, column.kind === "state" ? stateOf(one) : value);
  }
}

/** The heads of the columns, once; sorted by click and by Enter, as buttons are. */
function makeHeads() {
  const row = byId("table").tHead.rows[0];
  for (const column of COLUMNS) {
    const head = make("th", column.kind);
    const button = make("button", "", column.head);
    const arrow = make("span", "arrow");
    button.type = "button";
    arrow.setAttribute("aria-hidden", "true");
    button.append(arrow);
    button.addEventListener("click", () => sortBy(column));
    head.scope = "col";
    head.setAttribute("role", "columnheader");
    head.append(button);
    row.append(head);
  }
  showSorting();
}

function sortBy(column) {
  // Of what is counted, most people look for the most.
  sorting.down = sorting.column === column ? !sorting.down : Boolean(column.show) || column.kind === "state";
  sorting.column = column;
  showSorting();
  showSessions(listed);
}

function showSorting() {
  COLUMNS.forEach((column, index) => {
    const head = byId("table").tHead.rows[0].cells[index];
    const chosen = column === sorting.column;
    head.setAttribute("aria-sort", !chosen ? "none" : sorting.down ? "descending" : "ascending");
    write(head.querySelector(".arrow"), !chosen ? "" : sorting.down ? "▼" : "▲");
  });
}

/** The listeners that can be chosen, when they have changed. */
function offerListeners(names) {
  const select = byId("listener");
  const offered = Array.from(select.options, (option) => option.value).slice(1);
  if (offered.join("\n") === names.join("\n")) return;
  const chosen = select.value;
  const options = names.map((name) => {
    const option = make("option", "", name);
    option.value = name;
    return option;
  });
  select.replaceChildren(select.options[0], ...options);
  select.value = names.includes(chosen) ? chosen : "";
}
