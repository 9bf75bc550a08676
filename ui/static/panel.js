// The panel's own script: theme, menu, questions before dangerous buttons, the usage chart.
"use strict";
(() => {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const shownTheme = () => root.dataset.theme || (dark.matches ? "dark" : "light");

  function nameThemeButton() {
    const button = document.querySelector("[data-theme-switch]");
    if (button) button.textContent = shownTheme() === "dark" ? "Light" : "Dark";
  }

  function switchTheme() {
    root.dataset.theme = shownTheme() === "dark" ? "light" : "dark";
    localStorage.setItem("hilltop-theme", root.dataset.theme);
    nameThemeButton();
    drawCharts();
  }

  function toggleMenu(button) {
    const side = button.closest(".side");
    button.setAttribute("aria-expanded", String(side.classList.toggle("open")));
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.hasAttribute("data-theme-switch")) switchTheme();
    if (button.hasAttribute("data-menu")) toggleMenu(button);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    if (form.dataset.sent === "yes" || (form.dataset.confirm && !confirm(form.dataset.confirm))) {
      event.preventDefault();
      return;
    }
    if (form.method === "post") {
      form.dataset.sent = "yes";
      for (const button of form.querySelectorAll("button")) button.disabled = true;
    }
  });
  addEventListener("pageshow", () => {
    for (const form of document.querySelectorAll("form[data-sent]")) {
      delete form.dataset.sent;
      for (const button of form.querySelectorAll("button")) button.disabled = false;
    }
  });

  const UNITS = ["B", "kB", "MB", "GB", "TB"];
  function octets(value) {
    let unit = 0;
    while (value >= 1000 && unit < UNITS.length - 1) { value /= 1000; unit += 1; }
    return `${unit === 0 ? value : value.toFixed(value < 10 ? 2 : 1)} ${UNITS[unit]}`;
  }

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const charts = new Map();

  function drawChart(place) {
    const usage = place.hilltopUsage;
    if (!usage) return;
    charts.get(place)?.destroy();
    const seconds = usage.days.map((day) => Date.parse(`${day}T12:00:00Z`) / 1000);
    const sum = usage.down.map((down, index) => down + usage.up[index]);
    const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const bars = uPlot.paths.bars({ size: [0.68, 26], radius: 0.18 });
    const day = { weekday: "short", month: "short", day: "numeric", timeZone: "UTC" };
    const long = new Intl.DateTimeFormat("en", day);
    const short = new Intl.DateTimeFormat("en", { month: "short", day: "numeric", timeZone: "UTC" });
    const series = (label, fill, values) => ({
      label, fill, stroke: fill, width: 0, paths: bars, points: { show: false },
      value: (_chart, _raw, _series, index) => (index === null ? "–" : octets(values[index])),
    });
    charts.set(place, new uPlot({
      width: place.clientWidth, height: 230, padding: [12, 8, 0, 0],
      cursor: { drag: { x: false, y: false }, points: { show: false } },
      scales: { x: { time: true, range: (_c, low, high) => [low - 43200, high + 43200] }, y: { range: (_c, _l, high) => [0, Math.max(high, 1000) * 1.08] } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      axes: [
        { ...axis, grid: { show: false }, space: 70, values: (_c, at) => at.map((one) => short.format(one * 1000)) },
        { ...axis, size: 66, values: (_c, at) => at.map((one) => (one === 0 ? "0" : octets(one).replace(/\.0+ /, " "))) },
      ],
      series: [
        { label: "Day", value: (_c, at) => (at === null ? "–" : long.format(at * 1000)) },
        series("Upload", colour("--chart-up"), usage.up),
        series("Download", colour("--chart-down"), usage.down),
      ],
    }, [seconds, sum, usage.down], place));
  }

  function drawCharts() {
    for (const place of document.querySelectorAll("[data-usage]")) drawChart(place);
  }

  async function loadUsage(place) {
    const answer = await fetch(place.dataset.usage, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    place.hilltopUsage = await answer.json();
    place.textContent = "";
    drawChart(place);
  }

  function loadCharts() {
    for (const place of document.querySelectorAll("[data-usage]")) {
      loadUsage(place).catch(() => {
        place.textContent = "The usage could not be loaded. Reload the page to try again.";
      });
    }
  }

  function markStale(stale) {
    const notice = document.getElementById("stale");
    if (notice) notice.hidden = !stale;
  }
  document.addEventListener("htmx:responseError", () => markStale(true));
  document.addEventListener("htmx:sendError", () => markStale(true));
  document.addEventListener("htmx:afterSwap", () => markStale(false));

  let resizing = 0;
  addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(drawCharts, 150); });
  dark.addEventListener("change", () => { nameThemeButton(); drawCharts(); });
  nameThemeButton();
  loadCharts();
})();
