// Makes the drawn curves answer: pointer and arrow keys tell a step's values, the legend's names hide and show curves.
"use strict";

for (const figure of document.querySelectorAll("figure.chart")) {
  const data = figure.querySelector("script");
  if (data) enliven(figure, JSON.parse(data.textContent));
}

function enliven(figure, { at, curves }) {
  const plot = figure.querySelector(".plot");
  const names = [...figure.querySelectorAll(".legend li")];
  const hidden = new Set();
  const tip = add(plot, "div", "tip");
  const rule = add(plot, "div", "rule");
  const dots = curves.map((_, place) => add(plot, "div", `dot ${names[place].dataset.colour}`));
  let shown = at.length - 1;

  plot.tabIndex = 0;
  plot.setAttribute("role", "slider"); // over the steps: a reader hears the values of each
  plot.setAttribute("aria-label", `${figure.querySelector(".name").textContent}: values by step`);
  plot.setAttribute("aria-valuemin", at[0].step);
  plot.setAttribute("aria-valuemax", at.at(-1).step);
  tell();

  plot.addEventListener("pointermove", (event) => show(nearest(event)));
  plot.addEventListener("pointerdown", (event) => show(nearest(event)));
  plot.addEventListener("pointerleave", () => document.activeElement === plot || conceal());
  plot.addEventListener("focus", () => plot.matches(":focus-visible") && show(shown));
  plot.addEventListener("blur", conceal);
  plot.addEventListener("keydown", (event) => {
    const far = Math.ceil(at.length / 10);
    const moves = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -far, PageUp: far };
    const ends = { Home: 0, End: at.length - 1 };
    if (event.key === "Escape") conceal();
    else if (event.key in moves) show(shown + moves[event.key]);
    else if (event.key in ends) show(ends[event.key]);
    else return;
    event.preventDefault();
  });

  names.forEach((name, place) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...name.childNodes);
    button.setAttribute("aria-pressed", "true");
    button.title = "Hide or show this curve";
    button.addEventListener("click", () => {
      const hide = !hidden.delete(place);
      if (hide) hidden.add(place);
      button.setAttribute("aria-pressed", String(!hide));
      for (const part of figure.querySelectorAll(`[data-curve="${place}"]`)) part.classList.toggle("hidden", hide);
      tell();
      if (!tip.hidden) show(shown);
    });
    name.append(button);
  });

  function nearest(event) {
    const box = plot.getBoundingClientRect();
    const x = (100 * (event.clientX - box.left)) / box.width;
    return at.reduce((best, point, place) => (Math.abs(point.x - x) < Math.abs(at[best].x - x) ? place : best), 0);
  }

  function values() {
    const seen = curves.map((curve, place) => ({ place, name: curve.name, point: curve.points[at[shown].step] }));
    return seen.filter(({ place, point }) => point && !hidden.has(place));
  }

  function tell() {
    plot.setAttribute("aria-valuenow", at[shown].step);
    const words = values().map(({ name, point }) => `${name}: ${point[1]}`);
    plot.setAttribute("aria-valuetext", [at[shown].label, ...words].join("; "));
  }

  function show(place) {
    shown = Math.min(Math.max(place, 0), at.length - 1);
    tell();
    conceal();
    const x = at[shown].x;
    rule.hidden = tip.hidden = false;
    rule.style.left = `${x}%`;
    tip.replaceChildren();
    add(tip, "strong", "").textContent = at[shown].label;
    for (const { place, name, point } of values()) {
      const line = add(tip, "div", "");
      add(line, "span", `key ${names[place].dataset.colour}`);
      add(line, "span", "").textContent = `${name}: `;
      add(line, "b", "").textContent = point[1];
      if (point[0] === null) continue;
      dots[place].hidden = false;
      dots[place].style.left = `${x}%`;
      dots[place].style.top = `${point[0]}%`;
    }
    const right = x > 50; // the side that has room
    tip.style.left = right ? "auto" : `calc(${x}% + 0.75rem)`;
    tip.style.right = right ? `calc(${100 - x}% + 0.75rem)` : "auto";
  }

  function conceal() {
    for (const part of [tip, rule, ...dots]) part.hidden = true;
  }

  conceal();
}

function add(parent, tag, name) {
  const element = document.createElement(tag);
  element.className = name;
  parent.append(element);
  return element;
}
