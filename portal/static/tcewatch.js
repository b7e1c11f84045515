"use strict";
// Charts from the data blocks of the page, and a word when live parts cannot be fetched. No inline script, no other host.

const COLOURS = ["#0b6e99", "#d1802b", "#4c9a5b", "#a3527f", "#6b6fb5", "#8a7d3a"];

function draw(plot) {
  const { periods, series } = JSON.parse(document.getElementById(plot.dataset.chart).textContent);
  const units = [...new Set(series.map((one) => one.unit))];
  const chart = echarts.init(plot, null, { renderer: "svg" });
  chart.setOption({
    animation: false,
    color: COLOURS,
    grid: { left: 8, right: 8, top: 44, bottom: 4, containLabel: true },
    legend: { top: 0, left: 0, itemWidth: 14, itemHeight: 9, textStyle: { fontSize: 11 } },
    // Text in the drawing itself: a floating box would need styles that the page's security policy refuses.
    tooltip: { trigger: "axis", renderMode: "richText", confine: true, textStyle: { fontSize: 12 } },
    xAxis: { type: "category", data: periods, axisLabel: { fontSize: 11, formatter: (period) => period.slice(5) } },
    yAxis: units.map((unit, at) => ({
      type: "value", name: unit, position: at ? "right" : "left", nameTextStyle: { fontSize: 11, align: at ? "right" : "left" }, axisLabel: { fontSize: 11 }, splitLine: { show: !at },
    })),
    series: series.map((one) => ({
      type: "bar", name: one.name, stack: one.stack, data: one.values, yAxisIndex: units.indexOf(one.unit), barMaxWidth: 18,
      tooltip: { valueFormatter: (value) => (value === null || value === undefined ? "—" : `${value.toLocaleString("en", { maximumSignificantDigits: 6 })} ${one.unit}`) },
    })),
  });
  new ResizeObserver(() => chart.resize()).observe(plot);
}

function setStale(stale) {
  const line = document.querySelector(".stale");
  line.textContent = stale ? line.dataset.text : "";
  line.hidden = !stale;
}

document.addEventListener("DOMContentLoaded", () => {
  document.querySelectorAll("[data-chart]").forEach(draw);
  const nav = document.querySelector(".top nav"), here = nav?.querySelector("[aria-current]");
  if (here) nav.scrollLeft = here.offsetLeft - nav.offsetLeft - 10; // on a phone the pages stand in one line that scrolls
  document.addEventListener("htmx:error", () => setStale(true));
  document.addEventListener("htmx:after:request", (event) => setStale((event.detail?.ctx?.response?.status ?? 200) >= 500));
});
