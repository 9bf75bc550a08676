// Runs before the page is drawn: the chosen theme, and the mark that scripts work.
"use strict";
(() => {
  const root = document.documentElement;
  root.classList.add("js");
  const chosen = localStorage.getItem("hilltop-theme");
  if (chosen === "light" || chosen === "dark") root.dataset.theme = chosen;
})();
