"use strict";
// The two charts, as SVG: no more is drawn than what the figures say, and a gap stays a gap.

const WINDOW_MS = 5 * 60 * 1000;
const MARGIN = { left: 74, right: 14, top: 12, bottom: 30 };
// Room between percentiles is by nines; the longest stands one nine behind the last.
const PERCENTS = [[50, "50 %"], [90, "90 %"], [99, "99 %"], [99.9, "99.9 %"], [99.99, "99.99 %"], [100, "longest"]];

/** An SVG element within another. */
function draw(parent, tag, attributes, text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  if (text !== undefined) element.textContent = text;
  parent.append(element);
  return element;
}

/** Empties a chart; its room inside the margins. */
function begin(svg) {
  const { width, height } = svg.getBoundingClientRect();
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  svg.replaceChildren();
  const { left, right, top, bottom } = MARGIN;
  return { left, top, right: width - right, bottom: height - bottom };
}

function gridLine(svg, room, y, label) {
  draw(svg, "line", { class: "grid", x1: room.left, x2: room.right, y1: y, y2: y });
  draw(svg, "text", { x: room.left - 8, y: y + 5, "text-anchor": "end" }, label);
}

/** A round number without a fraction of noughts. */
const plain = ([number, unit]) => (parseFloat(number) === 0 ? "0" : `${parseFloat(number)} ${unit}`);

/** The next of 1, 2, 4, 8, 10 times a power of ten: all of them part in four. */
function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(Math.max(value, 1000)));
  return [1, 2, 4, 8, 10].find((step) => step * power >= value) * power;
}

/** Samples are `{at, toServer, toClient}`; null where nobody knows. */
function drawThroughput(svg, samples, now) {
  const room = begin(svg);
  if (room.right <= room.left) return;
  const most = samples.reduce((most, each) => Math.max(most, each.toServer, each.toClient), 0);
  const top = ceiling(most);
  const y = (value) => room.bottom - (value / top) * (room.bottom - room.top);
  const x = (at) => room.right - ((now - at) / WINDOW_MS) * (room.right - room.left);
  for (const part of [0, 0.25, 0.5, 0.75, 1]) gridLine(svg, room, y(part * top), plain(rate(part * top)));
  for (const minutes of [5, 4, 3, 2, 1, 0]) {
    const anchor = minutes === 5 ? "start" : minutes === 0 ? "end" : "middle";
    const narrow = room.right - room.left < 400;
    const label = minutes === 0 ? "now" : narrow && ![5, 3].includes(minutes) ? "" : `−${minutes} min`;
    draw(svg, "text", { x: x(now - minutes * 60000), y: room.bottom + 21, "text-anchor": anchor }, label);
  }
  for (const run of runs(samples)) {
    const line = (field) => run.map((each) => `${x(each.at).toFixed(1)},${y(each[field]).toFixed(1)}`).join("L");
    const [first, last] = [x(run[0].at).toFixed(1), x(run[run.length - 1].at).toFixed(1)];
    draw(svg, "path", { class: "area", d: `M${first},${room.bottom}L${line("toServer")}L${last},${room.bottom}Z` });
    draw(svg, "path", { class: "to-server", d: `M${line("toServer")}` });
    draw(svg, "path", { class: "to-client", d: `M${line("toClient")}` });
  }
}

/** The samples from gap to gap. */
function runs(samples) {
  const all = [[]];
  for (const each of samples) {
    if (each.toServer === null) all.push([]);
    else all[all.length - 1].push(each);
  }
  return all.filter((run) => run.length > 0);
}

/** Lines are `{name, times}`; times as the API tells them, or null. */
function drawLatency(svg, lines) {
  const room = begin(svg);
  if (room.right <= room.left) return;
  const nines = (percent) => (percent === 100 ? 5 : -Math.log10(1 - percent / 100));
  const x = (percent) => room.left + (nines(percent) / 5) * (room.right - room.left);
  const known = lines.filter((line) => line.times !== null);
  const all = known.flatMap((line) => line.times.points.map((point) => Math.max(point.seconds, 1e-7)));
  const least = Math.min(-6, ...all.map((seconds) => Math.floor(Math.log10(seconds))));
  const most = Math.max(-2, ...all.map((seconds) => Math.ceil(Math.log10(seconds))));
  const y = (seconds) => room.bottom - ((Math.log10(Math.max(seconds, 1e-7)) - least) / (most - least)) * (room.bottom - room.top);
  for (let power = least; power <= most; power += 1) {
    gridLine(svg, room, y(10 ** power), plain(time(10 ** power)));
  }
  const narrow = room.right - room.left < 400;
  for (const [percent, label] of PERCENTS) {
    draw(svg, "line", { class: "grid", x1: x(percent), x2: x(percent), y1: room.top, y2: room.bottom });
    const anchor = percent === 100 ? "end" : "middle";
    if (!narrow || [50, 99, 100].includes(percent)) draw(svg, "text", { x: x(percent), y: room.bottom + 21, "text-anchor": anchor }, label);
  }
  for (const { name, times } of known) {
    const at = times.points.map((point) => [x(point.percent), y(point.seconds)]);
    draw(svg, "path", { class: name, d: `M${at.map((pair) => pair.map((value) => value.toFixed(1)).join(",")).join("L")}` });
    for (const [percent] of PERCENTS) {
      const index = times.points.findIndex((point) => point.percent === percent);
      if (index >= 0) drawMark(svg, name, ...at[index]);
    }
  }
}

/** Each line has marks of its own shape. */
function drawMark(svg, name, x, y) {
  const marks = {
    "to-server": () => draw(svg, "circle", { class: "mark to-server", cx: x, cy: y, r: 4 }),
    "to-client": () => draw(svg, "rect", { class: "mark to-client", x: x - 4, y: y - 4, width: 8, height: 8 }),
    connect: () => draw(svg, "rect", { class: "mark connect", x: x - 4, y: y - 4, width: 8, height: 8, transform: `rotate(45 ${x} ${y})` }),
  };
  marks[name]();
}
