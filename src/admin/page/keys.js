"use strict";
// What keys and fields do; `poll.js` says what pausing and asking at once are.

function listenToKeys({ togglePause, askNow }) {
  makeHeads();
  byId("pause").addEventListener("click", togglePause);
  byId("show-keys").addEventListener("click", () => byId("keys").showModal());
  byId("filter").addEventListener("submit", (event) => event.preventDefault());
  byId("filter").addEventListener("input", () => {
    showSessions(listed);
    askNow();
  });
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("keys").open) return;
    const writes = event.target.matches("input, select");
    if (event.key === "Escape" && event.target.closest("#filter")) {
      byId("filter").reset();
      showSessions(listed);
      askNow();
    } else if (!writes && event.key === "?") {
      byId("keys").showModal();
    } else if (!writes && event.key === "/") {
      event.preventDefault();
      byId("client").focus();
    } else if (!writes && event.key === "p") {
      togglePause();
    }
  });
}
