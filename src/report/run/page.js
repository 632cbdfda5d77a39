"use strict";
// Shows the values and reasons at the time that the pointer or the arrow keys choose. Without it the page has the means.
(() => {
  const points = JSON.parse(document.getElementById("points").textContent);
  const overlay = document.querySelector(".overlay");
  const cursor = overlay.querySelector(".cursor");
  const panel = document.querySelector(".at");
  const values = [...document.querySelectorAll(".chart .value")];
  const means = values.map((value) => value.textContent);
  const cpus = (hundredths) => (hundredths / 100).toFixed(2);
  let at = 0;

  function cellValue() {
    const { work, left, wanted } = points.cell;
    if (work[at] < 0) return "no round";
    const parts = [`work ${cpus(work[at])} of ${left[at] < 0 ? "?" : cpus(left[at])}`];
    if (wanted[at] >= 0) parts.push(`wants ${cpus(wanted[at])}`);
    return parts.join(", ");
  }

  function nodeValue(node) {
    if (node.work[at] === -1) return "no round";
    if (node.work[at] === -2) return "no CPU online";
    const parts = [`work ${cpus(node.work[at])}`, `others ${node.others[at] < 0 ? "?" : `${node.others[at]} %`}`];
    if (node.limit[at] >= 0) parts.push(`limit ${cpus(node.limit[at])}`);
    return parts.join(", ");
  }

  function nodeEvents(node, nr) {
    const event = node.events.find(([bin]) => bin === at);
    if (!event) return [];
    const [, came, went, hits] = event;
    const said = [];
    if (came) said.push(`${came} in`);
    if (went) said.push(`${went} out`);
    if (hits) said.push("hit");
    return [`${values[nr + 1].previousElementSibling.previousElementSibling.textContent}: ${said.join(", ")}`];
  }

  function movedValue() {
    const kib = points.cell.moved[at];
    return kib >= 1024 ? `${(kib / 1024).toFixed(1)} MiB` : `${kib} KiB`;
  }

  function show(bin) {
    at = Math.max(0, Math.min(points.bins - 1, bin));
    cursor.hidden = false;
    cursor.style.left = `${Math.min(100, (100 * (at + 0.5)) / Math.max(points.length, 1e-9))}%`;
    values[0].textContent = cellValue();
    points.nodes.forEach((node, nr) => { values[nr + 1].textContent = nodeValue(node); });
    values[values.length - 1].textContent = movedValue();
    const events = points.nodes.flatMap(nodeEvents);
    const head = [points.times[at], cellValue(), ...events].join("; ");
    const text = `${head}\n${points.texts[at] || "no round"}`;
    panel.textContent = text;
    overlay.setAttribute("aria-valuenow", at);
    overlay.setAttribute("aria-valuetext", text);
  }

  function hide() {
    cursor.hidden = true;
    panel.textContent = "";
    values.forEach((value, nr) => { value.textContent = means[nr]; });
  }

  const binAt = (event) => {
    const box = overlay.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * points.length);
  };
  const nextMove = () => points.moving.find((bin) => bin > at) ?? at;
  const lastMove = () => points.moving.findLast((bin) => bin < at) ?? at;
  const tenth = Math.max(1, Math.round(points.bins / 10));
  const keys = {
    ArrowLeft: () => at - 1, ArrowDown: () => at - 1, ArrowRight: () => at + 1, ArrowUp: () => at + 1,
    PageUp: () => at + tenth, PageDown: () => at - tenth, Home: () => 0, End: () => points.bins - 1,
    n: nextMove, p: lastMove,
  };

  overlay.addEventListener("pointermove", (event) => show(binAt(event)));
  overlay.addEventListener("pointerdown", (event) => show(binAt(event)));
  overlay.addEventListener("pointerleave", () => { if (document.activeElement !== overlay) hide(); });
  overlay.addEventListener("focus", () => show(at));
  overlay.addEventListener("blur", hide);
  overlay.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.key === "Escape") { overlay.blur(); return; }
    const key = keys[event.key];
    if (!key) return;
    event.preventDefault();
    show(key());
  });
})();
