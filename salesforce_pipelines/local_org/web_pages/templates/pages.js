// A switch that fetches the page again every few seconds; without it pages work the same.
"use strict";
(() => {
  const KEY = "auto-refresh";
  const SECONDS = 3;
  const place = document.getElementById("refresh");
  const label = document.createElement("label");
  const box = document.createElement("input");
  box.type = "checkbox";
  box.checked = sessionStorage.getItem(KEY) === "on";
  box.addEventListener("change", () => sessionStorage.setItem(KEY, box.checked ? "on" : "off"));
  label.append(box, " Auto-refresh");
  place.append(label);

  const isBusy = () =>
    document.hidden ||
    document.querySelector("form.edit, details.act[open]") ||
    document.activeElement?.matches("main input, main select, main textarea") ||
    String(document.getSelection()) !== "";

  async function refresh() {
    if (!box.checked || isBusy()) return;
    const answer = await fetch(location.href, { cache: "no-store" });
    if (!answer.ok || isBusy()) return;
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const open = [...document.querySelectorAll("main details")].map((one) => one.open);
    document.querySelector("main").replaceWith(page.querySelector("main"));
    document.querySelectorAll("main details").forEach((one, at) => (one.open = open[at] ?? false));
    document.querySelector("footer").replaceWith(page.querySelector("footer"));
  }

  setInterval(() => refresh().catch(() => {}), SECONDS * 1000);
})();
