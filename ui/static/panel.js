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

  async function copy(button) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      button.textContent = "Copied";
    } catch { // without HTTPS a browser copies nothing: mark it, so that a key does
      getSelection().selectAllChildren(button.previousElementSibling);
    }
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    if (button.hasAttribute("data-theme-switch")) switchTheme();
    if (button.hasAttribute("data-menu")) toggleMenu(button);
    if (button.dataset.copy) copy(button);
  });

  document.addEventListener("submit", (event) => {
    const form = event.target;
    const question = event.submitter?.dataset.confirm ?? form.dataset.confirm;
    if (form.dataset.sent === "yes" || (question && !confirm(question))) {
      event.preventDefault();
      return;
    }
    if (form.method === "post" && !form.hasAttribute("data-download")) {
      form.dataset.sent = "yes";
      // Not before the form is on its way: a button that is disabled is left out of what is sent.
      setTimeout(() => { for (const button of form.querySelectorAll("button")) button.disabled = true; });
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
  const locale = root.dataset.locale || "en";
  const dayWords = (options) => new Intl.DateTimeFormat(locale, { ...options, timeZone: "UTC" });
  const shortDay = dayWords({ month: "short", day: "numeric" });
  const longDay = dayWords({ weekday: "short", month: "short", day: "numeric" });
  const total = (values) => values.reduce((sum, one) => sum + one, 0);
  const noon = (day) => Date.parse(`${day}T12:00:00Z`);

  // Under the chart: the sums, or the figures of the day that is pointed at.
  function tell(figure, usage, index) {
    const write = (name, text) => { figure.querySelector(`[data-${name}]`).textContent = text; };
    const whole = index === null || index === undefined;
    write("span", whole ? `Last ${usage.days.length} days` : longDay.format(noon(usage.days[index])));
    write("down", octets(whole ? total(usage.down) : usage.down[index]));
    write("up", octets(whole ? total(usage.up) : usage.up[index]));
  }

  function describe(usage, sum) {
    const most = sum.indexOf(Math.max(...sum));
    return `Usage of the last ${usage.days.length} days: ${octets(total(usage.down))} down, ${octets(total(usage.up))} up; `
      + `most on ${longDay.format(noon(usage.days[most]))}, ${octets(sum[most])}. The same as a table is linked above.`;
  }

  function drawChart(figure) {
    const usage = figure.hilltopUsage;
    if (!usage) return;
    charts.get(figure)?.destroy();
    const place = figure.querySelector(".chart");
    const sum = usage.down.map((down, index) => down + usage.up[index]);
    figure.querySelector("figcaption").hidden = total(sum) === 0;
    if (total(sum) === 0) {
      place.textContent = `Nothing was used in the last ${usage.days.length} days.`;
      return;
    }
    place.textContent = "";
    place.setAttribute("aria-label", describe(usage, sum));
    tell(figure, usage, null);
    const axis = { stroke: colour("--ink-2"), grid: { stroke: colour("--line"), width: 1 }, ticks: { show: false } };
    const bars = uPlot.paths.bars({ size: [0.68, 26], radius: 0.18 });
    const series = (name) => ({ fill: colour(name), stroke: colour(name), width: 0, paths: bars, points: { show: false } });
    charts.set(figure, new uPlot({
      width: place.clientWidth, height: 230, padding: [12, 8, 0, 0],
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      hooks: { setCursor: [(chart) => tell(figure, usage, chart.cursor.idx)] },
      scales: { x: { time: true, range: (_c, low, high) => [low - 43200, high + 43200] }, y: { range: (_c, _l, high) => [0, Math.max(high, 1000) * 1.08] } },
      tzDate: (at) => uPlot.tzDate(new Date(at * 1000), "UTC"),
      axes: [
        { ...axis, grid: { show: false }, space: 70, size: 32, values: (_c, at) => at.map((one) => shortDay.format(one * 1000)) },
        { ...axis, size: 66, values: (_c, at) => at.map((one) => (one === 0 ? "0" : octets(one).replace(/\.0+ /, " "))) },
      ],
      series: [{}, series("--chart-up"), series("--chart-down")],
    }, [usage.days.map((day) => noon(day) / 1000), sum, usage.down], place));
  }

  function drawCharts() {
    for (const figure of document.querySelectorAll("[data-usage]")) drawChart(figure);
  }

  async function loadUsage(figure) {
    const answer = await fetch(figure.dataset.usage, { headers: { Accept: "application/json" } });
    if (!answer.ok) throw new Error(`status ${answer.status}`);
    figure.hilltopUsage = await answer.json();
    drawChart(figure);
  }

  function loadCharts() {
    for (const figure of document.querySelectorAll("[data-usage]")) {
      loadUsage(figure).catch(() => {
        figure.querySelector(".chart").textContent = "The usage could not be loaded. Reload the page to try again.";
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
