// The intensity along a clip: a click adds a key, a drag or the arrows move it, a double click or Delete takes it away.
// props.value is {keys: "SECONDS:INTENSITY,...", seconds: how long the clip is}.
const TOP = 1.5, HEIGHT = 132, LEFT = 30, RIGHT = 14, UP = 12, DOWN = 24;
const svg = element.querySelector("svg");
let keys = [], held = -1;

const read = () => {
  const pairs = props.value.keys.split(",").map((pair) => pair.split(":").map(Number));
  if (pairs.every((pair) => pair.length === 2 && pair.every(Number.isFinite))) keys = pairs;
};
const end = () => Math.max(props.value.seconds, keys.at(-1)[0]);
const width = () => Math.max(element.clientWidth, 160);
const x = (time) => LEFT + (time / end()) * (width() - LEFT - RIGHT);
const y = (value) => UP + (1 - value / TOP) * (HEIGHT - UP - DOWN);
const within = (value, low, high) => Math.min(Math.max(value, low), high);
const at = (event) => {
  const box = svg.getBoundingClientRect();
  return [
    ((event.clientX - box.left - LEFT) / (width() - LEFT - RIGHT)) * end(),
    (1 - (event.clientY - box.top - UP) / (HEIGHT - UP - DOWN)) * TOP,
  ];
};
const intensity = (time) => {
  const after = keys.findIndex(([seconds]) => seconds > time);
  if (after < 1) return keys[after ? keys.length - 1 : 0][1];
  const [[t0, v0], [t1, v1]] = [keys[after - 1], keys[after]], t = (time - t0) / (t1 - t0);
  return v0 + (v1 - v0) * t ** 3 * (10 - 15 * t + 6 * t * t);
};
const draw = () => {
  const focused = [...svg.querySelectorAll("[role=slider]")].indexOf(document.activeElement);
  const rules = [0, 0.5, 1, 1.5].map((value) =>
    `<path class="rule" d="M${LEFT} ${y(value)}H${width() - RIGHT}"/><text x="${LEFT - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`);
  const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 60].find((each) => end() / each <= 6) || 60, ticks = [];
  for (let time = 0; time <= end() + 1e-6; time += step)
    ticks.push(`<text x="${x(time)}" y="${HEIGHT - 4}" text-anchor="middle">${+time.toFixed(1)}${time ? "" : " s"}</text>`);
  const points = Array.from({ length: 161 }, (_, n) => (n / 160) * end()).map((time) => `${x(time)},${y(intensity(time))}`);
  const dots = keys.map(([time, value], n) =>
    `<g role="slider" tabindex="0" data-key="${n}" aria-label="Key ${n + 1} of ${keys.length}" aria-valuemin="0" aria-valuemax="${TOP}"
      aria-valuenow="${value}" aria-valuetext="intensity ${value} at ${time} seconds" transform="translate(${x(time)} ${y(value)})">
      <circle class="reach" r="14"/><circle r="6"/></g>`);
  svg.setAttribute("width", width());
  svg.setAttribute("height", HEIGHT);
  svg.innerHTML = `${rules.join("")}${ticks.join("")}<polyline points="${points.join(" ")}"/>${dots.join("")}`;
  if (focused >= 0) svg.querySelector(`[data-key="${within(focused, 0, keys.length - 1)}"]`).focus();
};
const move = (n, time, value) => {
  const low = n ? keys[n - 1][0] + 0.01 : 0, high = n < keys.length - 1 ? keys[n + 1][0] - 0.01 : end();
  keys[n] = [+within(time, low, high).toFixed(2), +within(Math.round(value * 20) / 20, 0, TOP).toFixed(2)];
  draw();
};
const remove = (n) => {
  if (keys.length > 1) keys.splice(n, 1);
  draw();
};
const tell = () => {
  props.value = { ...props.value, keys: keys.map((key) => key.join(":")).join(", ") };
  trigger("input");
};

svg.addEventListener("pointerdown", (event) => {
  const dot = event.target.closest("[role=slider]"), [time, value] = at(event);
  if (dot) held = Number(dot.dataset.key);
  else {
    held = keys.filter(([seconds]) => seconds < time).length;
    if (keys.some(([seconds]) => Math.abs(seconds - time) < 0.02)) return (held = -1);
    keys.splice(held, 0, [time, value]);
    move(held, time, value);
  }
  svg.setPointerCapture(event.pointerId);
});
svg.addEventListener("pointermove", (event) => held >= 0 && move(held, ...at(event)));
svg.addEventListener("pointerup", () => { if (held >= 0) tell(); held = -1; });
svg.addEventListener("dblclick", (event) => {
  const [time, value] = at(event);
  const near = keys.findIndex((key) => Math.hypot(x(key[0]) - x(time), y(key[1]) - y(value)) < 14);
  if (near >= 0) { remove(near); tell(); }
});
svg.addEventListener("keydown", (event) => {
  const n = Number(event.target.dataset.key), [time, value] = keys[n] || [];
  const way = { ArrowLeft: [-0.05, 0], ArrowRight: [0.05, 0], ArrowUp: [0, 0.05], ArrowDown: [0, -0.05] }[event.key];
  if (way) move(n, time + way[0], value + way[1]);
  else if (event.key === "Delete" || event.key === "Backspace") remove(n);
  else return;
  event.preventDefault();
  tell();
});
watch("value", () => { read(); draw(); });
new ResizeObserver(draw).observe(element);
read();
