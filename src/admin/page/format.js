"use strict";
// How values look: three digits that count, and a unit in a place of its own.

const byId = (id) => document.getElementById(id);

/** Three digits that count: 1.23, 12.3, 123. */
function digits(value) {
  return value < 9.995 ? value.toFixed(2) : value < 99.95 ? value.toFixed(1) : value.toFixed(0);
}

/** Bytes as a number and its unit; whole bytes have no fraction. */
function bytes(value) {
  if (value === null || value === undefined) return ["–", ""];
  if (value < 999.5) return [value.toFixed(0), "B"];
  const units = ["kB", "MB", "GB", "TB", "PB"];
  let unit = 0;
  for (value /= 1000; value >= 999.5 && unit < units.length - 1; unit += 1) value /= 1000;
  return [digits(value), units[unit]];
}

function rate(value) {
  const [number, unit] = bytes(value);
  return [number, unit && `${unit}/s`];
}

/** A measured time. */
function time(seconds) {
  if (seconds === null || seconds === undefined) return ["–", ""];
  if (seconds < 0.9995e-3) return [digits(seconds * 1e6), "µs"];
  if (seconds < 0.9995) return [digits(seconds * 1e3), "ms"];
  return [digits(seconds), "s"];
}

/** How long something lasts, in the two greatest units, and in one line. */
function lasting(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  if (whole < 60) return `${whole}\u00a0s`;
  if (whole < 3600) return `${Math.floor(whole / 60)}\u00a0m\u00a0${two(whole % 60)}\u00a0s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}\u00a0h\u00a0${two(Math.floor(whole / 60) % 60)}\u00a0m`;
  return `${Math.floor(whole / 86400)}\u00a0d\u00a0${two(Math.floor(whole / 3600) % 24)}\u00a0h`;
}

const count = (value) => value.toLocaleString("en-US");
const plural = (value, one, many) => `${count(value)} ${value === 1 ? one : many}`;
const clock = (moment) => new Date(moment).toTimeString().slice(0, 8);

/** Writes text where it differs, so that nothing moves that stays the same. */
function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Writes a number and its unit; `exact` is what lies behind them. */
function writeFigure(element, [number, unit], exact) {
  if (element.childElementCount !== 2) element.replaceChildren(make("span"), make("span", "unit"));
  write(element.children[0], number);
  write(element.children[1], unit);
  if (exact !== undefined && element.title !== exact) element.title = exact;
}

/** A new element, with a class and text where they are wanted. */
function make(tag, className, text) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text !== undefined) element.textContent = text;
  return element;
}
